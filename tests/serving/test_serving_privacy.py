"""Planted strings in everything that a client can send, and in what was said, are found in nothing that is kept or
told (R6.6, faults 62 and 63): logs, telemetry, metrics, status, live page, traces, run files, error bodies."""

from __future__ import annotations

import asyncio
import io
import json
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import numpy as np
import pytest
import soundfile
from pyarrow import parquet
from websockets.exceptions import ConnectionClosed

from contracts.errors import WrongCall
from registry.store import open_store
from serving.asking.dialogue import ROUTE as DIALOGUE
from serving.asking.synthesis import ROUTE as SPEECH
from serving.client import ApiFailure, next_said, open_stream
from serving.telemetry import read
from tests.serving.conftest import RATE_HZ, Home, StartGateway, silence, wav, with_command
from tests.serving.otlp_collector import Collector, collecting
from tests.serving.tiny_engine import CRASH, FAIL

SAID = "plantedword zanzibar"
PLANTED = "Planted Person 12 High Street"
LABEL = "planted-4411"
"""Looks like a session, a file's name, a word of a path."""
VOICE = (np.random.default_rng(4411).random(RATE_HZ) * 0.2 - 0.1).astype(np.float32)
PLANTS = ("planted", "zanzibar", "high street")
OUR_OWN = ("store", "cache", "made", "keys", "api_keys.json")
"""Folders of the home that hold models, kept fixtures and secrets on purpose."""


class Seen(NamedTuple):
    """What a gateway left and told: files by path, and texts by what they are."""

    files: dict[str, bytes]
    told: dict[str, bytes]
    rows: Any


def _metadata(samples: np.ndarray[Any, Any], container: str) -> bytes:
    buffer = io.BytesIO()
    with soundfile.SoundFile(buffer, "w", RATE_HZ, 1, format=container) as file:
        file.title, file.artist, file.comment = PLANTED, LABEL, SAID
        file.write(samples)
    return buffer.getvalue()


def _forms(home: Home) -> Iterator[tuple[str, dict[str, Any]]]:
    """Requests to /v1/audio/transcriptions: name, arguments of httpx."""
    heard = {"files": {"file": (f"{PLANTED}.wav", wav(VOICE))}, "data": {"model": "tiny"}}

    def with_data(**data: str) -> dict[str, Any]:
        return {**heard, "data": {"model": "tiny", **data}}

    def with_file(content: bytes, name: str = f"{LABEL}.wav") -> dict[str, Any]:
        return {**heard, "files": {"file": (name, content, f"audio/{LABEL}")}}

    def with_headers(**headers: str) -> dict[str, Any]:
        return {**heard, "headers": {name.replace("_", "-"): value for name, value in headers.items()}}

    yield "heard", heard
    yield "metadata of WAV", with_file(_metadata(VOICE, "WAV"))
    yield "metadata of FLAC", with_file(_metadata(VOICE, "FLAC"))
    yield "not audio", with_file(SAID.encode())
    yield "a header that lies", with_file(wav(VOICE)[:44] + SAID.encode())
    yield "wrong rate", with_file(wav(silence(0.5, 12_000), 12_000))
    yield "engine fails", with_file(wav(with_command(FAIL)))
    yield "worker dies", with_file(wav(with_command(CRASH)))
    yield "labels", with_headers(X_Soundcheck_Device=PLANTED, X_Soundcheck_Tenant=PLANTED, X_Soundcheck_Codec=PLANTED)
    yield "session", with_headers(X_Soundcheck_Session=LABEL)
    yield "trace", with_headers(traceparent=LABEL, tracestate=LABEL, baggage=LABEL)
    yield "terms", with_headers(X_Soundcheck_Priority=LABEL)
    yield "deadline", with_headers(X_Soundcheck_Deadline_Ms=LABEL)
    yield "other headers", with_headers(User_Agent=LABEL, Cookie=LABEL, X_Forwarded_For=LABEL, Referer=LABEL)
    yield "model", with_data(model=LABEL)
    yield "language", with_data(language=LABEL)
    yield "shape", with_data(response_format=LABEL)
    yield "unknown field", {**heard, "data": {"model": "tiny", LABEL: PLANTED, "prompt": PLANTED}}
    yield "query", {**heard, "params": {"session": LABEL, LABEL: PLANTED}}
    yield "wrong key", with_headers(Authorization=f"Bearer sk-{LABEL}")
    yield "key in the wrong scheme", with_headers(Authorization=f"Basic {LABEL}")
    yield "text as a body", {"content": SAID.encode(), "headers": {"Content-Type": f"text/{LABEL}"}}
    yield (
        "a form that ends early",
        {
            "content": b"--x\r\nContent-Disposition: form-data; name=" + LABEL.encode(),
            "headers": {"Content-Type": "multipart/form-data; boundary=x"},
        },
    )
    yield "own key", {**heard, "headers": {"X-Soundcheck-Session": home.key}}


def _events() -> Iterator[Any]:
    good = {"request_id": "0" * 32, "kind": "correction"}
    yield {"text": SAID}
    yield {**good, "kind": LABEL}
    yield {**good, "request_id": LABEL}
    yield {**good, "labels": {"accent": PLANTED}}
    yield {**good, "labels": {LABEL: "us"}}
    yield {**good, LABEL: PLANTED}
    yield [SAID]
    yield good


STREAMS: tuple[tuple[dict[str, Any], tuple[Any, ...]], ...] = (
    ({"session": LABEL, "labels": {"device": PLANTED}}, (VOICE, {"type": "end"})),
    ({"session": LABEL}, (SAID,)),
    ({"language": LABEL, "language_hints": [LABEL]}, (VOICE, {"type": "end"})),
    ({LABEL: PLANTED}, ()),
    ({"encoding": LABEL}, ()),
    ({}, (VOICE, {"type": LABEL, "text": SAID})),
    ({}, (with_command(FAIL), {"type": "end"})),
    ({}, (VOICE, {"type": "cancel", "reason": SAID})),
)
"""The start's fields, then what is sent: samples, JSON, text."""


async def _stream(url: str, key: str, start: dict[str, Any], messages: tuple[Any, ...]) -> bytes:
    """The last message of a stream that is no hypothesis: an error, or nothing."""
    headers = {"X-Soundcheck-Session": LABEL, "X-Soundcheck-Codec": PLANTED}
    last = b""
    with suppress(ConnectionClosed):
        async with open_stream(url, "tiny", key, headers) as websocket:
            await websocket.send(json.dumps({"type": "start", "sample_rate": RATE_HZ, **start}))
            for message in messages:
                if isinstance(message, np.ndarray):
                    await websocket.send((message * 32767).astype("<i2").tobytes())
                else:
                    await websocket.send(message if isinstance(message, str) else json.dumps(message))
            async for answer in websocket:
                if json.loads(answer)["type"] == "error":
                    last = answer if isinstance(answer, bytes) else answer.encode()
    return last


def _texts() -> Iterator[tuple[str, dict[str, Any]]]:
    """Requests to /v1/audio/speech: name, body."""
    asked = {"model": "voice", "input": f"{SAID}.", "response_format": "pcm"}
    yield "said", asked
    yield "voice", {**asked, "voice": LABEL}
    yield "instructions", {**asked, "instructions": PLANTED}
    yield "unknown field", {**asked, LABEL: PLANTED}
    yield "shape", {**asked, "response_format": LABEL}
    yield "nothing to say", {**asked, "input": "."}
    yield "too long", {**asked, "input": SAID * 300}
    yield "model", {**asked, "model": LABEL}
    yield "engine fails", {**asked, "input": f"{SAID} fail."}
    yield "worker dies", {**asked, "input": f"crash {SAID}."}
    yield "no object", {"input": [PLANTED]}


async def _talk(url: str, key: str) -> list[str]:
    """Texts that are said over a WebSocket, one of them refused, and a dialogue; messages of the former's refusals."""
    refused: list[str] = []
    for start in ({"input": f"{SAID}."}, {"input": SAID, "voice": LABEL}, {"input": SAID, LABEL: PLANTED}):
        async with open_stream(url, "voice", key, {"X-Soundcheck-Session": LABEL}, route=SPEECH) as websocket:
            await websocket.send(json.dumps({"type": "start", **start}))
            with suppress(ApiFailure):
                while isinstance(said := await next_said(websocket), bytes) or said["type"] != "done":
                    pass
                continue
            refused.append(str(websocket.close_reason))
    async with open_stream(url, "talk", key, {"X-Soundcheck-Tenant": PLANTED}, route=DIALOGUE) as websocket:
        await websocket.send(json.dumps({"type": "start", "sample_rate": RATE_HZ, "session": LABEL}))
        await websocket.send((VOICE * 32767).astype("<i2").tobytes())
        await websocket.send('{"type": "end"}')
        heard = ""
        while isinstance(said := await next_said(websocket), bytes) or said["type"] != "done":
            heard = said["heard"] if isinstance(said, dict) and said["type"] == "reply" else heard
        assert heard == SAID
        await websocket.send(json.dumps({"type": LABEL, "text": SAID}))
        with pytest.raises(ApiFailure) as failure:
            await next_said(websocket)
        refused.append(str(failure.value))
    return refused


def _use(url: str, home: Home) -> dict[str, bytes]:
    """Send everything; the bodies and headers of refusals."""
    told: dict[str, bytes] = {}
    with httpx.Client(base_url=url, trust_env=False, timeout=20) as client:
        for name, request in _forms(home):
            own = {"Authorization": f"Bearer {home.key}"}
            headers = own | request.get("headers", {})
            answer = client.post("/v1/audio/transcriptions", **{**request, "headers": headers})
            if answer.status_code == 200:
                assert answer.json()["text"] in (SAID, ""), name
            else:
                told[f"refusal: {name}"] = answer.content
            told[f"headers: {name}"] = repr(answer.headers).encode()
        for name, body in _texts():
            answer = client.post("/v1/audio/speech", json=body, headers={**own, "X-Soundcheck-Session": LABEL})
            if answer.status_code != 200:
                told[f"refusal: speech, {name}"] = answer.content
            told[f"headers: speech, {name}"] = repr(answer.headers).encode()
        told["talk"] = repr(asyncio.run(_talk(url, home.key))).encode()
        for number, event in enumerate(_events()):
            told[f"event {number}"] = client.post("/v1/events", json=event, headers=own).content
        for path in (f"/v1/{LABEL}", f"/{LABEL}?q={LABEL}"):
            told[f"path {path[:4]}"] = client.get(path, headers={"Authorization": LABEL}).content
        for number, (start, messages) in enumerate(STREAMS):
            told[f"stream {number}"] = asyncio.run(_stream(url, home.key, start, messages))
        for path in ("/metrics", "/v1/status", "/v1/models", "/v1/live", "/", "/openapi.json", "/readyz"):
            told[path] = client.get(path, headers=own).content
    return told


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory, start_tiny: StartGateway) -> Seen:
    root = tmp_path_factory.mktemp("private") / "home"
    root.mkdir()
    home = Home(root)
    home.point("tiny", home.bundle("one", SAID, "tiny"))
    with collecting() as collector, pytest.MonkeyPatch.context() as patched:
        patched.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=planted-collector-token")
        patched.setenv("SOUNDCHECK_SECRET", "planted-environment-secret")
        options = ("--traces", collector.url.replace("//", "//planted-user:planted-password@"), "--deadline-s", "3")
        log = root / "run" / "gateway.log"
        serve = {
            "voice": home.folder("voice", "", task="synthesis"),
            "talk": home.folder("talk", SAID, task="dialogue"),
        }
        with start_tiny(root, families=["tiny"], serve=serve, log=log, options=options) as gateway:
            told = _use(gateway.base_url, home)
            _fail(collector)
        told["traces"] = b"".join(collector.bodies)
    files = {
        str(path.relative_to(root)): _content(path)
        for path in root.rglob("*")
        if path.is_file() and path.relative_to(root).parts[0] not in OUR_OWN
    }
    return Seen(files, told, read(root / "telemetry", "tiny"))


def _content(path: Path) -> bytes:
    """A file's bytes; of Parquet, which compresses them, every value too."""
    if path.suffix != ".parquet":
        return path.read_bytes()
    return path.read_bytes() + repr(parquet.read_table(path, partitioning=None).to_pydict()).encode()


def _fail(collector: Collector) -> None:
    """Wait for spans, then let the collector refuse what comes at the end, so that a failure is logged if ever."""
    collector.wait({"transcribe", "stream", "speak", "turn"})
    time.sleep(1.2)
    collector.status = 400


def test_fault_62_what_was_sent_and_said_is_in_nothing_that_is_kept(seen: Seen) -> None:
    families = (f"telemetry/family={name}" for name in ("tiny", "voice", "talk"))
    kinds = (*families, "telemetry/events", "run/gateway.log")
    for kind in kinds:
        assert any(name.startswith(kind) and content for name, content in seen.files.items()), kind
    for name, content in seen.files.items():
        for plant in PLANTS:
            assert plant.encode() not in content.lower(), f"{plant} in {name}"


def test_fault_62_nor_in_anything_that_is_told(seen: Seen) -> None:
    assert sum(name.startswith("refusal") for name in seen.told) >= 10
    assert sum(name.startswith("refusal: speech") for name in seen.told) == 8
    for name, content in seen.told.items():
        for plant in PLANTS:
            assert plant.encode() not in content.lower(), f"{plant} in {name}"


def test_fault_62_no_sample_of_a_voice_is_kept_or_told(seen: Seen) -> None:
    forms = {"16 bit": (VOICE * 32767).astype("<i2").tobytes(), "float": VOICE.tobytes(), "file": wav(VOICE)[44:]}
    for name, content in (seen.files | seen.told).items():
        for form, samples in forms.items():
            assert not any(samples[at : at + 16] in content for at in range(0, 32_000, 1600)), f"{form} in {name}"


def test_fault_62_rows_name_sessions_and_labels_by_pseudonyms(seen: Seen) -> None:
    rows = seen.rows
    assert len(rows) > 20
    assert set(rows["device"]) == {"none", "other"}
    assert rows["session_id"].str.fullmatch("[0-9a-f]{32}").all()
    assert rows["request_id"].str.fullmatch("[0-9a-f]{32}").all()
    table = rows.to_json().lower()
    assert not [plant for plant in PLANTS if plant in table]


def test_fault_63_keys_tokens_and_passwords_are_nowhere(seen: Seen) -> None:
    secrets = (Home.key, "planted-collector-token", "planted-user", "planted-password", "planted-environment-secret")
    for name, content in (seen.files | seen.told).items():
        for secret in secrets:
            assert secret.encode() not in content, f"{secret} in {name}"


def test_fault_63_a_store_s_address_that_is_refused_loses_its_password(tmp_path: Path) -> None:
    with pytest.raises(WrongCall) as error:
        open_store("ftp://planted-user:planted-password@host/store", tmp_path)
    assert "got: 'ftp://...@host/store'" in str(error.value)
    assert "planted" not in error.value.diagnostics()
