"""Shards as mapped tasks: in threads that hand them to this machine's model processes, or on a Dask cluster.

Boundary: Prefect and Dask; no decisions. A task is handed plain values and returns a digest, so that it can travel; it
opens the installation of the process it runs in (SOUNDCHECK_ROOT, SOUNDCHECK_HOME).
Invariants: where a shard runs changes no result; an error of a shard is the run's error; a cluster that is away, or
that has lost its workers, is a dependency that failed, never a release that hangs.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple

from prefect.task_runners import ThreadPoolTaskRunner
from prefect.utilities.annotations import unmapped

from contracts.digest import Digest
from contracts.errors import DependencyFailed
from operations import compute, shards
from operations.settings import Settings, find_settings
from operations.shards import RunShards, Shard
from tasks.step import step

if TYPE_CHECKING:
    from prefect.futures import PrefectFuture
    from prefect.task_runners import TaskRunner

CONNECT_S = 10
"""Seconds until a scheduler that does not answer is away."""
ALONE_S = 30.0
"""Seconds that a cluster may be without any worker: time for one that died to be started again."""
LOOK_S = 1.0


@step("score shard", retries=2)
def score_shard(run: str, shard: str, label: str, in_this_process: bool) -> Digest:
    """Hear one shard (its canonical JSON, and in words); the digest of the table that was kept."""
    piece = Shard.parse(shard.encode(), where=label)
    settings = find_settings()
    if in_this_process:
        return shards.hear(settings, run, piece)
    return compute.shared(shards.hear, settings, run, piece)


def mapped(settings: Settings) -> RunShards:
    """Runs shards as tasks where the settings say: on the cluster, or on this machine."""

    def run(name: str, pieces: Sequence[Shard]) -> Iterator[Digest]:
        address = settings.compute.dask
        with _cluster(address) if address else _threads() as place:
            futures = place.runner.map(
                score_shard.with_options(task_run_name="{label}"),
                {
                    "run": unmapped(name),
                    "shard": [piece.canonical().decode() for piece in pieces],
                    "label": [piece.label() for piece in pieces],
                    "in_this_process": unmapped(address is not None),
                },
            )
            done: SimpleQueue[PrefectFuture[Digest]] = SimpleQueue()
            for future in futures:
                future.add_done_callback(done.put)
            for _ in pieces:
                yield _next(done, place).result()

    return run


class _Place(NamedTuple):
    address: str
    runner: TaskRunner[Any]
    has_workers: Callable[[], bool]


@contextmanager
def _threads() -> Iterator[_Place]:
    """Twice as many threads as processes, so that a process never waits for Prefect's bookkeeping."""
    runner: TaskRunner[Any]
    with ThreadPoolTaskRunner(max_workers=2 * compute.PROCESSES) as runner:
        yield _Place("this machine", runner, lambda: True)


@contextmanager
def _cluster(address: str) -> Iterator[_Place]:
    from distributed import CancelledError, KilledWorker
    from distributed.comm import CommClosedError
    from prefect_dask.task_runners import DaskTaskRunner

    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what fails is raised; its tracebacks help nobody
    with DaskTaskRunner(address=address, client_kwargs={"timeout": CONNECT_S}) as runner:
        try:
            client = runner.client
        except OSError:
            got = f"no answer within {CONNECT_S} s"
            raise _failed("the Dask scheduler is away", address, got, "a scheduler that listens") from None
        try:
            yield _Place(address, runner, lambda: bool(client.scheduler_info()["workers"]))
        except KilledWorker:
            got = "as many died over one shard as the scheduler allows"
            raise _failed("workers of the Dask cluster died", address, got, "workers that live") from None
        except (CommClosedError, CancelledError):
            got = "the connection was lost"
            raise _failed("the Dask scheduler went away", address, got, "a scheduler that lives") from None


def _next(done: SimpleQueue[PrefectFuture[Digest]], place: _Place) -> PrefectFuture[Digest]:
    """The next future that is done; DependencyFailed where there has been no worker for a while."""
    seen_s = time.monotonic()
    while True:
        try:
            return done.get(timeout=LOOK_S)
        except Empty:
            if place.has_workers():
                seen_s = time.monotonic()
            if time.monotonic() - seen_s > ALONE_S:
                got = f"none for {ALONE_S:g} s"
                raise _failed(
                    "the Dask cluster has no workers", place.address, got, "a worker that hears the shards"
                ) from None


def _failed(what: str, address: str, got: str, expected: str) -> DependencyFailed:
    return DependencyFailed(
        what,
        where=address,
        got=got,
        expected=expected,
        next_step="look at the cluster (or clear compute.dask to score on this machine), then run the same command "
        "again; finished shards are kept",
    )
