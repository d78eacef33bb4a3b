"""The production API over HTTP: transcriptions, events, health, metrics, status (contracts/serving_api.py).

Boundary: an ASGI application over a Desk; it opens no files and starts no processes.
Invariants: every answer carries `X-Request-Id`, and `X-Soundcheck-Bundle` once a bundle was chosen; every refusal has
the error form of the contract; nothing said, no key and no session id is logged.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket

from contracts.serving_api import API_VERSION, STATUS
from contracts.telemetry import REQUEST_LABELS, ClientEvent
from serving.audio import MAX_UPLOAD_BYTES, Audio, decode
from serving.bundles import Loaded
from serving.calls import CLIENT_GONE_STATUS, Call, Desk, Final, error_body
from serving.cascade import Cascade, Heard
from serving.forms import Form, parse, read_body
from serving.ingress import request_id
from serving.link import ServingFailure
from serving.shadow import Shadow
from serving.streams import converse

log = logging.getLogger(__name__)

MAX_EVENT_BYTES = 1 << 14
SMALL_BYTES = 1 << 18
FORMATS = ("json", "text", "verbose_json")
RETRY_AFTER_S = "1"

Handler = Callable[[Request, str], Awaitable[Response]]


class ClientGone(Exception):
    """The client closed its connection before the answer."""


def _json(value: Any, headers: dict[str, str], status: int = 200) -> Response:
    content = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    return Response(content, status, headers, media_type="application/json")


def _failed(failure: ServingFailure, headers: dict[str, str]) -> Response:
    status = STATUS[failure.code]
    if status in (429, 503):
        headers = {**headers, "Retry-After": RETRY_AFTER_S}
    return Response(error_body(failure), status, headers, media_type="application/json")


def _unexpected(name: str, error: Exception) -> ServingFailure:
    # The message might quote a request: its kind and the request's id are enough to find it.
    log.error("request %s failed: %s", name, type(error).__name__)
    return ServingFailure("internal", "the gateway failed on this request")


def sent_labels(request: Request | WebSocket) -> dict[str, str]:
    """The label headers of a request, as sent."""
    headers = request.headers
    return {name: headers[key] for name in REQUEST_LABELS if (key := f"x-soundcheck-{name}") in headers}


def client_of(request: Request | WebSocket) -> str:
    """The client's address."""
    return request.client.host if request.client else ""


class Api:
    """The handlers."""

    def __init__(self, desk: Desk, shadow: Shadow, status: Callable[[], Awaitable[dict[str, Any]]]) -> None:
        self._desk = desk
        self._shadow = shadow
        self.cascade = Cascade(desk)
        self._status = status
        self._decoders = ThreadPoolExecutor(2, thread_name_prefix="decode")

    def application(self) -> Starlette:
        """The ASGI application."""
        routes: list[BaseRoute] = [
            Route("/v1/audio/transcriptions", self._guarded(self._transcribe), methods=["POST"]),
            Route("/v1/events", self._guarded(self._event), methods=["POST"]),
            Route("/v1/models", self._guarded(self._models), methods=["GET"]),
            Route("/v1/status", self._guarded(self._report), methods=["GET"]),
            Route("/healthz", self._guarded(self._healthy), methods=["GET"]),
            Route("/readyz", self._guarded(self._ready), methods=["GET"]),
            Route("/metrics", self._guarded(self._metrics), methods=["GET"]),
            WebSocketRoute("/v1/audio/stream", self._stream),
        ]
        return Starlette(routes=routes)

    def _guarded(self, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        async def guarded(request: Request) -> Response:
            name = request_id(request.headers.get("traceparent", ""))
            headers = {"X-Request-Id": name}
            try:
                return await handler(request, name)
            except ServingFailure as failure:
                self._desk.metrics.refused.labels(failure.code).inc()
                return _failed(failure, headers)
            except (ClientDisconnect, ClientGone):
                return Response(status_code=CLIENT_GONE_STATUS, headers=headers)
            except Exception as error:
                return _failed(_unexpected(name, error), headers)

        return guarded

    # ---- transcription ------------------------------------------------------------------------------------------
    async def _transcribe(self, request: Request, name: str) -> Response:
        desk = self._desk
        caller = desk.keys.caller(request.headers.get("authorization", ""))
        body = await self._body(request, MAX_UPLOAD_BYTES)
        form = parse(request.headers.get("content-type", ""), body)
        shape = form.one("response_format", "json")
        if shape not in FORMATS:
            raise ServingFailure(
                "bad_request", f"response_format is one of {', '.join(FORMATS)}", param="response_format"
            )
        if form.file is None:
            raise ServingFailure("bad_request", "the form has no file", param="file")
        labels = sent_labels(request)
        if language := form.one("language"):
            labels.setdefault("language", language)
        call = desk.admit(
            desk.family(form.one("model")),
            caller,
            mode="http",
            request_id=name,
            sent_session=request.headers.get("x-soundcheck-session", ""),
            sent_labels=labels,
            client=client_of(request),
        )
        headers = {
            "X-Request-Id": name,
            "X-Soundcheck-Bundle": call.bundle,
            "X-Soundcheck-Route": str(call.table.version),
        }
        try:
            audio, heard = await self._heard(call, form.file, request)
        except ClientGone:
            desk.record(call, status=CLIENT_GONE_STATUS, error_code="client_gone")
            raise
        except Exception as error:
            failure = error if isinstance(error, ServingFailure) else _unexpected(name, error)
            desk.record_failure(call, failure)
            return _failed(failure, headers)
        final = desk.finish(call, heard.bundle, heard.answer)
        headers["X-Soundcheck-Bundle"] = call.bundle
        language = form.one("language") or heard.bundle.language
        response = _shaped(form, final, shape=shape, duration_s=audio.duration_s, language=language, headers=headers)
        call.latency_ms = (time.monotonic() - call.began) * 1000
        desk.record(call, status=200)
        self._shadow.copy(call, final.text, [audio.samples])
        self.cascade.audit(call, heard.answer, audio.samples)
        return response

    async def _heard(self, call: Call, content: bytes, request: Request) -> tuple[Audio, Heard]:
        ends = call.began + self._desk.deadline_s
        with call.worker.hold():
            bundle = await call.worker.description(self._desk.deadline_s)
            audio = await self._decoded(content, bundle)
            call.audio_s = audio.duration_s
            work = asyncio.ensure_future(self.cascade.hear(call, audio.samples, ends=ends))
            return audio, await _unless_gone(work, request)

    async def _decoded(self, content: bytes, bundle: Loaded) -> Audio:
        if len(content) <= SMALL_BYTES and content.startswith(b"RIFF"):
            # Handing a short uncompressed file to a thread takes longer than reading it here.
            return decode(content, bundle.contract)
        return await asyncio.get_running_loop().run_in_executor(self._decoders, decode, content, bundle.contract)

    async def _body(self, request: Request, limit_bytes: int) -> bytes:
        length = request.headers.get("content-length", "")
        return await read_body(request.stream(), length, limit_bytes=limit_bytes, idle_s=self._desk.deadline_s)

    # ---- the rest -----------------------------------------------------------------------------------------------
    async def _event(self, request: Request, name: str) -> Response:
        self._desk.keys.caller(request.headers.get("authorization", ""))
        body = await self._body(request, MAX_EVENT_BYTES)
        try:
            event = ClientEvent.model_validate_json(body)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "body"
            if first["type"] == "extra_forbidden":
                where = "an unknown field"
            raise ServingFailure("bad_request", f"the event is not valid in {where}: {first['msg']}") from None
        self._desk.recorder.event(event, time.time())
        return Response(status_code=202, headers={"X-Request-Id": name})

    async def _models(self, request: Request, name: str) -> Response:
        self._desk.keys.caller(request.headers.get("authorization", ""))
        models = [
            {"id": family, "object": "model", "created": 0, "owned_by": "soundcheck"}
            for family in sorted(self._desk.families)
        ]
        return _json({"object": "list", "data": models}, {"X-Request-Id": name})

    async def _report(self, _: Request, name: str) -> Response:
        return _json({"api_version": API_VERSION, **await self._status()}, {"X-Request-Id": name})

    async def _healthy(self, _: Request, name: str) -> Response:
        return _json({"status": "ok"}, {"X-Request-Id": name})

    async def _ready(self, _: Request, name: str) -> Response:
        settled = {family.name: family.settled for family in self._desk.families.values()}
        ready = all(settled.values())
        return _json({"ready": ready, "families": settled}, {"X-Request-Id": name}, 200 if ready else 503)

    async def _metrics(self, _: Request, name: str) -> Response:
        metrics = self._desk.metrics
        metrics.telemetry_dropped.set(self._desk.recorder.dropped)
        for family in self._desk.families.values():
            for worker in family.pool.workers():
                metrics.worker_ready.labels(family.name, worker.digest[:12]).set(worker.state == "ready")
        return Response(metrics.render(), headers={"X-Request-Id": name}, media_type="text/plain; version=0.0.4")

    async def _stream(self, websocket: WebSocket) -> None:
        await converse(websocket, self._desk, self._shadow, sent_labels(websocket), client_of(websocket))


async def _unless_gone(work: asyncio.Future[Heard], request: Request) -> Heard:
    """The work's result; when the client leaves first, the work is cancelled (its worker drops it)."""

    async def left() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    leaving = asyncio.ensure_future(left())
    try:
        await asyncio.wait((work, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise ClientGone
        return work.result()
    finally:
        work.cancel()
        leaving.cancel()


def _shaped(
    form: Form, final: Final, *, shape: str, duration_s: float, language: str, headers: dict[str, str]
) -> Response:
    if shape == "text":
        return Response(final.text + "\n", headers=headers, media_type="text/plain")
    if shape == "json":
        return _json({"text": final.text}, headers)
    wanted = form.fields.get("timestamp_granularities[]", form.fields.get("timestamp_granularities", []))
    answer: dict[str, Any] = {
        "task": "transcribe",
        "language": language,
        "duration": duration_s,
        "text": final.text,
        "words": final.words_json() if "word" in wanted or not wanted else [],
        "confidence": final.confidence,
    }
    return _json(answer, headers)
