"""A process that must not outlive the one that started it.

Boundary: one system call (Linux).
Invariants: no process of ours is left behind when its parent is killed, however it is killed.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def end_with_parent(parent: int) -> None:
    """Ask the kernel to kill this process when `parent` dies; exit now if it is gone already (0: any parent)."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent and os.getppid() != parent:
        sys.exit(1)
