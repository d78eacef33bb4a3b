"""Texts that are said: whose turn it is, how much is made for a slow reader, prompts that are kept, who leaves."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from contracts import serving_api
from contracts.errors import Corrupt, Refused
from serving import prompts
from serving.asking.synthesis import ROUTE
from serving.client import ApiFailure, RunningGateway, next_said, open_stream
from serving.encoding import MP3_RATES_HZ, OPUS_RATES_HZ, pcm16, sent_rate_hz, wav_header
from serving.link import Chunk, Link, LinkStream, ServingFailure, Spoken
from serving.queues import WINDOW
from serving.telemetry import read
from tests.serving.conftest import Home, Samples, StartGateway
from tests.serving.test_switching import eventually
from tests.serving.test_worker_process import code_of, running
from tests.serving.tiny_tasks import VOICE_RATE_HZ, TinyVoice, tone


def sentences(count: int, words: int = 1) -> str:
    return " ".join(" ".join(["word"] * words) + "." for _ in range(count))


async def all_of(stream: LinkStream) -> list[Chunk]:
    said: list[Chunk] = []
    while not isinstance(chunk := await stream.next(), Spoken):
        assert isinstance(chunk, Chunk)
        said.append(chunk)
    return said


# ---- the worker -------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def voice(home: Home) -> Path:
    """A voice that thinks for 30 ms before each sentence."""
    return home.folder("voice", "", task="synthesis", work_ms=30)


def test_a_new_text_is_begun_before_the_rest_of_one_that_is_being_played(voice: Path, tmp_path: Path) -> None:
    async def run() -> None:
        async with running(voice, tmp_path) as (link, _), link.speech(sentences(20, 30), deadline_s=9) as long:
            assert isinstance(await long.next(), Chunk)
            began = time.monotonic()
            async with link.speech("short.", deadline_s=9) as short:
                first = await short.next()
                assert isinstance(first, Chunk)
                # It waits for the sentence that is being made, not for 19 others.
                assert time.monotonic() - began < 0.2
                np.testing.assert_array_equal(first.samples, tone(0, 1))
            assert len(await all_of(long)) == 19

    asyncio.run(run())


def test_no_more_is_made_than_a_listener_takes(voice: Path, tmp_path: Path) -> None:
    async def run() -> None:
        async with running(voice, tmp_path) as (link, _), link.speech(sentences(12), deadline_s=9) as slow:
            await asyncio.sleep(0.6)
            figures = await link.statistics()
            assert (figures["calls"], figures["streams"], figures["waiting"]) == (WINDOW, 1, 0)
            await slow.next()
            await asyncio.sleep(0.2)
            assert (await link.statistics())["calls"] == WINDOW + 1
            said = await all_of(slow)
            assert [chunk.samples.size for chunk in said] == [tone(0, 1).size] * 11
            assert all(chunk.infer_ms >= 29 for chunk in said)
            assert (await link.statistics())["streams"] == 0

    asyncio.run(run())


async def settled(link: Link) -> dict[str, Any]:
    """The worker's figures once nothing is being said."""
    while (figures := await link.statistics())["streams"]:
        await asyncio.sleep(0.02)
    return figures


@pytest.mark.parametrize("when", ["before the first", "while waiting for its reader"])
def test_speech_that_nobody_wants_is_not_made(voice: Path, tmp_path: Path, when: str) -> None:
    async def run() -> None:
        async with running(voice, tmp_path) as (link, _):
            async with link.speech(sentences(50), deadline_s=9) as left:
                if when != "before the first":
                    await left.next()
                    await asyncio.sleep(0.3)
            assert (await asyncio.wait_for(settled(link), 2))["calls"] <= WINDOW + 1

    asyncio.run(run())


def test_where_as_many_texts_are_said_as_may_be_another_is_told_at_once(voice: Path, tmp_path: Path) -> None:
    async def run() -> None:
        async with (
            running(voice, tmp_path, "--queue-limit", "2", "--stream-limit", "1") as (link, _),
            link.speech(sentences(9, 9), deadline_s=9) as first,
        ):
            await first.next()
            async with link.speech("one.", deadline_s=9) as second:
                assert await code_of(second.next()) == "overloaded"

    asyncio.run(run())


def test_a_text_whose_turn_comes_too_late_is_not_begun(voice: Path, tmp_path: Path) -> None:
    async def run() -> None:
        async with running(voice, tmp_path) as (link, _), contextlib.AsyncExitStack() as stack:
            asked = [await stack.enter_async_context(link.speech("one.", deadline_s=0.05)) for _ in range(6)]
            codes = [await code_of(one.next()) for one in asked]
            assert codes[0] == "ok"
            assert codes[-1] == "deadline"

    asyncio.run(run())


# ---- prompts ----------------------------------------------------------------------------------------------------
def test_a_prompt_that_is_kept_waits_for_nobody(home: Home, tmp_path: Path) -> None:
    folder = home.folder("with-prompts", "", task="synthesis", work_ms=100)
    (folder / "payload" / prompts.FILE).write_text(json.dumps(["welcome back.", "good bye. for now."]))

    async def run() -> None:
        async with running(folder, tmp_path) as (link, _), link.speech(sentences(9), deadline_s=9) as long:
            await asyncio.sleep(0.05)
            began = time.monotonic()
            async with link.speech("good bye. for now.", deadline_s=9) as kept:
                said = await all_of(kept)
            assert time.monotonic() - began < 0.05
            assert [chunk.samples.tolist() for chunk in said] == [tone(0, 2).tolist(), tone(1, 2).tolist()]
            assert [chunk.infer_ms for chunk in said] == [0, 0]
            async with link.speech("good bye.", deadline_s=9) as other:
                first = await other.next()
                assert isinstance(first, Chunk)
                assert first.infer_ms >= 99
            assert isinstance(await long.next(), Chunk)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("content", "said"),
    [("{", "the list of prompts is not JSON"), ('{"a": 1}', "the list of prompts is none"), ('[""]', "is none")],
)
def test_a_list_of_prompts_that_is_none(tmp_path: Path, content: str, said: str) -> None:
    assert prompts.prompts_of(tmp_path) == ()
    (tmp_path / prompts.FILE).write_text(content)
    with pytest.raises(Corrupt, match=said):
        prompts.prompts_of(tmp_path)


def test_prompts_that_are_too_long_to_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompts, "MAX_BYTES", 1_000)
    (tmp_path / prompts.FILE).write_text('["one two three."]')
    with pytest.raises(Refused, match="the prompts are too long to be kept"):
        prompts.spoken(TinyVoice({"marker": ""}), tmp_path)  # type: ignore[arg-type]


# ---- the gateway ------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def slow(home: Home, start_tiny: StartGateway) -> Any:
    folder = home.folder("slow-gateway-voice", "", task="synthesis", work_ms=100)
    (folder / "payload" / prompts.FILE).write_text('["welcome back."]')
    with start_tiny(home.root, serve={"slow": folder}, options=("--deadline-s", "2", "--drain-s", "1")) as gateway:
        yield gateway


def row(home: Home, since: float) -> dict[str, Any]:
    """The one row since then."""
    (found,) = eventually(lambda: read(home.root / "telemetry", "slow", since).to_dict("records"), timeout_s=25)
    return {str(name): value for name, value in found.items()}


def idle(gateway: RunningGateway) -> bool:
    (worker,) = gateway.status()["families"]["slow"]["workers"].values()
    return not (worker["streams"] or worker["in_use"])


def test_a_websocket_speaks(slow: RunningGateway, home: Home) -> None:
    since = time.time()

    async def run() -> list[Any]:
        async with open_stream(slow.base_url, "slow", home.key, route=ROUTE) as websocket:
            await websocket.send(json.dumps({"type": "start", "input": f"{sentences(1, 20)} six.", "voice": "tiny"}))
            return [message async for message in websocket]

    ready, *frames, done = asyncio.run(run())
    assert serving_api.SpeechReady.model_validate_json(ready).sample_rate == VOICE_RATE_HZ
    assert serving_api.SpeechDone.model_validate_json(done).audio_s == pytest.approx(2.1)
    assert b"".join(frames) == pcm16(np.concatenate([tone(0, 20), tone(1, 1)]))
    assert max(map(len, frames)) == round(0.2 * VOICE_RATE_HZ) * 2
    said = row(home, since)
    assert (said["mode"], said["characters"], said["starved"]) == ("stream", len(f"{sentences(1, 20)} six."), 0)


@pytest.mark.parametrize("how", ["cancel", "leave"])
def test_who_leaves_ends_the_making(slow: RunningGateway, home: Home, how: str) -> None:
    since = time.time()

    async def run() -> None:
        async with open_stream(slow.base_url, "slow", home.key, route=ROUTE) as websocket:
            await websocket.send(json.dumps({"type": "start", "input": sentences(40)}))
            while not isinstance(await next_said(websocket), bytes):
                pass
            if how == "leave":
                websocket.transport.abort()
                return
            await websocket.send('{"type": "cancel"}')
            while isinstance(message := await next_said(websocket), bytes):
                pass
            assert message["type"] == "cancelled"

    asyncio.run(run())
    assert eventually(lambda: idle(slow), timeout_s=1.5)
    said = row(home, since)
    assert (said["status"], said["error_code"]) == (499, "cancelled" if how == "cancel" else "client_gone")
    assert 0 < said["spoken_s"] < 2


def test_a_client_over_http_that_leaves_ends_the_making(slow: RunningGateway, home: Home) -> None:
    since = time.time()
    body = {"model": "slow", "input": sentences(40), "response_format": "pcm"}
    headers = {"Authorization": f"Bearer {home.key}"}
    with httpx.stream("POST", f"{slow.base_url}/v1/audio/speech", json=body, headers=headers) as answer:
        next(answer.iter_raw())
    assert eventually(lambda: idle(slow), timeout_s=1.5)
    said = row(home, since)
    assert (said["status"], said["error_code"], said["characters"]) == (499, "client_gone", len(body["input"]))


def test_a_client_over_http_that_does_not_read_is_left(slow: RunningGateway, home: Home) -> None:
    since = time.time()
    body = json.dumps({"model": "slow", "input": "a " * 999 + ".", "response_format": "pcm"})
    head = f"POST /v1/audio/speech HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {home.key}\r\n"
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        client.connect(("127.0.0.1", int(slow.base_url.rsplit(":", 1)[1])))
        client.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        said = row(home, since)
    assert (said["status"], said["error_code"]) == (499, "unread")
    assert eventually(lambda: idle(slow))


def test_a_kept_prompt_is_told_in_telemetry(slow: RunningGateway, home: Home) -> None:
    since = time.time()
    body = {"model": "slow", "input": "welcome back.", "response_format": "pcm"}
    answer = httpx.post(f"{slow.base_url}/v1/audio/speech", json=body, headers={"Authorization": f"Bearer {home.key}"})
    assert answer.content == pcm16(tone(0, 2))
    said = row(home, since)
    assert (said["cached"], said["infer_ms"], said["cost_usd"]) == (1, 0, 0)
    assert said["first_audio_ms"] < 50


def test_a_first_message_that_is_none(slow: RunningGateway, home: Home) -> None:
    async def run() -> None:
        async with open_stream(slow.base_url, "slow", home.key, route=ROUTE) as websocket:
            await websocket.send('{"type": "start"}')
            with pytest.raises(ApiFailure, match='"input": TEXT') as failure:
                await next_said(websocket)
            assert failure.value.code == "bad_request"

    asyncio.run(run())


# ---- what is pure -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shape", "rates_hz"), [("opus", OPUS_RATES_HZ), ("mp3", MP3_RATES_HZ)])
def test_law_a_format_s_own_rates_are_kept_and_others_become_the_next(shape: Any, rates_hz: tuple[int, ...]) -> None:
    for rate_hz in range(4_000, 60_000, 250):
        sent = sent_rate_hz(shape, rate_hz)
        assert sent in rates_hz
        assert (sent == rate_hz) == (rate_hz in rates_hz)
        assert sent >= rate_hz or sent == max(rates_hz)
    assert sent_rate_hz("pcm", 12_345) == sent_rate_hz("flac", 12_345) == 12_345


def test_a_wav_header_is_44_bytes_and_says_that_nobody_knows_how_long() -> None:
    header = wav_header(22_050)
    assert (len(header), header[4:8], header[40:]) == (44, b"\xff" * 4, b"\xff" * 4)


def test_samples_beyond_full_scale_are_clipped() -> None:
    samples: Samples = np.array([-2, -1, 0, 1, 2], dtype=np.float32)
    assert np.frombuffer(pcm16(samples), dtype="<i2").tolist() == [-32767, -32767, 0, 32767, 32767]


def test_unusable_input_is_no_failure_of_the_model() -> None:
    assert serving_api.STATUS[ServingFailure("unusable_input", "").code] == 400
