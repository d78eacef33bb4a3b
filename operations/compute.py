"""Model runs in processes of their own: shards of a pack, an exclusive timing pass, golden outputs.

Boundary: starts worker processes; reads payload and pack folders; writes nothing.
Invariants: shards are for quality only, timing runs alone (R3); a shard's result does not depend on which process ran
it; each process uses one thread, so that results do not depend on the number of cores.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from contracts.errors import DependencyFailed

if TYPE_CHECKING:
    import pandas as pd

    from speech.runtimes import Runtime, Samples

SHARD = 100
"""Utterances a shard: small enough for a moving progress bar, large enough to hide the hand-over."""


class Job(NamedTuple):
    """One shard: which payload hears which utterances (rows of a pack's table) below which folder."""

    payload: Path
    utterances: pd.DataFrame
    root: Path


@lru_cache(maxsize=2)
def _runtime(payload: Path) -> Runtime:
    from speech.runtimes import load

    return load(payload, threads=1)


def _run_shard(job: Job) -> pd.DataFrame:
    from speech.run import run_pack

    return run_pack(_runtime(job.payload), job.utterances, job.root)


class Timing(NamedTuple):
    """Tables of `speech.run.time_pack` by name, and the process's peak memory (MB) with the first payload alone."""

    tables: dict[str, pd.DataFrame]
    peak_memory_mb: float


def _time(payloads: Mapping[str, Path], utterances: pd.DataFrame, root: Path) -> Timing:
    from speech.memory import peak_memory_mb
    from speech.run import run_pack, time_pack

    first = next(iter(payloads))
    run_pack(_runtime(payloads[first]), utterances.head(5), root)
    peak = peak_memory_mb()
    runtimes = {name: _runtime(payload) for name, payload in payloads.items()}
    return Timing(time_pack(runtimes, utterances, root), peak)


def _end_with(parent: int) -> None:
    """End this process when its parent is gone: a release that was killed leaves no process behind."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _pool(workers: int) -> ProcessPoolExecutor:
    spawn = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(max_workers=workers, mp_context=spawn, initializer=_end_with, initargs=(os.getpid(),))


@lru_cache(maxsize=1)
def _shared() -> ProcessPoolExecutor:
    """The processes of quality runs, one a core, kept for the life of this process: torch is imported once in each."""
    return _pool(os.cpu_count() or 1)


@contextmanager
def _processes() -> Iterator[ProcessPoolExecutor]:
    """The shared processes; a process that died (out of memory, killed) is a dependency that failed, not a crash."""
    try:
        yield _shared()
    except BrokenProcessPool:
        _shared.cache_clear()
        raise DependencyFailed(
            "a process that runs the model died",
            where="operations/compute.py",
            got="it was killed, or ran out of memory",
            expected="a shard's hypotheses",
            next_step="look at the machine's memory, then run the same command again; finished steps are kept",
        ) from None


def hypotheses(
    payloads: Mapping[str, Path],
    utterances: pd.DataFrame,
    root: Path,
    *,
    on_progress: Callable[[int, int], None],
) -> dict[str, pd.DataFrame]:
    """What each payload hears, by the payload's name: `utterance_id`, `text`, in the table's order."""
    import pandas as pd

    starts = range(0, len(utterances), SHARD)
    jobs = {
        (name, start): Job(payload, utterances.iloc[start : start + SHARD], root)
        for start in starts
        for name, payload in payloads.items()
    }
    done: dict[tuple[str, int], pd.DataFrame] = {}
    with _processes() as pool:
        waiting = {pool.submit(_run_shard, job): key for key, job in jobs.items()}
        for future in as_completed(waiting):
            done[waiting[future]] = future.result()
            on_progress(len(done), len(jobs))
    return {name: pd.concat([done[name, start] for start in starts], ignore_index=True) for name in payloads}


def timings(payloads: Mapping[str, Path], utterances: pd.DataFrame, root: Path) -> Timing:
    """The exclusive pass (R3): payloads interleaved utterance by utterance, in one process of its own."""
    with _pool(1) as pool:
        return pool.submit(_time, dict(payloads), utterances, root).result()


def _clips(payload: Path, clips: Sequence[Samples]) -> list[str]:
    runtime = _runtime(payload)
    return [runtime.transcribe(samples).text for samples in clips]


def transcripts_of(payload: Path, clips: Sequence[Samples]) -> list[str]:
    """What the payload hears in clips at its own rate."""
    with _processes() as pool:
        return pool.submit(_clips, payload, clips).result()
