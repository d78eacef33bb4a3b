"""Requests that a client wants no more, until nothing of them is under way: what was done for them is told then.

Boundary: pure; serving/inference.py holds it under its lock and sends what it gives.
Invariants: what a job took is told once, in its answer or here; a request is over when nothing of it waits, runs or is
open, and is told exactly once.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from serving.frames import Header
from serving.queues import Job, Key, Peer


class Farewell(NamedTuple):
    """The last frame of a request."""

    peer: Peer
    header: Header


class _Left:
    """One request: seconds that its jobs waited and were worked on, as far as nobody has been told."""

    __slots__ = ("infer_s", "peer", "waited_s")

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.waited_s = self.infer_s = 0.0


class Leaving:
    """All of them."""

    def __init__(self) -> None:
        self._left: dict[Key, _Left] = {}

    def __bool__(self) -> bool:
        return bool(self._left)

    def begin(self, key: Key, peer: Peer) -> None:
        """A client wants no more of this request."""
        self._left[key] = _Left(peer)

    def add(self, jobs: Iterable[Job], now: float) -> None:
        """Jobs that have left the queues, or a step that is over: of those that nobody wants, what they took."""
        for job in jobs:
            left = self._left.get(job.key)
            if left is not None and job.cancelled:
                waited_s, infer_s = job.tell(now)
                left.waited_s += waited_s
                left.infer_s += infer_s

    def over(self, unfinished: set[Key]) -> list[Farewell]:
        """What is to be said of requests that are over; `unfinished` are those of which something is left to do."""
        gone = {key: left for key, left in self._left.items() if key not in unfinished}
        for key in gone:
            del self._left[key]
        return [
            Farewell(
                left.peer,
                {
                    "op": "dropped", "id": key[1], "queue_ms": left.waited_s * 1000, "infer_ms": left.infer_s * 1000,
                    "batch": 1,
                },
            )
            for key, left in gone.items()
        ]  # fmt: skip

    def forget(self, peer: Peer) -> None:
        """Nobody is there to be told."""
        self._left = {key: left for key, left in self._left.items() if left.peer is not peer}
