"""A client of API 1.0: what it sends, and what it must find in each answer (R6.4).

Boundary: HTTP and WebSocket; it shares no code with the server or with today's client, so that it stays what it was.
Invariants: it sends fields of 1.0 alone, reads fields of 1.0 alone and passes over all others; an answer it cannot read
is a sentence in `complaints`, without anything that was said.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
from pydantic import BaseModel, ValidationError
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

VERSION = "1.0"
TIMEOUT_S = 60.0
FRAME_MS = 100


class _Word(BaseModel):
    word: str
    start: float
    end: float
    confidence: float | None = None


class _Plain(BaseModel):
    text: str


class _Verbose(BaseModel):
    language: str
    duration: float
    text: str
    words: list[_Word] = []
    confidence: float | None = None


class _Error(BaseModel):
    code: str
    message: str
    type: str
    param: str | None


class _Refusal(BaseModel):
    error: _Error


class _Ready(BaseModel):
    type: str
    request_id: str
    bundle: str


class _Partial(BaseModel):
    text: str
    committed: int
    audio_s: float
    bundle: str


class _Final(_Ready):
    text: str
    audio_s: float
    words: list[_Word] = []
    confidence: float | None = None


class PreviousClient:
    """One client of a family.

    Attributes:
        requests: how many requests and streams it made.
        complaints: what it could not read, one sentence an answer.
    """

    def __init__(self, base_url: str, family: str, key: str, *, prompt: str = "a hint") -> None:
        self.requests = 0
        self.complaints: list[str] = []
        self._family, self._key, self._prompt = family, key, prompt
        self._url = base_url
        self._http = httpx.Client(base_url=base_url, timeout=TIMEOUT_S, trust_env=False)

    def ask_everything(self, wav: bytes, pcm: bytes, rate_hz: int) -> None:
        """Make every kind of request there was; `wav` and `pcm` (little-endian 16-bit mono) hold the same audio."""
        with self._http:
            for what, ask in (
                ("json", lambda: self._json(wav)), ("verbose_json", lambda: self._verbose(wav)),
                ("text", lambda: self._text(wav)), ("a wrong key", lambda: self._refused(wav, 401, "unauthorized")),
                ("an unknown model", lambda: self._refused(wav, 404, "unknown_model")),
                ("no audio", lambda: self._refused(b"hello", 400, "not_audio")),
                ("a stream", lambda: self._stream(pcm, rate_hz)), ("readiness", self._ready),
            ):  # fmt: skip
                self._try(what, ask)

    def _try(self, what: str, ask: Callable[[], None]) -> None:
        self.requests += 1
        try:
            ask()
        except ValidationError as error:
            fields = [".".join(map(str, one["loc"])) for one in error.errors(include_input=False)]
            self.complaints.append(f"{what}: fields missing or of another type: {', '.join(fields)}")
        except _Unlike as unlike:
            self.complaints.append(f"{what}: {unlike}")
        except (httpx.HTTPError, WebSocketException, OSError, ValueError, KeyError) as error:
            self.complaints.append(f"{what}: {type(error).__name__}")

    def _post(self, content: bytes, *, key: str = "", model: str = "", **fields: str) -> httpx.Response:
        return self._http.post(
            "/v1/audio/transcriptions",
            headers={"Authorization": f"Bearer {key or self._key}"},
            files={"file": ("speech.wav", content, "audio/wav")},
            data={"model": model or self._family, "prompt": self._prompt, "temperature": "0.2", **fields},
        )

    def _json(self, wav: bytes) -> None:
        answer = self._post(wav)
        _must(answer.status_code, 200)
        _Plain.model_validate_json(answer.content)
        for name in ("x-request-id", "x-soundcheck-bundle"):
            _must(name in answer.headers, True, f"header {name}")
        event = {
            "request_id": answer.headers["x-request-id"], "kind": "probe", "errors": 0, "words": 1,
            "labels": {"accent": "none"},
        }  # fmt: skip
        told = self._http.post("/v1/events", json=event, headers={"Authorization": f"Bearer {self._key}"})
        _must(told.status_code, 202, "event status")

    def _verbose(self, wav: bytes) -> None:
        answer = self._post(wav, response_format="verbose_json", **{"timestamp_granularities[]": "word"})
        _must(answer.status_code, 200)
        _Verbose.model_validate_json(answer.content)

    def _text(self, wav: bytes) -> None:
        answer = self._post(wav, response_format="text")
        _must(answer.status_code, 200)
        _must(answer.headers["content-type"].split(";")[0], "text/plain", "content type")

    def _refused(self, content: bytes, status: int, code: str) -> None:
        key = "nobody" if code == "unauthorized" else ""
        answer = self._post(content, key=key, model="nobody" if code == "unknown_model" else "")
        _must(answer.status_code, status)
        _must(_Refusal.model_validate_json(answer.content).error.code, code, "code")

    def _ready(self) -> None:
        _must(self._http.get("/readyz").status_code, 200)

    def _stream(self, pcm: bytes, rate_hz: int) -> None:
        url = self._url.replace("http", "ws", 1) + f"/v1/audio/stream?model={self._family}"
        headers = {"Authorization": f"Bearer {self._key}"}
        with connect(url, additional_headers=headers, compression=None, proxy=None) as websocket:
            websocket.send(json.dumps({"type": "start", "sample_rate": rate_hz, "session": "", "labels": {}}))
            ready = _Ready.model_validate(self._hear(websocket.recv(TIMEOUT_S)))
            step = rate_hz * FRAME_MS // 1000 * 2
            for offset in range(0, len(pcm), step):
                websocket.send(pcm[offset : offset + step])
            websocket.send('{"type": "end"}')
            while (message := self._hear(websocket.recv(TIMEOUT_S)))["type"] == "partial":
                _Partial.model_validate(message)
            final = _Final.model_validate(message)
            _must((final.type, final.bundle, final.request_id), ("final", ready.bundle, ready.request_id), "final")

    @staticmethod
    def _hear(message: str | bytes) -> dict[str, Any]:
        heard: dict[str, Any] = json.loads(message)
        if heard["type"] not in ("ready", "partial", "final"):
            raise _Unlike(f"a message of type {heard['type']}")
        return heard


class _Unlike(Exception):
    """An answer that says something else than it did."""


def _must(got: object, expected: object, what: str = "status") -> None:
    if got != expected:
        raise _Unlike(f"{what} {got} instead of {expected}")
