"""Streaming over a WebSocket, on a real gateway with a real worker process."""

from __future__ import annotations

import asyncio
import time

import pytest
from websockets.asyncio.client import ClientConnection

from contracts.serving_api import FinalResult, PartialResult, StreamError, StreamReady
from serving.client import ApiFailure, RunningGateway, open_stream, stream
from tests.serving.conftest import Home, silence
from tests.serving.talking import CHUNK, END, START, everything, idle, saying, talk
from tests.serving.tiny_engine import FAIL

PCM = silence(2.0).astype("<i2").tobytes()
FAILING = (int(FAIL * 32768)).to_bytes(2, "little", signed=True) * 100


def test_a_stream_gives_ready_partials_and_one_final(pinned: RunningGateway, home: Home) -> None:
    ready, *partials, final = talk(pinned, home.key, saying(START, *[CHUNK] * 20, END, END))
    opened = StreamReady.model_validate(ready)
    heard = [PartialResult.model_validate(partial) for partial in partials]
    last = FinalResult.model_validate(final)
    assert [partial.text for partial in heard][-1] == last.text == "alpha bravo charlie alpha"
    assert {partial.bundle for partial in heard} == {opened.bundle} == {last.bundle}
    assert last.request_id == opened.request_id
    assert last.audio_s == 2.0
    assert [word.word for word in last.words] == last.text.split()
    committed: list[str] = []
    for partial in heard:
        assert partial.text.split()[: len(committed)] == committed
        committed = partial.text.split()[: partial.committed]
    assert last.text.split()[: len(committed)] == committed


def test_the_client_streams_in_real_cadence(pinned: RunningGateway, home: Home) -> None:
    began = time.perf_counter()
    heard = stream(pinned.base_url, PCM, "tiny", home.key, rate_hz=16_000, cadence=4.0)
    assert time.perf_counter() - began > 0.4
    assert heard.text == "alpha bravo charlie alpha"
    assert heard.first_partial_ms is not None
    # Half a second of audio at fourfold speed must have been sent before the first word can be heard.
    assert heard.first_partial_ms > 90
    assert heard.final_ms < 2_000
    assert len(heard.bundles) == 1


def test_a_stream_at_an_accepted_rate_is_resampled(pinned: RunningGateway, home: Home) -> None:
    heard = stream(pinned.base_url, PCM, "tiny", home.key, rate_hz=8_000)
    assert len(heard.text.split()) in (7, 8)


REFUSALS: dict[str, tuple[list[str | bytes], str]] = {
    "text that is no JSON": (["not json"], "bad_request"),
    "audio before the start": ([b"\0\0"], "bad_request"),
    "no rate": (['{"type": "start"}'], "bad_request"),
    "wrong rate": (['{"type": "start", "sample_rate": 12000}'], "unsupported_rate"),
    "half a sample": ([START, b"abc"], "bad_request"),
    "text where audio belongs": ([START, "what is this"], "bad_request"),
    "a list where audio belongs": ([START, "[]"], "bad_request"),
    "two starts": ([START, START], "bad_request"),
    "an end without audio": ([START, END], "empty_audio"),
    "the engine fails": ([START, FAILING, END], "internal"),
    "over ten minutes": ([START, *[silence(30).astype("<i2").tobytes()] * 21], "too_long"),
    "silence on the wire": ([], "deadline"),
    "silence on the wire after audio": ([START, CHUNK], "deadline"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refused_streams(pinned: RunningGateway, home: Home, name: str) -> None:
    messages, code = REFUSALS[name]
    last = talk(pinned, home.key, saying(*messages))[-1]
    assert StreamError.model_validate(last).error.code == code


def test_a_huge_frame_closes_the_stream(pinned: RunningGateway, home: Home) -> None:
    async def script(websocket: ClientConnection) -> int | None:
        await websocket.send(START)
        await websocket.send(b"\0" * (2 << 20))
        await everything(websocket)
        return websocket.close_code

    assert talk(pinned, home.key, script) == 1009


def test_handshakes_that_are_refused(pinned: RunningGateway, home: Home) -> None:
    async def never(_: ClientConnection) -> None:
        raise AssertionError("the handshake was accepted")

    with pytest.raises(ApiFailure, match="unauthorized") as refused:
        talk(pinned, "wrong", never)
    assert refused.value.status == 401
    with pytest.raises(ApiFailure, match="unknown_model") as unknown:
        talk(pinned, home.key, never, family="nobody")
    assert unknown.value.status == 404


def test_clients_that_leave_at_every_state_leave_nothing_behind(pinned: RunningGateway, home: Home) -> None:
    states: list[list[str | bytes]] = [[], [START], [START, CHUNK], [START, *[CHUNK] * 30], [START, CHUNK, END]]

    async def leave() -> None:
        for _ in range(4):
            for messages in states:
                async with open_stream(pinned.base_url, "tiny", home.key) as websocket:
                    for message in messages:
                        await websocket.send(message)
                    websocket.transport.abort()

    asyncio.run(asyncio.wait_for(leave(), 30))
    idle(pinned, within_s=5)
    workers = pinned.status()["families"]["tiny"]["workers"].values()
    assert [(worker["state"], worker["streams"], worker["in_use"]) for worker in workers] == [("ready", 0, 0)]


def test_streams_do_not_hear_each_other(pinned: RunningGateway, home: Home) -> None:
    async def run() -> list[str]:
        from serving.client import stream_async

        lengths = [0.5, 1.0, 1.5, 2.0] * 3
        heard = await asyncio.gather(
            *(
                stream_async(pinned.base_url, silence(length).astype("<i2").tobytes(), "tiny", home.key, rate_hz=16_000)
                for length in lengths
            )
        )
        return [f"{length}: {answer.text}" for length, answer in zip(lengths, heard, strict=True)]

    words = ["alpha", "alpha bravo", "alpha bravo charlie", "alpha bravo charlie alpha"] * 3
    assert asyncio.run(run()) == [f"{(index % 4 + 1) / 2}: {text}" for index, text in enumerate(words)]
