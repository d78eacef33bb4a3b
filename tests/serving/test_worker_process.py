"""A worker process by itself, spoken to over its socket."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import IO

import pytest

from serving.bundles import given
from serving.frames import Priority
from serving.link import WINDOW, Answer, Heard, Link, Restarted, ServingFailure, WorkerGone, connect
from serving.queues import SLICE_S
from serving.worker import warm
from speech.runtimes import Samples, Transcript
from tests.serving import tiny_engine
from tests.serving.conftest import Home, silence, with_command
from tests.serving.tiny_engine import FAIL, SLOW

TINY_WORKER = Path(__file__).with_name("tiny_worker.py")


@pytest.fixture(scope="module")
def bundle(home: Home) -> Path:
    return home.folder("lone", "alpha bravo")


@pytest.fixture(scope="module")
def several(home: Home) -> Path:
    """A bundle whose engine hears several at once."""
    return home.folder("several", "alpha bravo", several=True)


def digests_of(bundle: Path, file: Path) -> IO[bytes]:
    """What a worker reads from its standard input."""
    file.write_text(json.dumps(dict(given(bundle, "tiny").payload)))
    return file.open("rb")


@asynccontextmanager
async def running(bundle: Path, tmp_path: Path, *options: str) -> AsyncIterator[tuple[Link, subprocess.Popen[bytes]]]:
    path = tmp_path / "worker.sock"
    command = [sys.executable, str(TINY_WORKER), "--bundle", str(bundle), "--socket", str(path), *options]
    environment = {**os.environ, "PYTHONPATH": str(TINY_WORKER.parent.parent.parent)}
    with (
        digests_of(bundle, tmp_path / "digests.json") as digests,
        subprocess.Popen(command, env=environment, stdin=digests, stderr=subprocess.PIPE) as process,
    ):
        try:
            while not path.exists():
                assert process.poll() is None
                await asyncio.sleep(0.01)
            link = await connect(path)
            yield link, process
            link.close()
        finally:
            process.kill()


async def failure_of(asking: Awaitable[object]) -> ServingFailure:
    with pytest.raises(ServingFailure) as caught:
        await asking
    return caught.value


async def code_of(asking: Awaitable[object]) -> str:
    try:
        await asking
    except ServingFailure as failure:
        return failure.code
    return "ok"


def test_a_full_queue_answers_overloaded_at_once(bundle: Path, tmp_path: Path) -> None:
    async def run() -> None:
        async with running(bundle, tmp_path, "--queue-limit", "2", "--stream-limit", "1") as (link, _):
            busy = asyncio.create_task(link.transcribe(with_command(SLOW), deadline_s=9))
            await asyncio.sleep(0.2)
            waiting = [asyncio.create_task(link.transcribe(silence(1), deadline_s=9)) for _ in range(2)]
            await asyncio.sleep(0.05)
            began = time.monotonic()
            assert await code_of(link.transcribe(silence(1), deadline_s=9)) == "overloaded"
            assert time.monotonic() - began < 0.5
            answers = await asyncio.gather(busy, *waiting)
            assert [answer.text for answer in answers] == ["alpha bravo"] * 3
            assert answers[1].queue_ms > 300
            async with link.stream(deadline_s=9) as _first, link.stream(deadline_s=9) as second:
                assert await code_of(second.next()) == "overloaded"

    asyncio.run(run())


def test_expired_and_cancelled_work_is_never_inferred(bundle: Path, tmp_path: Path) -> None:
    async def run() -> None:
        async with running(bundle, tmp_path) as (link, _):
            busy = asyncio.create_task(link.transcribe(with_command(SLOW), deadline_s=9))
            await asyncio.sleep(0.1)
            late = asyncio.create_task(code_of(link.transcribe(silence(1), deadline_s=0.3)))
            left = asyncio.create_task(link.transcribe(silence(1), deadline_s=9))
            await asyncio.sleep(0.1)
            left.cancel()
            assert await late == "deadline"
            assert (await busy).text == "alpha bravo"
            figures = await link.statistics()
            assert (figures["served"], figures["dropped"], figures["waiting"]) == (1, 2, 0)
            assert figures["peak_memory_mb"] > 1

    asyncio.run(run())


def test_what_waits_together_is_heard_together_and_one_that_fails_fails_alone(several: Path, tmp_path: Path) -> None:
    async def run() -> None:
        async with running(several, tmp_path, "--max-batch", "3") as (link, _):
            before = await link.statistics()
            busy = asyncio.create_task(link.transcribe(with_command(SLOW), deadline_s=9))
            await asyncio.sleep(0.1)
            alike = [asyncio.create_task(link.transcribe(silence(length), deadline_s=9)) for length in (0.5, 1, 1.5, 1)]
            assert (await busy).batch == 1
            answers = await asyncio.gather(*alike)
            assert [answer.text for answer in answers] == ["alpha", "alpha bravo", "alpha bravo alpha", "alpha bravo"]
            assert [answer.batch for answer in answers] == [3, 3, 3, 1]
            figures = await link.statistics()
            assert (figures["heard"] - before["heard"], figures["calls"] - before["calls"]) == (5, 3)

            busy = asyncio.create_task(link.transcribe(with_command(SLOW), deadline_s=9))
            await asyncio.sleep(0.1)
            mixed = [
                asyncio.create_task(code_of(link.transcribe(audio, deadline_s=9)))
                for audio in (silence(1), with_command(FAIL), silence(1))
            ]
            assert await asyncio.gather(*mixed) == ["ok", "internal", "ok"]
            await busy

    asyncio.run(run())


def test_chunks_of_streams_that_wait_together_are_heard_together(several: Path, tmp_path: Path) -> None:
    async def run() -> None:
        async with running(several, tmp_path) as (link, _), AsyncExitStack() as stack:
            streams = [await stack.enter_async_context(link.stream(deadline_s=9)) for _ in range(3)]
            busy = asyncio.create_task(link.transcribe(with_command(SLOW), deadline_s=9))
            await asyncio.sleep(0.1)
            for stream in streams:
                await stream.feed(with_command(FAIL) if stream is streams[1] else silence(0.5))
                await stream.feed(silence(0.5))
            await busy
            assert await code_of(streams[1].next()) == "internal"
            for stream in (streams[0], streams[2]):
                # The first call failed over the second stream, so each chunk was heard by itself; the next together.
                first, second = await stream.next(), await stream.next()
                assert isinstance(first, Heard)
                assert isinstance(second, Heard)
                assert (first.text, first.batch) == ("alpha", 1)
                assert (second.text, second.batch) == ("alpha bravo", 2)

    asyncio.run(run())


def test_batch_work_waits_for_interactive_work_and_is_cut_where_the_engine_can(several: Path, tmp_path: Path) -> None:
    async def run() -> None:
        options = ("--queue-limit", "2", "--batch-queue-limit", "1")
        async with running(several, tmp_path, *options) as (link, _):
            done: list[str] = []

            async def ask(name: str, seconds: float, priority: Priority, samples: Samples | None = None) -> str:
                audio = silence(seconds) if samples is None else samples
                text = (await link.transcribe(audio, deadline_s=9, priority=priority)).text
                done.append(name)
                return text

            # Its first slice is slow; an interactive request that comes meanwhile goes before its second.
            long = with_command(SLOW, 2 * SLICE_S)
            first = asyncio.create_task(ask("long", 0, "batch", long))
            await asyncio.sleep(0.1)
            others = [
                asyncio.create_task(ask("next batch", 1, "batch")),
                asyncio.create_task(ask("user", 1, "interactive")),
            ]
            await asyncio.sleep(0.05)
            failure = await failure_of(link.transcribe(silence(1), deadline_s=9, priority="batch"))
            assert failure.code == "overloaded"
            assert failure.retry_after_s is not None
            assert (await link.statistics())["batch_waiting"] == 1
            texts = [await first, *await asyncio.gather(*others)]
            assert done == ["user", "long", "next batch"]
            assert texts == [" ".join(["alpha", "bravo"] * int(2 * SLICE_S)), "alpha bravo", "alpha bravo"]

    asyncio.run(run())


def test_a_barge_in_begins_a_new_utterance_in_the_same_stream(bundle: Path, tmp_path: Path) -> None:
    async def run() -> None:
        async with running(bundle, tmp_path) as (link, _), link.stream(deadline_s=9) as stream:
            await stream.feed(silence(1.0))
            assert isinstance(await stream.next(), Heard)
            busy = asyncio.create_task(link.transcribe(with_command(SLOW), deadline_s=9))
            await asyncio.sleep(0.1)
            for _ in range(WINDOW):
                await stream.feed(silence(0.5))
            stream.restart()
            await busy
            # What waited is answered, so that its places in the window are free, and was not heard.
            dropped = [await stream.next() for _ in range(WINDOW)]
            assert all(isinstance(said, Heard) and said.text is None for said in dropped)
            assert isinstance(await stream.next(), Restarted)
            for _ in range(WINDOW):
                await stream.feed(silence(0.1))
            stream.end()
            while not isinstance(final := await stream.next(), Answer):
                pass
            assert final.text == "alpha"
            assert (await link.statistics())["streams"] == 0

    asyncio.run(run())


def test_memory_is_flat_over_many_streams_that_end_in_every_way(bundle: Path, tmp_path: Path) -> None:
    async def one(link: Link, ending: int) -> None:
        async with link.stream(deadline_s=9) as stream:
            if ending == 0:
                return
            await stream.feed(silence(0.5))
            if ending == 1:
                return
            await stream.next()
            if ending == 2:
                stream.restart()
                await stream.feed(silence(0.5))
            stream.end()
            if ending == 3:
                while not isinstance(await stream.next(), Answer):
                    pass

    async def run() -> None:
        async with running(bundle, tmp_path, "--stream-limit", "512") as (link, process):
            for _ in range(5):
                await asyncio.gather(*(one(link, ending % 5) for ending in range(100)))
            settled = resident_kb(process.pid)
            for _ in range(15):
                await asyncio.gather(*(one(link, ending % 5) for ending in range(100)))
            figures = await link.statistics()
            assert figures["streams"] == 0
            assert link.busy == 0
            assert resident_kb(process.pid) - settled < 8_000

    asyncio.run(run())


def resident_kb(process: int) -> int:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS:")).split()[1])


def test_a_stream_keeps_its_decoder_state_beside_other_work(bundle: Path, tmp_path: Path) -> None:
    async def run() -> None:
        async with running(bundle, tmp_path) as (link, _), link.stream(deadline_s=9) as stream:
            await stream.feed(silence(0.5))
            first = await stream.next()
            assert isinstance(first, Heard)
            assert (first.text, first.committed) == ("alpha", 0)
            assert (await link.transcribe(silence(1.5), deadline_s=9)).text == "alpha bravo alpha"
            await stream.feed(silence(0.1))
            unchanged = await stream.next()
            assert isinstance(unchanged, Heard)
            assert unchanged.text is None
            stream.end()
            final = await stream.next()
            assert isinstance(final, Answer)
            assert final.text == "alpha"
            assert (await link.statistics())["streams"] == 0

    asyncio.run(run())


def test_sigterm_lets_an_open_stream_finish(bundle: Path, tmp_path: Path) -> None:
    async def run() -> None:
        async with running(bundle, tmp_path, "--drain", "5") as (link, process):
            async with link.stream(deadline_s=9) as stream:
                await stream.feed(silence(0.5))
                await stream.next()
                process.send_signal(signal.SIGTERM)
                await asyncio.sleep(0.2)
                await stream.feed(silence(0.5))
                await stream.next()
                stream.end()
                final = await stream.next()
                assert isinstance(final, Answer)
                assert final.text == "alpha bravo"
            assert await asyncio.to_thread(process.wait, 5) == 0
            with pytest.raises(WorkerGone):
                await link.transcribe(silence(1), deadline_s=1)

    asyncio.run(run())


def test_an_engine_is_warmed_before_anybody_reaches_it(bundle: Path, tmp_path: Path) -> None:
    runtime = tiny_engine.TinyRuntime(["alpha"], tmp_path / "marker")
    heard: list[int] = []
    transcribe = runtime.transcribe

    def counted(audio: Samples) -> Transcript:
        heard.append(audio.size)
        return transcribe(audio)

    runtime.transcribe = counted  # type: ignore[method-assign]
    warm(runtime)
    assert heard
    assert set(heard) == {runtime.sample_rate_hz // 2}

    async def run() -> None:
        async with running(bundle, tmp_path) as (link, _):
            assert (await link.ready)["warm_ms"] > 0
            assert (await link.statistics())["served"] == 0

    asyncio.run(run())


def test_a_worker_ends_with_its_parent(bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "orphan.sock"
    digests_of(bundle, tmp_path / "digests.json").close()
    script = (
        "import os, subprocess, sys, time\n"
        f"p = subprocess.Popen([sys.executable, {str(TINY_WORKER)!r}, '--bundle', {str(bundle)!r},"
        f" '--socket', {str(path)!r}, '--parent', str(os.getpid())],"
        f" stdin=open({str(tmp_path / 'digests.json')!r}))\n"
        "print(p.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(TINY_WORKER.parent.parent.parent)}
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, env=environment) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        while not path.exists():
            time.sleep(0.01)
        parent.kill()
    ends = time.monotonic() + 5
    while Path(f"/proc/{worker}").exists() and "Z" not in Path(f"/proc/{worker}/stat").read_text().split()[2]:
        assert time.monotonic() < ends
        time.sleep(0.02)
