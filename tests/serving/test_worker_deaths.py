"""A worker that dies under the pool: what its requests are told, how it is replaced, what its death is called."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from serving import pool
from serving.bundles import Loaded, given
from serving.link import Answer, WorkerGone
from serving.pool import CRASH_LOOP, Worker
from serving.process import WorkerSettings, how
from tests.serving.conftest import Home, silence, with_command
from tests.serving.test_worker_process import TINY_WORKER, failure_of
from tests.serving.tiny_engine import CRASH, POISON, SLOW


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "FIRST_BACKOFF_S", 0.01)
    monkeypatch.setattr(pool, "LONGEST_BACKOFF_S", 0.05)


@asynccontextmanager
async def worker_of(folder: Path, sockets: Path) -> AsyncIterator[Worker]:
    loaded = given(folder, "tiny")

    async def fetch() -> Loaded:
        return loaded

    settings = WorkerSettings(sockets=sockets, command=(sys.executable, str(TINY_WORKER)))
    worker = Worker(loaded.digest, fetch, settings, lambda: None)
    try:
        yield worker
    finally:
        await worker.stop()


def test_a_request_that_kills_its_worker_takes_no_other_with_it(home: Home, tmp_path: Path) -> None:
    folder = home.folder("poisoned", "alpha bravo")

    async def run() -> None:
        async with worker_of(folder, tmp_path) as worker:
            busy = asyncio.create_task(worker.transcribe(with_command(SLOW), deadline_s=20))
            while (await worker.statistics()).get("streams") != 0:
                await asyncio.sleep(0.01)
            innocent = [asyncio.create_task(worker.transcribe(silence(1), deadline_s=20)) for _ in range(2)]
            poison = asyncio.create_task(failure_of(worker.transcribe(with_command(POISON), deadline_s=20)))
            await asyncio.sleep(0)
            innocent += [asyncio.create_task(worker.transcribe(silence(1), deadline_s=20)) for _ in range(3)]
            answers = [await busy, *await asyncio.gather(*innocent)]
            assert [answer.text for answer in answers] == ["alpha bravo"] * 6
            assert {(answer.worker_died, answer.retries) for answer in answers[3:]} == {(1, 1)}
            failure = await poison
            assert (failure.code, failure.message) == ("internal", "the worker died twice over this request")
            assert (failure.worker_died, failure.retries) == (2, 1)
            assert worker.deaths == {"killed": 2}
            again = await worker.transcribe(silence(1), deadline_s=20)
            assert (again.worker_died, again.retries) == (0, 0)

    asyncio.run(run())


def test_an_utterance_is_heard_once_more_and_a_stream_ends_with_its_worker(home: Home, tmp_path: Path) -> None:
    folder = home.folder("mortal", "alpha bravo")

    async def run() -> None:
        async with worker_of(folder, tmp_path) as worker, await worker.stream(deadline_s=20) as stream:
            await stream.feed(silence(0.5))
            await stream.next()
            crashing = asyncio.create_task(worker.transcribe(with_command(CRASH), deadline_s=20))
            with pytest.raises(WorkerGone):
                await stream.next()
            answer = await crashing
            assert (answer.text, answer.worker_died, answer.retries) == ("alpha bravo", 1, 1)
            assert worker.deaths == {"exited": 1}
            async with await worker.stream(deadline_s=20) as successor:
                successor.end()
                assert isinstance(await successor.next(), Answer)

    asyncio.run(run())


def test_a_request_whose_worker_died_keeps_its_deadline(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = home.folder("late", "alpha bravo")
    monkeypatch.setattr(pool, "FIRST_BACKOFF_S", 30.0)
    monkeypatch.setattr(pool, "LONGEST_BACKOFF_S", 30.0)

    async def run() -> None:
        async with worker_of(folder, tmp_path) as worker:
            assert (await worker.transcribe(silence(1), deadline_s=20)).worker_died == 0
            failure = await failure_of(worker.transcribe(with_command(POISON), deadline_s=0.5))
            assert (failure.code, failure.worker_died, failure.retries) == ("deadline", 1, 1)

    asyncio.run(run())


def test_nobody_waits_for_a_worker_that_keeps_dying(home: Home, tmp_path: Path) -> None:
    folder = home.folder("looping", "alpha", broken=True)

    async def run() -> None:
        async with worker_of(folder, tmp_path) as worker:
            waiting = asyncio.create_task(failure_of(worker.transcribe(silence(1), deadline_s=20)))
            while worker.restarts < CRASH_LOOP:
                await asyncio.sleep(0.01)
            failure = await failure_of(worker.transcribe(silence(1), deadline_s=20))
            assert (failure.code, failure.message) == ("internal", "the worker of this bundle keeps dying")
            assert (await waiting).code == "internal"
            assert worker.deaths["exited"] >= CRASH_LOOP
            assert worker.error == "exit status 1 before it was ready"

    asyncio.run(run())


@pytest.mark.parametrize(
    ("status", "kind", "said"),
    [
        (0, "exited", "exit status 0"),
        (3, "exited", "exit status 3"),
        (-9, "killed", "killed by signal 9, as when memory runs out"),
        (-11, "crashed", "crashed by signal 11"),
    ],
)
def test_how_a_process_died(status: int, kind: str, said: str) -> None:
    assert how(status) == (kind, said)
