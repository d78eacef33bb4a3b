"""A small client of the production API, and a gateway to point it at: for staging, traffic and tests.

Boundary: HTTP, WebSocket and, in `start_gateway`, one subprocess; it knows the contract, not the server's code.
Invariants: a refusal is raised as ApiFailure with the server's code; a gateway that was started is stopped whatever
happens.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import numpy as np
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from contracts.errors import DependencyFailed, SoundcheckError
from contracts.serving_api import ANY_VOICE

TIMEOUT_S = 60.0
GATEWAY_COMMAND = (sys.executable, "-m", "serving.gateway")
_LOOK_S = 0.02


class ApiFailure(SoundcheckError):
    """The API refused or failed; `code` is its error code, `status` the HTTP status (0: none was sent)."""

    exit_status = 3

    def __init__(self, code: str, message: str, status: int = 0) -> None:
        self.code = code
        self.status = status
        super().__init__("the production API refused a request", got=f"{code}: {message}")

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.code, self.got, self.status)


class Heard(NamedTuple):
    """An answer over HTTP: `bundle` and `request_id` from its headers, `latency_ms` as the client saw it."""

    text: str
    bundle: str
    request_id: str
    latency_ms: float
    route_version: int | None = None


class Streamed(NamedTuple):
    """An answer over a WebSocket.

    `first_partial_ms` from the first audio sent to the first partial with words (None without one), `final_ms` from
    `end` to the final; `partials` are the server's partial messages; `bundles` is every bundle that was named.
    """

    text: str
    bundle: str
    request_id: str
    first_partial_ms: float | None
    final_ms: float
    partials: list[dict[str, Any]]
    bundles: frozenset[str]
    route_version: int | None = None


def _headers(key: str, headers: Mapping[str, str] | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}", **(headers or {})}


def _failure(status: int, body: bytes) -> ApiFailure:
    try:
        error = json.loads(body)["error"]
        return ApiFailure(error["code"], error["message"], status)
    except (ValueError, KeyError, TypeError):
        return ApiFailure("internal", f"status {status} without an error body", status)


def _heard(response: httpx.Response, began: float) -> Heard:
    latency_ms = (time.perf_counter() - began) * 1000
    if response.status_code != 200:
        raise _failure(response.status_code, response.content)
    headers = response.headers
    return Heard(
        text=response.json()["text"],
        bundle=headers["x-soundcheck-bundle"],
        request_id=headers["x-request-id"],
        latency_ms=latency_ms,
        route_version=int(headers["x-soundcheck-route"]) if "x-soundcheck-route" in headers else None,
    )


def _upload(wav: bytes, family: str) -> dict[str, Any]:
    return {"files": {"file": ("audio.wav", wav, "audio/wav")}, "data": {"model": family}}


def transcribe(
    base_url: str,
    wav_bytes: bytes,
    family: str,
    key: str,
    headers: Mapping[str, str] | None = None,
    *,
    client: httpx.Client | None = None,
) -> Heard:
    """Transcribe one file; raises ApiFailure, or httpx.HTTPError where the gateway cannot be reached."""
    with contextlib.ExitStack() as stack:
        http = client or stack.enter_context(httpx.Client(timeout=TIMEOUT_S, trust_env=False))
        began = time.perf_counter()
        response = http.post(
            f"{base_url}/v1/audio/transcriptions", headers=_headers(key, headers), **_upload(wav_bytes, family)
        )
        return _heard(response, began)


async def transcribe_async(
    base_url: str,
    wav_bytes: bytes,
    family: str,
    key: str,
    headers: Mapping[str, str] | None = None,
    *,
    client: httpx.AsyncClient,
) -> Heard:
    """`transcribe` on an asyncio client."""
    began = time.perf_counter()
    response = await client.post(
        f"{base_url}/v1/audio/transcriptions", headers=_headers(key, headers), **_upload(wav_bytes, family)
    )
    return _heard(response, began)


async def upload_async(
    base_url: str,
    route: str,
    wav_bytes: bytes,
    family: str,
    key: str,
    headers: Mapping[str, str] | None = None,
    *,
    client: httpx.AsyncClient,
) -> httpx.Response:
    """The answer of a route that a file is sent to; raises ApiFailure where it is refused."""
    response = await client.post(f"{base_url}{route}", headers=_headers(key, headers), **_upload(wav_bytes, family))
    if response.status_code != 200:
        raise _failure(response.status_code, response.content)
    return response


@contextlib.asynccontextmanager
async def open_speech(
    base_url: str,
    text: str,
    family: str,
    key: str,
    headers: Mapping[str, str] | None = None,
    *,
    client: httpx.AsyncClient,
) -> AsyncIterator[httpx.Response]:
    """A text said as PCM, to be read as it comes; raises ApiFailure where it is refused."""
    body = {"model": family, "input": text, "voice": ANY_VOICE, "response_format": "pcm"}
    url = f"{base_url}/v1/audio/speech"
    async with client.stream("POST", url, headers=_headers(key, headers), json=body) as response:
        if response.status_code != 200:
            raise _failure(response.status_code, await response.aread())
        yield response


@contextlib.asynccontextmanager
async def open_stream(
    base_url: str,
    family: str,
    key: str,
    headers: Mapping[str, str] | None = None,
    *,
    route: str = "/v1/audio/stream",
) -> AsyncIterator[ClientConnection]:
    """A WebSocket to the streaming API; raises ApiFailure where the handshake is refused."""
    url = base_url.replace("http", "ws", 1) + f"{route}?model={family}"
    try:
        websocket = await connect(
            url, additional_headers=_headers(key, headers), compression=None, proxy=None, max_size=None
        )
    except InvalidStatus as error:
        raise _failure(error.response.status_code, bytes(error.response.body)) from None
    async with websocket:
        yield websocket


async def stream_async(
    base_url: str,
    pcm: bytes,
    family: str,
    key: str,
    headers: Mapping[str, str] | None = None,
    *,
    rate_hz: int,
    chunk_ms: int = 100,
    cadence: float = 0.0,
    session: str = "",
    labels: Mapping[str, str] | None = None,
    late_s: Iterator[float] | None = None,
) -> Streamed:
    """Stream little-endian 16-bit mono PCM and hear the answers.

    `cadence` 1.0 sends in real time, 2.0 twice as fast, 0 as fast as the server takes it; `late_s` says how late the
    network brings each frame (frames never overtake). Raises ApiFailure.
    """
    start = {"type": "start", "sample_rate": rate_hz, "session": session, "labels": dict(labels or {})}
    times: dict[str, float] = {}
    partials: list[dict[str, Any]] = []

    async def send(websocket: ClientConnection) -> None:
        step = max(rate_hz * chunk_ms // 1000, 1) * 2
        times["audio"] = began = time.perf_counter()
        for index, offset in enumerate(range(0, len(pcm), step)):
            if cadence:
                due = began + index * chunk_ms / 1000 / cadence + (next(late_s) if late_s else 0.0)
                await asyncio.sleep(max(due - time.perf_counter(), 0))
            await websocket.send(pcm[offset : offset + step])
        await websocket.send('{"type": "end"}')
        times["end"] = time.perf_counter()

    async with open_stream(base_url, family, key, headers) as websocket:
        await websocket.send(json.dumps(start))
        ready = await next_message(websocket)
        sending = asyncio.create_task(send(websocket))
        try:
            while (message := await next_message(websocket))["type"] != "final":
                if message["text"] and "partial" not in times:
                    times["partial"] = time.perf_counter()
                partials.append(message)
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
    now = time.perf_counter()
    return Streamed(
        text=message["text"],
        bundle=message["bundle"],
        request_id=ready["request_id"],
        first_partial_ms=(times["partial"] - times["audio"]) * 1000 if "partial" in times else None,
        final_ms=(now - times.get("end", now)) * 1000,
        partials=partials,
        bundles=frozenset({ready["bundle"], message["bundle"], *(partial["bundle"] for partial in partials)}),
        route_version=ready.get("route_version"),
    )


async def next_said(websocket: ClientConnection) -> dict[str, Any] | bytes:
    """What the server says next, a message or a frame of audio; raises ApiFailure for an error, or nothing."""
    try:
        async with asyncio.timeout(TIMEOUT_S):
            said = await websocket.recv()
    except ConnectionClosed as error:
        raise ApiFailure("internal", f"the stream was closed with {error.code}") from None
    except TimeoutError:
        raise ApiFailure("deadline", f"the server said nothing for {TIMEOUT_S:g} s") from None
    if isinstance(said, bytes):
        return said
    message: dict[str, Any] = json.loads(said)
    if message["type"] == "error":
        raise ApiFailure(message["error"]["code"], message["error"]["message"])
    return message


async def next_message(websocket: ClientConnection) -> dict[str, Any]:
    """The next message of a server that sends no audio; raises what `next_said` raises."""
    said = await next_said(websocket)
    assert isinstance(said, dict)
    return said


def stream(
    base_url: str,
    pcm: bytes,
    family: str,
    key: str,
    headers: Mapping[str, str] | None = None,
    *,
    rate_hz: int,
    chunk_ms: int = 100,
    cadence: float = 0.0,
) -> Streamed:
    """`stream_async` for callers without a loop."""
    return asyncio.run(
        stream_async(base_url, pcm, family, key, headers, rate_hz=rate_hz, chunk_ms=chunk_ms, cadence=cadence)
    )


def pcm_of(path: Path) -> tuple[bytes, int]:
    """A mono audio file as little-endian 16-bit PCM, and its rate in Hz."""
    import soundfile

    samples, rate_hz = soundfile.read(path, dtype="int16")
    return np.asarray(samples, dtype="<i2").tobytes(), int(rate_hz)


@dataclass(frozen=True)
class RunningGateway:
    """A gateway subprocess: its address, process, and the time from its start to readiness (`cold_start_ms`)."""

    base_url: str
    pid: int
    cold_start_ms: float
    process: subprocess.Popen[bytes]
    log: Path

    def status(self) -> dict[str, Any]:
        """`GET /v1/status`."""
        answer: dict[str, Any] = httpx.get(f"{self.base_url}/v1/status", timeout=TIMEOUT_S, trust_env=False).json()
        return answer

    def peak_memory_mb(self) -> float:
        """The largest memory any of its workers has held, in megabytes."""
        families = self.status()["families"].values()
        peaks = [worker.get("peak_memory_mb") or 0.0 for family in families for worker in family["workers"].values()]
        return max(peaks, default=0.0)


def _dead(log: Path, why: str) -> DependencyFailed:
    tail = log.read_text(errors="replace").strip().splitlines()[-6:]
    return DependencyFailed(
        "the gateway did not become ready",
        where=str(log),
        got=f"{why}; its last lines: {' | '.join(tail) or 'none'}",
        expected="GET /readyz answers 200",
        next_step="read the log",
    )


@contextlib.contextmanager
def start_gateway(
    home: Path,
    *,
    serve: Mapping[str, Path | str] | None = None,
    families: Sequence[str] = (),
    store_url: str = "file://store",
    port: int = 0,
    timeout_s: float = 120.0,
    options: Sequence[str] = (),
    command: Sequence[str] = GATEWAY_COMMAND,
    log: Path | None = None,
    wait: Callable[[httpx.Response], bool] = lambda response: response.status_code == 200,
) -> Iterator[RunningGateway]:
    """Run a gateway on a free port of the loopback until the block ends.

    `serve` pins families to a bundle's folder or digest, `families` follow their pointers. Raises DependencyFailed
    where it is not ready within `timeout_s` seconds. Its log goes to `log` (default: HOME/run/).
    """
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="soundcheck-gateway-") as scratch:
        ready_file = Path(scratch) / "ready.json"
        log = log or home / "run" / f"gateway-{Path(scratch).name[-8:]}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        arguments = [*command, "--home", str(home), "--store", store_url, "--port", str(port)]
        arguments += ["--ready-file", str(ready_file), "--parent", str(os.getpid()), *options]
        for family, bundle in (serve or {}).items():
            arguments += ["--serve", f"{family}={bundle}"]
        for family in families:
            arguments += ["--family", family]
        began = time.perf_counter()
        with log.open("ab") as output:
            process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        try:
            base_url = _await_ready(process, ready_file, log, ends=began + timeout_s, wait=wait)
            yield RunningGateway(base_url, process.pid, (time.perf_counter() - began) * 1000, process, log)
        finally:
            _stop(process)


def _await_ready(
    process: subprocess.Popen[bytes],
    ready_file: Path,
    log: Path,
    *,
    ends: float,
    wait: Callable[[httpx.Response], bool],
) -> str:
    with httpx.Client(timeout=5.0, trust_env=False) as http:
        while time.perf_counter() < ends:
            if process.poll() is not None:
                raise _dead(log, f"exit status {process.returncode}")
            with contextlib.suppress(httpx.HTTPError):
                if ready_file.exists():
                    base_url = str(json.loads(ready_file.read_text())["url"])
                    if wait(http.get(f"{base_url}/readyz")):
                        return base_url
            time.sleep(_LOOK_S)
    raise _dead(log, "it took too long")


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=40)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
