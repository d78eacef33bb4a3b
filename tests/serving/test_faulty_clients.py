"""What clients may do to a gateway (faults 55 to 61), on a real gateway with a real worker process."""

from __future__ import annotations

import asyncio
import io
import json
import random
import socket
import threading
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
from websockets.asyncio.client import ClientConnection

from contracts.serving_api import MAX_FRAME_BYTES
from serving.client import RunningGateway, open_stream, stream_async, transcribe
from serving.telemetry import read
from tests.serving.conftest import Home, Samples, StartGateway, silence, wav
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
    talk,
)
from tests.serving.test_http_api import code_of, post


# ---- 55: the audio ---------------------------------------------------------------------------------------------------
def lying(rate_hz: int = 16_000, *, frames: int | None = None, channels: int | None = None) -> bytes:
    """A second of silence whose header says something else."""
    content = bytearray(wav(silence(1.0)))
    content[24:28] = rate_hz.to_bytes(4, "little")
    if frames is not None:
        content[40:44] = (frames * 2).to_bytes(4, "little")
    if channels is not None:
        content[22:24] = channels.to_bytes(2, "little")
    return bytes(content)


@cache
def ten_hours() -> bytes:
    """Ten hours of silence, packed: a megabyte."""
    buffer = io.BytesIO()
    ten_minutes = np.zeros(8_000 * 600, dtype=np.int16)
    with soundfile.SoundFile(buffer, "w", 8_000, 1, format="FLAC") as file:
        for _ in range(60):
            file.write(ten_minutes)
    return buffer.getvalue()


def bits(value: float, seconds: float = 1.0) -> Samples:
    return np.full(int(seconds * 16_000), value, dtype=np.float32)


UPLOADS: dict[str, tuple[bytes, str]] = {
    "empty file": (b"", "empty_audio"),
    "no samples": (wav(silence(0)), "empty_audio"),
    "one sample": (wav(silence(1 / 16_000)), ""),
    "silence": (wav(silence(1.0)), "alpha bravo"),
    "clipped": (wav(bits(1.5)), "alpha bravo"),
    "NaN": (wav(bits(np.nan), subtype="FLOAT"), "not_audio"),
    "infinite": (wav(bits(-np.inf), subtype="FLOAT"), "not_audio"),
    "wrong rate": (wav(silence(1.0, 12_000), 12_000), "unsupported_rate"),
    "a rate of nothing": (lying(0), "not_audio"),
    "two channels": (wav(np.zeros((800, 2))), "unsupported_channels"),
    "a header that says more samples": (lying(frames=1 << 28), "alpha bravo"),
    "a header that says fewer samples": (lying(frames=8_000), "alpha"),
    "a header that says another rate": (lying(11_025), "unsupported_rate"),
    "a header that says more channels": (lying(channels=400), "unsupported_channels"),
    "a header cut off": (wav(silence(1.0))[:30], "not_audio"),
    "ten hours": (b"", "too_long"),
    "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(1_000), "not_audio"),
    "words": (b"what I said", "not_audio"),
}


@pytest.mark.parametrize("name", UPLOADS)
def test_fault_55_an_upload_that_is_odd_is_heard_or_refused_by_name(
    pinned: RunningGateway, home: Home, name: str
) -> None:
    content, expected = UPLOADS[name]
    answer = post(pinned, home.key, files={"file": ("a.wav", ten_hours() if name == "ten hours" else content)})
    if answer.status_code == 200:
        assert answer.json()["text"] == expected
    else:
        assert code_of(answer) == expected
        assert answer.status_code < 500
        assert "what I said" not in answer.text


def pcm(value: float, seconds: float = 1.0) -> bytes:
    return (np.clip(bits(value, seconds), -1, 32767 / 32768) * 32768).astype("<i2").tobytes()


ODD_STREAMS: dict[str, tuple[list[str | bytes], str]] = {
    "nothing": ([START, END], "empty_audio"),
    "empty frames": ([START, b"", b"", END], "empty_audio"),
    "one sample": ([START, b"\0\0", END], ""),
    "silence": ([START, pcm(0.0), END], "alpha bravo"),
    "clipped": ([START, pcm(1.0), END], "alpha bravo"),
    "wrong rate": ([START.replace("16000", "12000"), CHUNK, END], "unsupported_rate"),
    "no rate": ([START.replace("16000", "0"), CHUNK, END], "bad_request"),
    "a rate beyond counting": ([START.replace("16000", "9" * 5_000), CHUNK, END], "bad_request"),
    "over ten minutes": ([START, *[pcm(0.0, 30)] * 21], "too_long"),
    "a file as frames": ([START, wav(silence(1.0)), END], "alpha bravo"),
}


@pytest.mark.parametrize("name", ODD_STREAMS)
def test_fault_55_a_stream_that_is_odd_is_heard_or_refused_by_name(
    pinned: RunningGateway, home: Home, name: str
) -> None:
    messages, expected = ODD_STREAMS[name]
    last = talk(pinned, home.key, saying(*messages))[-1]
    assert (last["text"] if last["type"] == "final" else last["error"]["code"]) == expected


# ---- 56: size --------------------------------------------------------------------------------------------------------
HUGE: dict[str, list[Any]] = {
    "one frame": [START, bytes(MAX_FRAME_BYTES + 2)],
    "a frame in pieces": [START, [bytes(MAX_FRAME_BYTES // 2)] * 3],
    "a first message": ['{"type": "start", "session": "' + "s" * MAX_FRAME_BYTES + '"}'],
    "a control": [START, " " * (MAX_FRAME_BYTES + 1)],
}


@pytest.mark.parametrize("name", HUGE)
def test_fault_56_a_huge_frame_closes_its_stream_alone(pinned: RunningGateway, home: Home, name: str) -> None:
    async def script(websocket: ClientConnection) -> int | None:
        await saying(*HUGE[name])(websocket)
        return websocket.close_code

    assert talk(pinned, home.key, script) == 1009
    idle(pinned)
    assert transcribe(pinned.base_url, wav(silence(1.0)), "tiny", home.key).text == "alpha bravo"


def test_fault_56_a_frame_of_the_largest_size_is_heard(pinned: RunningGateway, home: Home) -> None:
    received = talk(pinned, home.key, saying(START, bytes(MAX_FRAME_BYTES), END))
    assert received[-1]["type"] == "final"
    assert received[-1]["audio_s"] == pytest.approx(MAX_FRAME_BYTES / 32_000)


# ---- 57: a slow reader -----------------------------------------------------------------------------------------------
def resident_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024


@pytest.fixture(scope="module")
def long_winded(home: Home, start_tiny: StartGateway) -> Iterator[RunningGateway]:
    """A gateway whose model says words of 20 KB, so that what a client does not read piles up soon."""
    folder = home.folder("winded", "w" * 20_000)
    with start_tiny(home.root, serve={"winded": folder}, options=("--deadline-s", "2")) as gateway:
        yield gateway


async def _deaf(gateway: RunningGateway, key: str) -> str:
    """Speak for two minutes, or as long as one is let, and never read; the request's id."""
    with socket.socket() as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.setblocking(False)
        loop = asyncio.get_running_loop()
        host, port = gateway.base_url.removeprefix("http://").split(":")
        await loop.sock_connect(raw, (host, int(port)))
        trace = random.Random(7).randbytes(16).hex()
        lines = [
            "GET /v1/audio/stream?model=winded HTTP/1.1", f"Host: {host}:{port}", "Upgrade: websocket",
            "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            f"Authorization: Bearer {key}", f"traceparent: 00-{trace}-00f067aa0ba902b7-01", "", "",
        ]  # fmt: skip
        await loop.sock_sendall(raw, "\r\n".join(lines).encode())
        assert b"101" in await loop.sock_recv(raw, 1024)
        await loop.sock_sendall(raw, _frame(1, START.encode()))
        try:
            async with asyncio.timeout(5):
                for _ in range(240):
                    await loop.sock_sendall(raw, _frame(2, pcm(0.0, 0.5)))
                await asyncio.sleep(5)
        except (TimeoutError, ConnectionError):
            pass
        return trace


def _frame(kind: int, payload: bytes) -> bytes:
    """A WebSocket frame of a client, masked with zeros."""
    size = len(payload)
    length = bytes([128 | size]) if size < 126 else bytes([128 | 126]) + size.to_bytes(2, "big")
    return bytes([128 | kind]) + length + bytes(4) + payload


def test_fault_57_a_reader_that_is_too_slow_is_left_and_costs_little(long_winded: RunningGateway, home: Home) -> None:
    before = resident_mb(long_winded.pid)
    trace = asyncio.run(_deaf(long_winded, home.key))
    idle(long_winded, "winded")
    assert resident_mb(long_winded.pid) - before < 100
    row = row_of(home.root, "winded", trace)
    assert (row["status"], row["error_code"]) == (499, "unread")
    assert row["audio_s"] < 120
    # Everybody else is served as ever.
    received = talk(long_winded, home.key, saying(START, pcm(0.0, 0.5), END), "winded")
    assert received[-1]["type"] == "final"


# ---- 58: disconnects -------------------------------------------------------------------------------------------------
STATES: dict[str, list[str | bytes]] = {
    "before the start": [],
    "after the start": [START],
    "in the first word": [START, CHUNK],
    "among partials": [START, *[CHUNK] * 12],
    "with more than the model has heard": [START, *[CHUNK] * 60],
    "after a barge-in": [START, *[CHUNK] * 6, BARGE_IN, CHUNK],
    "after a cancellation": [START, CHUNK, CANCEL],
    "after the end": [START, *[CHUNK] * 3, END],
    "after an error": [START, "nonsense"],
    "half a sample": [START, b"abc"],
    "at another rate": [START.replace("16000", "8000"), *[CHUNK] * 3],
}


async def leave_streams(gateway: RunningGateway, key: str, times: int, *, at_once: int = 16) -> None:
    """Open streams and break them off, each state in its turn, some after a moment."""
    turns = iter(range(times))
    states = list(STATES.values())

    async def one() -> None:
        for turn in turns:
            async with open_stream(gateway.base_url, "tiny", key) as websocket:
                for message in states[turn % len(states)]:
                    await websocket.send(message)
                if turn % 3 == 0:
                    await asyncio.sleep(0.005 * (turn % 7))
                websocket.transport.abort()

    await asyncio.gather(*(one() for _ in range(at_once)))


def leave_requests(gateway: RunningGateway, key: str, times: int) -> None:
    """Send uploads in part, or whole without waiting for the answer, and break off."""
    host, port = gateway.base_url.removeprefix("http://").split(":")
    request = httpx.Request(
        "POST", f"{gateway.base_url}/v1/audio/transcriptions", files={"file": ("a.wav", wav(silence(0.5)))},
        data={"model": "tiny"}, headers={"Authorization": f"Bearer {key}"},
    )  # fmt: skip
    body = request.read()
    head = [f"POST {request.url.path} HTTP/1.1", *(f"{name}: {value}" for name, value in request.headers.items())]
    whole = ("\r\n".join(head) + "\r\n\r\n").encode() + body
    for turn in range(times):
        with socket.create_connection((host, int(port)), timeout=10) as raw:
            raw.sendall(whole[: (10, 200, len(whole) // 2, len(whole))[turn % 4]])


def workers_of(gateway: RunningGateway) -> list[int]:
    workers = gateway.status()["families"]["tiny"]["workers"].values()
    return [int(worker["pid"]) for worker in workers]


def test_fault_58_who_leaves_at_any_state_leaves_nothing_behind(pinned: RunningGateway, home: Home) -> None:
    asyncio.run(leave_streams(pinned, home.key, 250))
    leave_requests(pinned, home.key, 100)
    idle(pinned)
    processes = [pinned.pid, *workers_of(pinned)]
    before = [resident_mb(pid) for pid in processes]
    asyncio.run(leave_streams(pinned, home.key, 250))
    leave_requests(pinned, home.key, 100)
    idle(pinned)
    assert workers_of(pinned) == processes[1:]
    grown = [resident_mb(pid) - mb for pid, mb in zip(processes, before, strict=True)]
    assert max(grown) < 16, grown
    assert transcribe(pinned.base_url, wav(silence(1.0)), "tiny", home.key).text == "alpha bravo"


# ---- 59: whose text --------------------------------------------------------------------------------------------------
WORDS = [f"word{number:02}" for number in range(40)]


@pytest.fixture(scope="module")
def listening(home: Home, start_tiny: StartGateway) -> Iterator[RunningGateway]:
    """A gateway whose model says which of 40 speakers it hears."""
    folder = home.folder("listening", " ".join(WORDS), by_level=True, several=True)
    options = ("--deadline-s", "10", "--stream-limit", "64")
    with start_tiny(home.root, serve={"listening": folder}, options=options) as gateway:
        yield gateway


def speaker(number: int, seconds: float) -> bytes:
    return pcm((number + 0.01) / 100, seconds)


def test_fault_59_who_reconnects_hears_their_own_words_alone(listening: RunningGateway, home: Home) -> None:
    async def session(number: int) -> set[str]:
        """Three connections under one session's name: two that break off within a word, one that ends."""
        heard: set[str] = set()
        for _ in range(2):
            async with open_stream(listening.base_url, "listening", home.key) as websocket:
                await websocket.send(json.dumps({"type": "start", "sample_rate": 16_000, "session": f"s{number}"}))
                for _ in range(7):
                    await websocket.send(speaker(number, 0.1))
                while not heard:
                    message = json.loads(await websocket.recv())
                    heard |= set(message.get("text", "").split())
                websocket.transport.abort()
        last = await stream_async(
            listening.base_url, speaker(number, 1.0), "listening", home.key, rate_hz=16_000, session=f"s{number}"
        )
        assert last.text.split() == [WORDS[number]] * 2
        return heard | {word for partial in last.partials for word in partial["text"].split()}

    async def all_at_once() -> list[set[str]]:
        return await asyncio.gather(*(session(number) for number in range(1, 33)))

    assert asyncio.run(asyncio.wait_for(all_at_once(), 60)) == [{WORDS[number]} for number in range(1, 33)]


def test_fault_59_uploads_that_are_heard_together_are_not_mixed_up(listening: RunningGateway, home: Home) -> None:
    def ask(number: int, found: dict[int, str]) -> None:
        content = wav(np.frombuffer(speaker(number, 1.0), dtype="<i2"))
        found[number] = transcribe(listening.base_url, content, "listening", home.key).text

    found: dict[int, str] = {}
    threads = [threading.Thread(target=ask, args=(number, found)) for number in range(1, 13)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: f"{WORDS[number]} {WORDS[number]}" for number in range(1, 13)}


# ---- 60: out of place ------------------------------------------------------------------------------------------------
OUT_OF_PLACE: dict[str, tuple[list[str | bytes], str]] = {
    "odd bytes": ([START, b"abc"], "bad_request"),
    "odd bytes after good ones": ([START, CHUNK, b"a"], "bad_request"),
    "audio before the start": ([CHUNK], "bad_request"),
    "text where audio belongs": ([START, "what I said"], "bad_request"),
    "an unknown message": ([START, '{"type": "sing"}'], "bad_request"),
    "a list": ([START, "[]"], "bad_request"),
    "nested without end": ([START, "[" * 100_000], "bad_request"),
    "a second start": ([START, START], "bad_request"),
    "a start that is nested without end": (["[" * 100_000], "bad_request"),
    "a start twice over": (['{"type": "start", "sample_rate": 16000}{"type": "end"}'], "bad_request"),
    "an end twice": ([START, pcm(0.0), END, END], "alpha bravo"),
    "audio after the end": ([START, pcm(0.0), END, pcm(0.0)], "alpha bravo"),
    "odd bytes after the end": ([START, pcm(0.0), END, b"a"], "alpha bravo"),
    "text after the end": ([START, pcm(0.0), END, "what I said"], "alpha bravo"),
}


@pytest.mark.parametrize("name", OUT_OF_PLACE)
def test_fault_60_what_is_out_of_place_is_refused_or_ignored(pinned: RunningGateway, home: Home, name: str) -> None:
    messages, expected = OUT_OF_PLACE[name]
    received = talk(pinned, home.key, saying(*messages))
    last = received[-1]
    assert (last["text"] if last["type"] == "final" else last["error"]["code"]) == expected
    assert sum(message["type"] in ("final", "error", "cancelled") for message in received) == 1
    assert "what I said" not in json.dumps(received)


# ---- 61: a switch under way ------------------------------------------------------------------------------------------
def test_fault_61_a_stream_ends_on_the_bundle_it_began_with_and_every_answer_names_it(
    home: Home, start_tiny: StartGateway
) -> None:
    bundles = [home.bundle(f"switched-{word}", word, "switched") for word in ("old", "new", "newer")]
    home.point("switched", bundles[0])
    options = ("--deadline-s", "10", "--poll-s", "0.05", "--drain-s", "20")

    async def script(gateway: RunningGateway) -> list[Message]:
        received: list[Message] = []
        async with open_stream(gateway.base_url, "switched", home.key) as websocket:
            await websocket.send(START)
            received.append(json.loads(await websocket.recv()))
            for bundle in bundles[1:]:
                table = await asyncio.to_thread(home.point, "switched", bundle)
                while gateway.status()["families"]["switched"]["version"] != table.version:
                    await asyncio.sleep(0.02)
                for _ in range(6):
                    await websocket.send(CHUNK)
            await websocket.send(END)
            return received + await everything(websocket)

    with start_tiny(home.root, families=["switched"], options=options) as gateway:
        received = asyncio.run(asyncio.wait_for(script(gateway), 60))
        after = transcribe(gateway.base_url, wav(silence(0.5)), "switched", home.key)
    assert {message["bundle"] for message in received} == {bundles[0]}
    assert (received[-1]["type"], received[-1]["text"]) == ("final", "old old")
    assert (after.text, after.bundle) == ("newer", bundles[2])
    rows = read(home.root / "telemetry", "switched")
    assert list(rows["bundle"]) == [bundles[0], bundles[2]]
