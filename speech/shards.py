"""Work that must not know what was done before it: each shard in a process of its own.

Purpose: espeak-ng carries state from text to text, so a fixed list of texts in a fresh process gives the same samples
each time, whatever else the machine makes.
Boundary: starts processes and waits for them; what a shard does is the caller's function.
Invariants: a result depends on its shard alone, not on the number of processes or the order in which they end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

Shard = TypeVar("Shard")
Result = TypeVar("Result")

SHARDS = 8
PROCESSES = 2


def dealt(items: Sequence[Shard]) -> list[Sequence[Shard]]:
    """The items dealt to SHARDS shards in turn, empty ones left out."""
    return [items[start::SHARDS] for start in range(min(SHARDS, len(items)))]


def in_fresh_processes(work: Callable[[Shard], Result], shards: Sequence[Shard]) -> Iterator[Result]:
    """`work` of each shard, in the order in which they are done; `work` is a function of a module."""
    import multiprocessing

    with multiprocessing.get_context("spawn").Pool(PROCESSES, maxtasksperchild=1) as pool:
        yield from pool.imap_unordered(work, shards)
