"""What a worker does for somebody who left, cancelled or was too late is in the request's row, with its price."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, cast

import httpx
import numpy as np
import pandas as pd
import pytest

from serving.asking.dialogue import ROUTE
from serving.asking.synthesis import ROUTE as SPEECH_ROUTE
from serving.bundles import PRICE_USD_PER_CORE_HOUR
from serving.client import ApiFailure, RunningGateway, open_stream, transcribe
from serving.frames import Frame, Header
from serving.inference import Connection, Inference
from serving.leftovers import Leftovers
from serving.queues import Limits
from serving.telemetry import read
from speech.runtimes import Samples
from speech.runtimes.kinds import Reply
from tests.serving.conftest import Home, StartGateway, silence, wav, with_command
from tests.serving.talking import CHUNK, END, START, idle
from tests.serving.test_dialogue import SECOND
from tests.serving.tiny_engine import FAIL, SLOW, SLOW_S
from tests.serving.tiny_tasks import TinyAssistant, TinyTurn, TinyVoice

WORK_MS = 250
TEXT = "one two. three. four. five. six. seven. eight. nine. ten."


# ---- what a worker tells --------------------------------------------------------------------------------------------
class Listening:
    """A connection that keeps the headers that it is sent."""

    def __init__(self) -> None:
        self.gone = False
        self.headers: list[Header] = []
        self.came = threading.Condition()

    def send(self, header: Header, _samples: Samples | None = None) -> None:
        with self.came:
            self.headers.append(header)
            self.came.notify_all()

    def until(self, operation: str) -> list[Header]:
        """All headers, once one of this operation is among them."""
        with self.came:
            assert self.came.wait_for(lambda: any(one["op"] == operation for one in self.headers), 10)
            return list(self.headers)


def voice() -> TinyVoice:
    return TinyVoice({"work_ms": WORK_MS, "marker": "never"})


def working(model: Any) -> tuple[Callable[..., None], Listening]:
    """A model's queues: how a frame is sent to them, and what comes back."""
    inference, peer = Inference(model, Limits()), Listening()
    inference.start()

    def send(operation: str, **more: Any) -> None:
        body = np.zeros(8_000, dtype="<f4").tobytes()
        inference.submit(cast(Connection, peer), Frame({"op": operation, "id": 1, **more}, body))

    return send, peer


def test_what_was_being_done_is_told_when_it_is_over() -> None:
    send, peer = working(voice())
    send("speak", text=TEXT)
    time.sleep(WORK_MS / 2000)
    send("cancel")
    (dropped,) = peer.until("dropped")
    assert (dropped["id"], dropped["batch"]) == (1, 1)
    assert WORK_MS <= dropped["infer_ms"] < 2 * WORK_MS


@pytest.mark.parametrize("before", [[], ["speak"]])
def test_what_is_not_under_way_is_told_at_once(before: list[str]) -> None:
    send, peer = working(voice())
    for operation in before:
        send(operation, text="")
        peer.until("error")
    send("cancel")
    assert peer.until("dropped")[-1] == {"op": "dropped", "id": 1, "queue_ms": 0.0, "infer_ms": 0.0, "batch": 1}


def test_what_was_told_with_chunks_is_not_told_again() -> None:
    send, peer = working(voice())
    send("speak", text=TEXT)
    with peer.came:
        assert peer.came.wait_for(lambda: len(peer.headers) >= 3, 10)
    send("cancel")
    told = peer.until("dropped")
    assert [one["op"] for one in told] == ["audio"] * (len(told) - 1) + ["dropped"]
    assert sum(one["infer_ms"] for one in told) == pytest.approx(WORK_MS * len(told), rel=0.2)
    assert sum(one["queue_ms"] for one in told) < WORK_MS / 2


def test_a_reply_and_its_speech_are_both_told() -> None:
    """The time of the reply is not taken off the first chunk of its speech."""

    class SlowTurn(TinyTurn):
        def reply(self) -> Reply:
            time.sleep(0.4)
            return super().reply()

    class Slow(TinyAssistant):
        def turn(self, tenant: str = "") -> TinyTurn:
            return SlowTurn(self, tenant)

    send, peer = working(Slow({"words": ["a"], "work_ms": 20, "marker": "never"}))
    send("open", text="")
    send("chunk")
    send("end", deadline_ms=5_000)
    while len([one for one in peer.until("replied") if one["op"] == "audio"]) < 2:
        time.sleep(0.01)
    audio = [one["infer_ms"] for one in peer.headers if one["op"] == "audio"]
    assert next(one for one in peer.headers if one["op"] == "replied")["infer_ms"] >= 400
    assert all(20 <= infer_ms < 400 for infer_ms in audio)


# ---- what is recorded -----------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def busy(home: Home, start_tiny: StartGateway) -> Iterator[RunningGateway]:
    """A gateway of a transcriber, a voice and an assistant that take their time."""
    serve = {
        "slow": home.folder("left-words", "alpha bravo"),
        "voice": home.folder("left-voice", "", task="synthesis", work_ms=WORK_MS),
        "talker": home.folder("left-talker", "alpha bravo", task="dialogue", work_ms=WORK_MS),
    }
    with start_tiny(home.root, serve=serve, options=("--deadline-s", "5")) as gateway:
        yield gateway


def next_row(home: Home, gateway: RunningGateway, family: str, since: float, status: int) -> pd.Series:
    """The only row of a family since then, once nothing is under way."""
    idle(gateway, family)
    ends = time.monotonic() + 10
    while not len(rows := read(home.root / "telemetry", family, since)):
        assert time.monotonic() < ends
        time.sleep(0.05)
    assert list(rows["status"]) == [status]
    return rows.iloc[0]


def assert_cost(row: pd.Series, at_least_ms: float) -> None:
    assert at_least_ms <= row["infer_ms"] < at_least_ms + 2_000
    assert row["cost_usd"] == pytest.approx(row["infer_ms"] / 1000 * PRICE_USD_PER_CORE_HOUR / 3600)


async def upload_and_leave(gateway: RunningGateway, home: Home, content: bytes, timeout_s: float) -> None:
    async with httpx.AsyncClient(timeout=timeout_s, trust_env=False) as http:
        with suppress(httpx.TimeoutException):
            await http.post(
                f"{gateway.base_url}/v1/audio/transcriptions", files={"file": ("a.wav", content)},
                data={"model": "slow"}, headers={"Authorization": f"Bearer {home.key}"},
            )  # fmt: skip


def test_who_leaves_mid_request_has_cost_what_the_model_still_did(busy: RunningGateway, home: Home) -> None:
    since = time.time()
    asyncio.run(upload_and_leave(busy, home, wav(with_command(SLOW)), SLOW_S / 2))
    row = next_row(home, busy, "slow", since, 499)
    assert_cost(row, SLOW_S * 1000)
    assert row["timestamp"] - since < SLOW_S  # when the client left, not when that was recorded
    assert row["queue_ms"] < 500


def test_who_is_too_late_has_cost_it_too(busy: RunningGateway, home: Home) -> None:
    since = time.time()
    with pytest.raises(ApiFailure, match="deadline"):
        transcribe(
            busy.base_url, wav(with_command(SLOW)), "slow", home.key,
            {"X-Soundcheck-Deadline-Ms": str(round(SLOW_S * 500))},
        )  # fmt: skip
    assert_cost(next_row(home, busy, "slow", since, 504), SLOW_S * 1000)


def test_what_a_model_failed_on_has_cost_it_too(busy: RunningGateway, home: Home) -> None:
    since = time.time()
    samples = with_command(SLOW)
    samples[200] = FAIL
    with pytest.raises(ApiFailure, match="internal"):
        transcribe(busy.base_url, wav(samples), "slow", home.key)
    assert_cost(next_row(home, busy, "slow", since, 500), SLOW_S * 1000)


def test_who_leaves_the_queue_unheard_has_cost_nothing(busy: RunningGateway, home: Home) -> None:
    async def both() -> None:
        first = asyncio.create_task(upload_and_leave(busy, home, wav(with_command(SLOW)), 9))
        await asyncio.sleep(0.2)
        await upload_and_leave(busy, home, wav(silence(1.0)), 0.2)
        await first

    since = time.time()
    asyncio.run(both())
    idle(busy, "slow")
    ends = time.monotonic() + 10
    while len(rows := read(home.root / "telemetry", "slow", since)) < 2:
        assert time.monotonic() < ends
        time.sleep(0.05)
    left = rows[rows["status"] == 499].iloc[0]
    assert (left["infer_ms"], left["cost_usd"]) == (0, 0)
    assert left["queue_ms"] > 100


async def leave_stream(gateway: RunningGateway, home: Home, messages: list[str | bytes], wait_s: float) -> None:
    async with open_stream(gateway.base_url, "slow", home.key) as websocket:
        for message in messages:
            await websocket.send(message)
        await asyncio.sleep(wait_s)
        websocket.transport.abort()


SLOW_CHUNK = (with_command(SLOW, 0.5) * 32768).astype("<i2").tobytes()


@pytest.mark.parametrize(
    ("name", "messages", "steps"),
    [
        ("while a chunk is heard", [START, SLOW_CHUNK], 1),
        ("with chunks that wait behind it", [START, CHUNK, SLOW_CHUNK, *[CHUNK] * 5], 1),
        ("while the final is made", [START, SLOW_CHUNK, END], 2),
    ],
)
def test_who_leaves_mid_stream_has_cost_what_the_model_still_did(
    busy: RunningGateway, home: Home, name: str, messages: list[str | bytes], steps: int
) -> None:
    since = time.time()
    asyncio.run(leave_stream(busy, home, messages, SLOW_S * (steps - 0.5)))
    row = next_row(home, busy, "slow", since, 499)
    assert row["error_code"] == "client_gone", name
    assert_cost(row, steps * SLOW_S * 1000)
    assert row["infer_ms"] < (steps + 1) * SLOW_S * 1000  # what waited was not heard


async def leave_speech_request(gateway: RunningGateway, home: Home) -> None:
    async with httpx.AsyncClient(timeout=10, trust_env=False) as http:
        body = {"model": "voice", "input": TEXT, "voice": "tiny", "response_format": "pcm"}
        headers = {"Authorization": f"Bearer {home.key}"}
        async with http.stream("POST", f"{gateway.base_url}/v1/audio/speech", json=body, headers=headers) as answer:
            async for _ in answer.aiter_raw():
                break
            await asyncio.sleep(WORK_MS / 2000)


async def leave_speech_stream(gateway: RunningGateway, home: Home) -> None:
    async with open_stream(gateway.base_url, "voice", home.key, route=SPEECH_ROUTE) as websocket:
        await websocket.send(json.dumps({"type": "start", "input": TEXT}))
        while not isinstance(await websocket.recv(), bytes):
            pass
        await asyncio.sleep(WORK_MS / 2000)
        websocket.transport.abort()


@pytest.mark.parametrize("leave", [leave_speech_request, leave_speech_stream])
def test_who_leaves_mid_sentence_has_cost_the_sentence_that_was_being_made(
    busy: RunningGateway, home: Home, leave: Any
) -> None:
    since = time.time()
    asyncio.run(leave(busy, home))
    row = next_row(home, busy, "voice", since, 499)
    assert_cost(row, 2 * WORK_MS)
    assert row["infer_ms"] < 9 * WORK_MS  # the other sentences were not made
    assert row["spoken_s"] > 0


def test_a_barge_in_leaves_the_reply_with_all_that_it_cost(busy: RunningGateway, home: Home) -> None:
    async def talk() -> None:
        async with open_stream(busy.base_url, "talker", home.key, route=ROUTE) as websocket:
            for message in (START, SECOND, END):
                await websocket.send(message)
            while not isinstance(await websocket.recv(), bytes):
                pass
            await asyncio.sleep(WORK_MS / 2000)
            await websocket.send('{"type": "barge_in"}')
            while (
                json.loads(said if isinstance(said := await websocket.recv(), str) else "{}").get("type") != "restarted"
            ):
                pass
            await websocket.send('{"type": "cancel"}')

    since = time.time()
    asyncio.run(talk())
    idle(busy, "talker")
    row = next_row(home, busy, "talker", since, 200)
    assert_cost(row, 2 * WORK_MS)


def test_a_gateway_that_stops_meanwhile_records_what_is_known(home: Home, start_tiny: StartGateway) -> None:
    serve = {"slow": home.folder("left-end", "alpha bravo")}
    since = time.time()
    with start_tiny(home.root, serve=serve, options=("--drain-s", "0")) as gateway:
        asyncio.run(upload_and_leave(gateway, home, wav(with_command(SLOW)), SLOW_S / 2))
    rows = read(home.root / "telemetry", "slow", since)
    assert list(rows["error_code"]) == ["client_gone"]


def test_work_has_the_price_of_the_bundle_that_did_it() -> None:
    async def run() -> None:
        left = Leftovers()
        told = left.expect()
        left.add({"op": "error", "code": "overloaded"}, 5.0)
        left.add({"queue_ms": 1.0, "infer_ms": 200.0, "batch": 3}, 0.5)
        left.add({"queue_ms": 2.0, "infer_ms": 100.0, "batch": 1}, 2.0)
        assert not left.settled
        asyncio.get_running_loop().call_later(0.01, told.set_result, None)
        await left.settle(5)
        assert left.settled
        assert (left.queue_ms, left.infer_ms, left.batch) == (3.0, 300.0, 3)
        assert left.usd == pytest.approx(0.3)

    asyncio.run(run())
