"""The production API over HTTP: transcriptions, events, health, metrics, status (contracts/serving_api.py).

Boundary: an ASGI application over a Desk; it opens no files and starts no processes.
Invariants: every answer carries `X-Request-Id`, and `X-Soundcheck-Bundle` once a bundle was chosen; every refusal has
the error form of the contract; nothing said, no key and no session id is logged.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket

from contracts.serving_api import API_VERSION
from contracts.telemetry import REQUEST_LABELS, ClientEvent
from serving.answers import FORMATS, json_answer, refusal, transcription
from serving.audio import MAX_UPLOAD_BYTES, Audio, decode
from serving.calls import CLIENT_GONE_STATUS, Call, Desk, error_body
from serving.cascade import Cascade, Heard
from serving.exposition import Exposition
from serving.forms import parse, read_body
from serving.ingress import check_language, terms_of, trace_of
from serving.link import ServingFailure
from serving.live import Live
from serving.openapi import documents
from serving.preprocess import measure
from serving.shadow import Shadow
from serving.streams import converse

log = logging.getLogger(__name__)

MAX_EVENT_BYTES = 1 << 14
SMALL_BYTES = 1 << 18

Result = TypeVar("Result")

Handler = Callable[[Request], Awaitable[Response]]


class ClientGone(Exception):
    """The client closed its connection before the answer."""


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

    def __init__(
        self,
        desk: Desk,
        shadow: Shadow,
        exposition: Exposition,
        live: Live,
        status: Callable[[], Awaitable[dict[str, Any]]],
    ) -> None:
        self._desk = desk
        self._shadow = shadow
        self.cascade = Cascade(desk)
        self._exposition = exposition
        self._live = live
        self._status = status
        self._documents = documents(desk.windows.promised)
        self._decoders = ThreadPoolExecutor(2, thread_name_prefix="decode")

    def application(self) -> Starlette:
        """The ASGI application."""
        routes: list[BaseRoute] = [
            Route("/v1/audio/transcriptions", self._guarded(self._transcribe), methods=["POST"]),
            Route("/v1/events", self._guarded(self._event), methods=["POST"]),
            Route("/v1/models", self._guarded(self._models), methods=["GET"]),
            Route("/v1/status", self._guarded(self._report), methods=["GET"]),
            Route("/v1/live", self._guarded(self._now), methods=["GET"]),
            Route("/", self._guarded(self._page), methods=["GET"]),
            Route("/healthz", self._guarded(self._healthy), methods=["GET"]),
            Route("/readyz", self._guarded(self._ready), methods=["GET"]),
            Route("/metrics", self._guarded(self._metrics), methods=["GET"]),
            Route("/openapi.json", self._guarded(self._document), methods=["GET"]),
            Route("/asyncapi.json", self._guarded(self._document), methods=["GET"]),
            WebSocketRoute("/v1/audio/stream", self._stream),
        ]
        return Starlette(routes=routes, exception_handlers={HTTPException: _misdirected})

    def _guarded(self, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        async def guarded(request: Request) -> Response:
            trace = request.state.trace = trace_of(request.headers.get("traceparent", ""))
            try:
                response = await handler(request)
            except ServingFailure as failure:
                self._desk.metrics.refused.labels(failure.code).inc()
                response = refusal(failure)
            except (ClientDisconnect, ClientGone):
                response = Response(status_code=CLIENT_GONE_STATUS)
            except Exception as error:
                response = refusal(_unexpected(trace.request_id, error))
            response.headers.update(trace.headers)
            return response

        return guarded

    # ---- transcription ------------------------------------------------------------------------------------------
    async def _transcribe(self, request: Request) -> Response:
        desk, name = self._desk, request.state.trace.request_id
        caller = desk.enter(request.headers.get("authorization", ""))
        terms = terms_of(request.headers, desk.deadline_s)
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
            trace=request.state.trace,
            sent_session=request.headers.get("x-soundcheck-session", ""),
            sent_labels=labels,
            client=client_of(request),
            terms=terms,
        )
        headers = {"X-Soundcheck-Bundle": call.bundle, "X-Soundcheck-Route": str(call.table.version)}
        try:
            audio, heard = await self._heard(call, form.file, form.one("language"), request)
        except ClientGone:
            desk.record(call, status=CLIENT_GONE_STATUS, error_code="client_gone")
            raise
        except Exception as error:
            failure = error if isinstance(error, ServingFailure) else _unexpected(name, error)
            desk.record_failure(call, failure)
            return refusal(failure, headers)
        final = desk.finish(call, heard.bundle, heard.answer)
        headers["X-Soundcheck-Bundle"] = call.bundle
        language = form.one("language") or heard.bundle.language
        response = transcription(
            final,
            shape=shape,
            granularities=form.all("timestamp_granularities[]") or form.all("timestamp_granularities"),
            duration_s=audio.duration_s,
            language=language,
            segments=(call.acoustics and call.acoustics.segments) or (),
            headers=headers,
        )
        call.latency_ms = (time.monotonic() - call.began) * 1000
        desk.record(call, status=200)
        self._shadow.copy(call, final.text, [audio.samples])
        self.cascade.audit(call, heard.answer, audio.samples)
        return response

    async def _heard(self, call: Call, content: bytes, language: str, request: Request) -> tuple[Audio, Heard]:
        with call.worker.hold():
            bundle = await call.worker.description(call.deadline_s)
            check_language(language, bundle.languages)
            small = len(content) <= SMALL_BYTES and content.startswith(b"RIFF")
            audio = await self._timed(call, small, decode, content, bundle.contract)
            call.audio_s, call.sent_rate_hz = audio.duration_s, audio.sent_rate_hz
            work = asyncio.ensure_future(self.cascade.hear(call, audio.samples, ends=call.ends))
            try:
                # The worker has the audio before it is measured here, so that measuring costs the answer no time.
                await asyncio.sleep(0)
                rate_hz = bundle.contract.sample_rate_hz
                call.acoustics = await self._timed(call, small, measure, audio.samples, rate_hz)
                return audio, await _unless_gone(work, request)
            finally:
                work.cancel()

    async def _timed(self, call: Call, small: bool, step: Callable[..., Result], *arguments: object) -> Result:
        """Do a step of preprocessing; beside the loop, unless it takes less time than the way to a thread."""
        began = time.perf_counter()
        if small:
            result = step(*arguments)
        else:
            result = await asyncio.get_running_loop().run_in_executor(self._decoders, step, *arguments)
        call.preprocess_ms += (time.perf_counter() - began) * 1000
        return result

    async def _body(self, request: Request, limit_bytes: int) -> bytes:
        length = request.headers.get("content-length", "")
        return await read_body(request.stream(), length, limit_bytes=limit_bytes, idle_s=self._desk.deadline_s)

    # ---- the rest -----------------------------------------------------------------------------------------------
    async def _event(self, request: Request) -> Response:
        self._desk.enter(request.headers.get("authorization", ""))
        body = await self._body(request, MAX_EVENT_BYTES)
        try:
            event = ClientEvent.model_validate_json(body)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            # The field alone: what is below it (the name of a label) is the client's own text.
            where = str(first["loc"][0]) if first["loc"] else "body"
            if first["type"] == "extra_forbidden":
                where = "an unknown field"
            raise ServingFailure("bad_request", f"the event is not valid in {where}: {first['msg']}") from None
        self._desk.event(event)
        return Response(status_code=202)

    async def _models(self, request: Request) -> Response:
        self._desk.enter(request.headers.get("authorization", ""))
        models = [
            {"id": family, "object": "model", "created": 0, "owned_by": "soundcheck"}
            for family in sorted(self._desk.families)
        ]
        return json_answer({"object": "list", "data": models})

    async def _report(self, _: Request) -> Response:
        return json_answer({"api_version": API_VERSION, **await self._status()})

    async def _healthy(self, _: Request) -> Response:
        return json_answer({"status": "ok"})

    async def _ready(self, _: Request) -> Response:
        settled = {family.name: family.settled for family in self._desk.families.values()}
        ready = all(settled.values())
        return json_answer({"ready": ready, "families": settled}, status=200 if ready else 503)

    async def _metrics(self, _: Request) -> Response:
        return Response(await self._exposition.render(), media_type="text/plain; version=0.0.4")

    async def _now(self, _: Request) -> Response:
        return Response((await self._live.answer()).document, media_type="application/json")

    async def _page(self, _: Request) -> Response:
        return Response((await self._live.answer()).page, media_type="text/html", headers=self._live.headers)

    async def _document(self, request: Request) -> Response:
        content = self._documents[request.url.path.removeprefix("/")]
        return Response(content, media_type="application/json")

    async def _stream(self, websocket: WebSocket) -> None:
        await converse(websocket, self._desk, self._shadow, sent_labels(websocket), client_of(websocket))


async def _misdirected(request: Request, error: Exception) -> Response:
    """No such path, or not with this method: in the form of every other refusal."""
    assert isinstance(error, HTTPException)
    trace = trace_of(request.headers.get("traceparent", ""))
    content = error_body(ServingFailure("bad_request", f"{error.detail}; GET /openapi.json says what there is"))
    headers = {**(error.headers or {}), **trace.headers}
    return Response(content, error.status_code, headers, media_type="application/json")


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
