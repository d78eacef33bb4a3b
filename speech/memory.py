"""How much memory this process has held.

Boundary: reads /proc/self/status.
Invariants: the figure is this process's own: `ru_maxrss` would be its parent's, where that was larger at the fork.
"""

from __future__ import annotations

from pathlib import Path


def peak_memory_mb() -> float:
    """The most memory this process itself has held, in megabytes (10**6 bytes)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    return 0.0
