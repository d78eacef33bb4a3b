"""Model runs in processes of their own: the processes of quality runs, the one of timings, golden outputs.

Boundary: starts worker processes; reads payload and pack folders; writes nothing.
Invariants: quality runs share the machine, timing runs alone (R3); a result does not depend on which process gave it;
each process uses one thread, so that results do not depend on the number of cores.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from contracts.errors import DependencyFailed

if TYPE_CHECKING:
    from contracts.bundle import GoldenAnswer
    from speech.kinds import Prompt
    from speech.runtimes import Runtime, Samples
    from speech.runtimes.kinds import Model

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

PROCESSES = os.cpu_count() or 1
"""Processes of quality runs: one a core."""

_made: list[ProcessPoolExecutor] = []
_making = threading.Lock()


@lru_cache(maxsize=3)
def model(payload: Path) -> Model:
    """The payload loaded in this process, with one thread; candidate, stable and parent stay loaded side by side."""
    from speech.runtimes import load_model

    return load_model(payload, threads=1)


def runtime(payload: Path) -> Runtime:
    """The same, of a payload that transcribes."""
    from speech.runtimes.kinds import transcriber

    return transcriber(model(payload))


def streams(payload: Path) -> bool:
    """Whether the payload transcribes and keeps state between chunks (speech.runtimes.Runtime.streaming)."""
    return bool(getattr(model(payload), "streaming", False))


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


def _shared() -> ProcessPoolExecutor:
    """The processes of quality runs, kept for the life of this process: torch is imported once in each."""
    with _making:
        if not _made:
            _made.append(_pool(PROCESSES))
        return _made[0]


@contextmanager
def _processes(pool: ProcessPoolExecutor) -> Iterator[ProcessPoolExecutor]:
    """A pool at work; a process that died (out of memory, killed) is a dependency that failed, not a crash."""
    try:
        yield pool
    except BrokenProcessPool:
        with _making:
            if pool in _made:
                _made.remove(pool)
        raise DependencyFailed(
            "a process that runs the model died",
            where="operations/compute.py",
            got="it was killed, or ran out of memory",
            expected="what the model hears",
            next_step="look at the machine's memory, then run the same command again; finished shards are kept",
        ) from None


def _submit(
    pool: ProcessPoolExecutor, function: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs
) -> Future[Result]:
    """Hand a call to a pool; one that breaks while it starts a process says so by the OSError of a closed pipe."""
    try:
        return pool.submit(function, *args, **kwargs)
    except OSError as error:
        raise BrokenProcessPool(str(error)) from error


def shared(function: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
    """Call a function in one of the shared processes; any number of threads may, one call a core runs at a time."""
    with _processes(_shared()) as pool:
        return _submit(pool, function, *args, **kwargs).result()


def shared_each(calls: Sequence[Callable[[], Result]]) -> Iterator[Result]:
    """Make the calls in the shared processes; their results as they come, and none begins after one has failed."""
    with _processes(_shared()) as pool:
        waiting = [_submit(pool, call) for call in calls]
        try:
            for future in as_completed(waiting):
                yield future.result()
        finally:
            for future in waiting:
                future.cancel()


def alone(function: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
    """Call a function in a new process that does nothing else before or after."""
    with _pool(1) as own, _processes(own) as pool:
        return pool.submit(function, *args, **kwargs).result()


@contextmanager
def naming(model: str) -> Iterator[None]:
    """Say which model it is whose outputs are not finite (fault 52)."""
    from speech.runtimes import OutputsNotFinite

    try:
        yield
    except OutputsNotFinite:
        raise OutputsNotFinite(where=model) from None


def _answers(payload: Path, prompts: Sequence[Prompt]) -> list[GoldenAnswer]:
    from speech.kinds import kind
    from speech.runtimes.kinds import task_of

    loaded = model(payload)
    return [kind(task_of(loaded)).answer(loaded, prompt) for prompt in prompts]


def answers(payload: Path, prompts: Sequence[Prompt]) -> list[GoldenAnswer]:
    """What a payload of any task answers to each prompt, in one of the shared processes."""
    return shared(_answers, payload, list(prompts))


def _clips(payload: Path, clips: Sequence[Samples]) -> list[str]:
    loaded = runtime(payload)
    return [loaded.transcribe(samples).text for samples in clips]


def transcripts_of(payload: Path, clips: Sequence[Samples]) -> list[str]:
    """What the payload hears in clips at its own rate."""
    return shared(_clips, payload, clips)
