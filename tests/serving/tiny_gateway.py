"""`serving.gateway` whose workers run the tests' engine."""

from __future__ import annotations

import sys
from pathlib import Path

from serving.gateway import main

if __name__ == "__main__":
    sys.exit(main(worker_command=(sys.executable, str(Path(__file__).with_name("tiny_worker.py")))))
