"""`serving.worker` with the tests' engine."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import tiny_engine

from serving.worker import main
from tests.serving import tiny_tasks

if __name__ == "__main__":
    main(loader=tiny_engine.load, warmer=tiny_tasks.warm)
