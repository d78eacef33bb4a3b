"""Model processes: they are shared, they are alone, and they may die."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from contracts.errors import DependencyFailed
from operations import compute


def divide(value: int, by: int) -> tuple[int, float]:
    """Where it was done, and the quotient."""
    return os.getpid(), value / by


def test_threads_share_the_processes_one_a_core() -> None:
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda value: compute.shared(divide, value, 2), range(40)))
    assert [quotient for _, quotient in answers] == [value / 2 for value in range(40)]
    pids = {pid for pid, _ in answers}
    assert len(pids) <= compute.PROCESSES
    assert os.getpid() not in pids


def test_a_process_alone_is_a_new_one() -> None:
    common, _ = compute.shared(divide, 1, 1)
    first, second = (compute.alone(divide, 1, 1)[0] for _ in range(2))
    assert len({common, first, second, os.getpid()}) == 4


def test_each_gives_results_as_they_come_and_stops_at_the_first_error() -> None:
    calls = [partial(divide, 8, by) for by in (1, 2, 4)]
    assert sorted(quotient for _, quotient in compute.shared_each(calls)) == [2, 4, 8]
    broken: Iterator[tuple[int, float]] = compute.shared_each([partial(divide, 1, 0) for _ in range(500)])
    with pytest.raises(ZeroDivisionError):
        next(broken)


@pytest.mark.parametrize("call", [compute.shared, compute.alone], ids=["shared", "alone"])
def test_a_process_that_dies_is_a_dependency_that_failed_and_the_next_call_works(
    call: type[object],
) -> None:
    with pytest.raises(DependencyFailed) as failed:
        call(os._exit, 9)  # type: ignore[call-arg]
    assert failed.value.what == "a process that runs the model died"
    assert failed.value.got == "it was killed, or ran out of memory"
    assert failed.value.next_step.endswith("then run the same command again; finished shards are kept")
    assert compute.shared(divide, 9, 3)[1] == 3


def test_threads_that_lose_one_pool_share_the_next() -> None:
    def lose() -> None:
        with pytest.raises(DependencyFailed):
            compute.shared(os._exit, 9)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _number: lose(), range(8)))
        pids = {pid for pid, _ in threads.map(lambda value: compute.shared(divide, value, 1), range(20))}
    assert len(pids) <= compute.PROCESSES
