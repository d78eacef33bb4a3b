"""Work beside the requests: shadow copies and audits, bounded and droppable.

Boundary: tasks on the gateway's loop. Source: release-algorithm R7; coverage rows 10, 23 and 33.
Invariants: it begins after the user has the answer; at most `limit` pieces are under way, more are refused at once, so
that nothing queues here; workers hear it in their batch class, behind what users wait for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

MAX_AUDIO_S = 60.0
"""Longer audio is heard by nobody a second time."""


class Background:
    """A bounded set of tasks."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Callable[[], Coroutine[Any, Any, None]]) -> bool:
        """Begin a piece of work; False where as many as may be are under way."""
        if len(self._tasks) >= self._limit:
            return False
        task = asyncio.create_task(work())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    async def close(self) -> None:
        """Drop what is under way."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
