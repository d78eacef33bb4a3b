"""Shards on a real Dask cluster of two worker processes: the results of threads, although a worker dies."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest
from distributed import Client, LocalCluster
from prefect.futures import PrefectFuture
from prefect.task_runners import ThreadPoolTaskRunner

from contracts.digest import Digest
from contracts.errors import DependencyFailed
from tasks import shards
from tests.flows.release_project import environment
from tests.flows.sharding.conftest import LEAST, Resumed
from tests.flows.sharding.score_project import Served, kept, score_project, stopped_at_the_gate, wait_for_shards


@contextmanager
def cluster(root: Path) -> Iterator[Client]:
    """A scheduler and two single-threaded worker processes that open the project's installation."""
    installation = {name: value for name, value in environment(root).items() if name.startswith("SOUNDCHECK_")}
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=None,
            env=installation,
        ) as workers,
        Client(workers) as client,
    ):  # fmt: skip
        yield client


@pytest.mark.slow
def test_a_cluster_that_loses_a_worker_gives_the_report_of_threads(
    served: Served, resumed: Resumed, tmp_path: Path
) -> None:
    root = score_project(tmp_path / "project")
    with cluster(root) as client:
        pids: dict[str, int] = client.run(os.getpid)
        assert len(set(pids.values()) - {os.getpid()}) == 2
        with served.release(root, SOUNDCHECK_DASK=client.scheduler.address) as release:
            wait_for_shards(root, release, LEAST)
            os.kill(next(iter(pids.values())), signal.SIGKILL)
            assert stopped_at_the_gate(root, release) == resumed.report
    assert kept(root) == set()


def test_a_scheduler_that_is_away_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "CONNECT_S", 1)
    with pytest.raises(DependencyFailed) as failed, shards._cluster("tcp://127.0.0.1:9"):
        raise AssertionError("it was not away")
    assert failed.value.what == "the Dask scheduler is away"
    assert (failed.value.where, failed.value.got) == ("tcp://127.0.0.1:9", "no answer within 1 s")
    assert failed.value.next_step.endswith("then run the same command again; finished shards are kept")


def test_a_scheduler_that_goes_away_meanwhile_is_one_clear_error() -> None:
    def lose(workers: LocalCluster) -> None:
        done: SimpleQueue[Any] = SimpleQueue()
        with shards._cluster(workers.scheduler_address) as place:
            runner: Any = place.runner
            assert not place.has_workers()
            runner.client.submit(os.getpid).add_done_callback(done.put)
            workers.close()
            shards._next(done, place).result()

    nobody = {"n_workers": 0, "processes": False, "protocol": "tcp://", "dashboard_address": None}
    with LocalCluster(host="127.0.0.1", **nobody) as workers, pytest.raises(DependencyFailed) as failed:
        lose(workers)
    assert (failed.value.what, failed.value.got) == ("the Dask scheduler went away", "the connection was lost")


def test_a_cluster_without_workers_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "LOOK_S", 0.01)
    monkeypatch.setattr(shards, "ALONE_S", 0.05)
    done: SimpleQueue[PrefectFuture[Digest]] = SimpleQueue()
    runner: Any = ThreadPoolTaskRunner()
    with pytest.raises(DependencyFailed) as failed:
        shards._next(done, shards._Place("tcp://cluster:1", runner, lambda: False))
    assert failed.value.what == "the Dask cluster has no workers"
    assert (failed.value.where, failed.value.got) == ("tcp://cluster:1", "none for 0.05 s")


def test_a_worker_that_comes_back_in_time_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "LOOK_S", 0.01)
    monkeypatch.setattr(shards, "ALONE_S", 5.0)
    done: SimpleQueue[Any] = SimpleQueue()
    looks = iter([False, False, True])

    def has_workers() -> bool:
        there = next(looks)
        if there:
            done.put("a future")
        return there

    runner: Any = ThreadPoolTaskRunner()
    found: object = shards._next(done, shards._Place("tcp://cluster:1", runner, has_workers))
    assert found == "a future"
