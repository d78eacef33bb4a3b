"""A worker process by itself, spoken to over its socket."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO

import pytest

from serving.bundles import given
from serving.link import Answer, Heard, Link, ServingFailure, WorkerGone, connect
from tests.serving.conftest import Home, silence, with_command
from tests.serving.tiny_engine import SLOW

TINY_WORKER = Path(__file__).with_name("tiny_worker.py")


@pytest.fixture(scope="module")
def bundle(home: Home) -> Path:
    return home.folder("lone", "alpha bravo")


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


async def code_of(asking: object) -> str:
    try:
        await asking  # type: ignore[misc]
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
