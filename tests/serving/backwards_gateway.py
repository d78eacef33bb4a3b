"""The tests' gateway on a machine whose clock is a day behind and runs backwards, two seconds a second."""

from __future__ import annotations

import sys
import time

BEGAN = time.time() - 86_400
_monotonic = time.monotonic
_first = _monotonic()

time.time = lambda: BEGAN - 2 * (_monotonic() - _first)

if __name__ == "__main__":
    from pathlib import Path

    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

    from serving.gateway import main

    sys.exit(main(worker_command=(sys.executable, str(Path(__file__).with_name("tiny_worker.py")))))
