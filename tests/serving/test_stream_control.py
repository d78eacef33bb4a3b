"""Streams of API 1.1: cancellation, barge-in, no partials, priority, withdrawn bundles, on a real gateway."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection

from contracts.routing import Degradation
from contracts.serving_api import PartialResult, StreamCancelled, StreamError, StreamRestarted
from serving.client import ApiFailure, RunningGateway, open_stream
from tests.serving.conftest import Home, StartGateway, wav, with_command
from tests.serving.talking import (
    BARGE_IN,
    CANCEL,
    CHUNK,
    END,
    START,
    Message,
    everything,
    idle,
    row_of,
    saying,
    send,
    talk,
)
from tests.serving.tiny_engine import SLOW

SLOW_PCM = with_command(SLOW, 0.5)


def start(**more: Any) -> str:
    return json.dumps({"type": "start", "sample_rate": 16_000, **more})


def slow_pcm() -> bytes:
    return (SLOW_PCM * 32768).astype("<i2").tobytes()


@pytest.mark.parametrize("messages", [[START], [START, *[CHUNK] * 7], [START, slow_pcm(), END]])
def test_a_cancelled_stream_ends_in_order_and_leaves_nothing(
    pinned: RunningGateway, home: Home, messages: list[str | bytes]
) -> None:
    received = talk(pinned, home.key, saying(*messages, CANCEL))
    cancelled = StreamCancelled.model_validate(received[-1])
    assert cancelled.request_id == received[0]["request_id"]
    assert cancelled.bundle == received[0]["bundle"]
    assert "final" not in {message["type"] for message in received}
    idle(pinned)
    row = row_of(home.root, "tiny", cancelled.request_id)
    assert (row["status"], row["error_code"]) == (499, "cancelled")


def test_after_a_barge_in_nothing_of_before_is_heard(pinned: RunningGateway, home: Home) -> None:
    async def script(websocket: ClientConnection) -> tuple[list[Message], list[Message]]:
        await websocket.send(START)
        for _ in range(12):
            await websocket.send(CHUNK)
        before: list[Message] = []
        while not before or before[-1].get("text") != "alpha bravo":
            before.append(json.loads(await websocket.recv()))
        await send(websocket, BARGE_IN, *[CHUNK] * 11, END)
        return before, await everything(websocket)

    before, after = talk(pinned, home.key, script)
    restarted = StreamRestarted.model_validate(after[0])
    assert restarted.audio_s == pytest.approx(1.2)
    assert restarted.bundle == before[0]["bundle"]
    partials = [PartialResult.model_validate(message) for message in after[1:-1]]
    assert [partial.text for partial in partials] == ["alpha", "alpha bravo"]
    assert partials[0].committed == 0
    final = after[-1]
    assert final["type"] == "final"
    assert final["text"] == "alpha bravo"
    assert [(word["start"], word["end"]) for word in final["words"]] == [(1.2, 1.7), (1.7, 2.2)]
    assert final["audio_s"] == pytest.approx(2.3)
    row = row_of(home.root, "tiny", final["request_id"])
    # Words that were dropped by a barge-in were not taken back: that is no churn.
    assert (row["status"], row["partial_words"], row["unstable_words"]) == (200, 4, 0)


def test_several_barge_ins_and_one_before_any_audio(pinned: RunningGateway, home: Home) -> None:
    received = talk(
        pinned, home.key, saying(START, BARGE_IN, *[CHUNK] * 6, BARGE_IN, *[CHUNK] * 6, BARGE_IN, *[CHUNK] * 6, END)
    )
    assert [round(message["audio_s"], 3) for message in received if message["type"] == "restarted"] == [0.0, 0.6, 1.2]
    assert (received[-1]["type"], received[-1]["text"]) == ("final", "alpha")


def test_a_barge_in_at_another_rate_drops_what_the_resampler_held(pinned: RunningGateway, home: Home) -> None:
    at_8khz = START.replace("16000", "8000")
    received = talk(pinned, home.key, saying(at_8khz, CHUNK, BARGE_IN, *[CHUNK] * 3, END))
    assert (received[-1]["type"], received[-1]["text"]) == ("final", "alpha")
    assert received[-1]["words"][0]["start"] == pytest.approx(0.2)


def test_after_the_end_only_a_cancellation_counts(pinned: RunningGateway, home: Home) -> None:
    received = talk(pinned, home.key, saying(START, *[CHUNK] * 6, END, BARGE_IN, "gossip", CHUNK))
    assert [received[-1]["type"], received[-1]["text"]] == ["final", "alpha"]
    assert "restarted" not in {message["type"] for message in received}


def test_a_client_may_do_without_partials(pinned: RunningGateway, home: Home) -> None:
    received = talk(pinned, home.key, saying(start(partials=False), *[CHUNK] * 12, END))
    assert [message["type"] for message in received] == ["ready", "final"]
    row = row_of(home.root, "tiny", received[-1]["request_id"])
    assert (row["degraded"], row["partial_words"]) == ("no", 0)


def test_what_a_start_says_is_recorded(pinned: RunningGateway, home: Home) -> None:
    first = start(priority="batch", language_hints=["de", "en"], speaker_policy="single", encoding="pcm_s16le")
    received = talk(pinned, home.key, saying(first.replace("16000", "8000"), *[CHUNK] * 12, END))
    row = row_of(home.root, "tiny", received[-1]["request_id"])
    assert (row["priority"], row["language"], row["sent_rate_hz"]) == ("batch", "de", 8_000)
    assert (row["speech_s"], row["segments"], row["level_dbfs"], row["clipped"]) == (0.0, 0, -96.0, 0.0)
    assert row["preprocess_ms"] > 0
    assert row["postprocess_ms"] > 0


@pytest.mark.parametrize(
    "more", [{"encoding": "opus"}, {"speaker_policy": "many"}, {"priority": "vip"}, {"partials": "some"}, {"new": 1}]
)
def test_a_start_of_another_contract_is_refused(pinned: RunningGateway, home: Home, more: Message) -> None:
    (said,) = talk(pinned, home.key, saying(start(**more)))
    assert StreamError.model_validate(said).error.code == "bad_request"


def test_handshakes_are_held_to_their_terms(pinned: RunningGateway, home: Home) -> None:
    async def never() -> None:
        async with open_stream(pinned.base_url, "tiny", home.key, {"X-Soundcheck-Deadline-Ms": "soon"}):
            raise AssertionError("the handshake was accepted")

    with pytest.raises(ApiFailure, match="X-Soundcheck-Deadline-Ms is a whole number") as refused:
        asyncio.run(never())
    assert refused.value.status == 400


@pytest.fixture(scope="module")
def following(home: Home, start_tiny: StartGateway) -> Iterator[RunningGateway]:
    """A gateway that follows `steered`, and gives up partials when its queue is half full."""
    first = home.bundle("steered-1", "one two three", "steered")
    home.point("steered", first)
    options = ("--deadline-s", "5", "--queue-limit", "4", "--drain-s", "10", "--poll-s", "0.05")
    with start_tiny(home.root, families=["steered"], options=options) as gateway:
        yield gateway


def test_a_degraded_family_streams_finals_alone(following: RunningGateway, home: Home) -> None:
    stable = following.status()["families"]["steered"]["stable"]
    table = home.point("steered", stable, degradation=Degradation(mode="no_partials"))
    _served(following, table.version)
    received = talk(following, home.key, saying(START, *[CHUNK] * 12, END), "steered")
    assert [message["type"] for message in received] == ["ready", "final"]
    assert row_of(home.root, "steered", received[-1]["request_id"])["degraded"] == "no_partials"
    _served(following, home.point("steered", stable).version)
    received = talk(following, home.key, saying(START, *[CHUNK] * 12, END), "steered")
    assert "partial" in {message["type"] for message in received}


def _served(gateway: RunningGateway, version: int) -> None:
    ends = time.monotonic() + 20
    while gateway.status()["families"]["steered"]["version"] != version:
        assert time.monotonic() < ends
        time.sleep(0.02)


def test_streams_on_a_closed_bundle_end_at_once(following: RunningGateway, home: Home) -> None:
    old = following.status()["families"]["steered"]["stable"]
    new = home.bundle("steered-2", "uno dos", "steered")

    async def script(websocket: ClientConnection) -> list[Message]:
        await websocket.send(START)
        await websocket.send(CHUNK)
        ready = json.loads(await websocket.recv())
        assert ready["bundle"] == old
        await asyncio.to_thread(home.point, "steered", new, closed=(old,))
        return await everything(websocket)

    received = talk(following, home.key, script, "steered")
    error = StreamError.model_validate(received[-1]).error
    assert (error.code, error.retry_after_s) == ("withdrawn", 1)
    assert "open a new stream" in error.message


async def _waiting(gateway: RunningGateway, count: int) -> None:
    ends = time.monotonic() + 10
    while time.monotonic() < ends:
        status = await asyncio.to_thread(gateway.status)
        if any(worker.get("waiting") == count for worker in status["families"]["loaded"]["workers"].values()):
            return
    raise AssertionError(f"the queue did not fill: {status}")


def test_a_full_queue_takes_partials_away_and_gives_them_back(home: Home, start_tiny: StartGateway) -> None:
    folder = home.folder("loaded", "alpha bravo charlie")
    options = ("--deadline-s", "20", "--queue-limit", "10", "--no-partials-at", "0.1")

    async def script(gateway: RunningGateway) -> tuple[list[Message], list[Message]]:
        async def ask(http: httpx.AsyncClient) -> int:
            answer = await http.post(
                f"{gateway.base_url}/v1/audio/transcriptions",
                files={"file": ("a.wav", wav(with_command(SLOW)))},
                data={"model": "loaded"},
                headers={"Authorization": f"Bearer {home.key}"},
            )
            return answer.status_code

        async with httpx.AsyncClient(timeout=30) as http:
            asking = [asyncio.create_task(ask(http)) for _ in range(5)]
            await _waiting(gateway, 4)
            async with open_stream(gateway.base_url, "loaded", home.key) as websocket:
                await send(websocket, START, *[CHUNK] * 12, END)
                busy = await everything(websocket)
            assert set(await asyncio.gather(*asking)) == {200}
        async with open_stream(gateway.base_url, "loaded", home.key) as websocket:
            await send(websocket, START, *[CHUNK] * 12, END)
            return busy, await everything(websocket)

    with start_tiny(home.root, serve={"loaded": folder}, options=options) as gateway:
        busy, quiet = asyncio.run(asyncio.wait_for(script(gateway), 60))
    assert [message["type"] for message in busy] == ["ready", "final"]
    kinds = [message["type"] for message in quiet]
    # How full the queue is comes with the worker's answers: the first partial may still be kept back.
    assert (kinds[0], set(kinds[1:-1]), kinds[-1]) == ("ready", {"partial"}, "final")
    assert busy[-1]["text"] == quiet[-1]["text"] == "alpha bravo"
