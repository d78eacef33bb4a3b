"""Work that nobody waited for: who left, cancelled or ran out of time has cost what the worker still did.

Boundary: one asyncio loop; filled by serving/link.py, waited for and read by serving/calls.py.
Invariants: what was dropped is told by its worker once it is over (serving/leaving.py) or ends with the worker's
socket, and is counted once; it has the price of the bundle that did it, whoever was asked next.

The link finds the request that it works for in a context variable, as tracing does: the cascades, retries and planted
faults in between have no business with it, and tasks that a request begins inherit it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any


class Leftovers:
    """What was spent on one request beside its answers: milliseconds, US dollars, jobs heard at once."""

    def __init__(self) -> None:
        self.queue_ms = 0.0
        self.infer_ms = 0.0
        self.usd = 0.0
        self.batch = 1
        self._open: set[asyncio.Future[None]] = set()

    @property
    def settled(self) -> bool:
        """Whether every worker has said what it did."""
        return not self._open

    async def settle(self, within_s: float) -> None:
        """Wait until all of it has been told, for so many seconds at most."""
        if self._open:
            await asyncio.wait(self._open, timeout=within_s)

    def add(self, work: Mapping[str, Any], usd_per_s: float) -> None:
        """Count the work that a frame of a worker's tells (serving/frames.py), at the price of its bundle."""
        infer_ms = work.get("infer_ms", 0.0)
        self.queue_ms += work.get("queue_ms", 0.0)
        self.infer_ms += infer_ms
        self.usd += infer_ms / 1000 * usd_per_s
        self.batch = max(self.batch, work.get("batch", 1))

    def expect(self) -> asyncio.Future[None]:
        """More is to be told; set the result when it has been."""
        told: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._open.add(told)
        told.add_done_callback(self._open.discard)
        return told


REQUEST: ContextVar[Leftovers | None] = ContextVar("leftovers of the request under way", default=None)
"""Whose work the current task does; None: nobody counts it."""
