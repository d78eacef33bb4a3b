"""How a worker's process is run, and how it ended.

Boundary: paths, options and exit statuses; serving/pool.py starts the processes.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from serving.queues import Limits

Death = Literal["exited", "killed", "crashed"]

WORKER_COMMAND = (sys.executable, "-m", "serving.worker")


@dataclass(frozen=True)
class WorkerSettings:
    """How workers are run; seconds, counts."""

    sockets: Path
    command: Sequence[str] = WORKER_COMMAND
    threads: int = 1
    limits: Limits = field(default_factory=Limits)
    drain_s: float = 30.0
    start_s: float = 60.0


def environment(threads: int) -> Mapping[str, str]:
    """The worker's environment: numeric libraries held to `threads`, this code importable."""
    here = str(Path(__file__).resolve().parent.parent)
    path = os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH", ""))))
    limits = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    return {**os.environ, **limits, "PYTHONPATH": path}


def how(status: int) -> tuple[Death, str]:
    """How a process ended, by its exit status as Python gives it (a signal's is negative), and a line that says so."""
    if status >= 0:
        return "exited", f"exit status {status}"
    if status == -signal.SIGKILL:
        # Nobody here sends it to a worker that is wanted; the kernel does, to the largest process when memory is short.
        return "killed", "killed by signal 9, as when memory runs out"
    return "crashed", f"crashed by signal {-status}"
