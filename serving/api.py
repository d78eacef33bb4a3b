"""The production API over HTTP: what is heard and said, events, health, metrics, status (contracts/serving_api.py).

Boundary: an ASGI application over a Desk; it opens no files and starts no processes.
Invariants: every answer carries `X-Request-Id`, and `X-Soundcheck-Bundle` once a bundle was chosen; every refusal has
the error form of the contract; nothing said, no key and no session id is logged.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket

from contracts.serving_api import API_VERSION
from contracts.telemetry import ClientEvent
from serving.answers import json_answer, refusal
from serving.calls import CLIENT_GONE_STATUS, Desk, error_body
from serving.dialogue import Dialogues
from serving.exchange import ClientGone, body_of, parsed, unexpected
from serving.exposition import Exposition
from serving.ingress import trace_of
from serving.link import ServingFailure
from serving.live import Live
from serving.openapi import documents
from serving.shadow import Shadow
from serving.sockets import converse
from serving.speaking import Speaking
from serving.speech_stream import SpeechStreams
from serving.streams import Streams
from serving.uploads import Uploads

MAX_EVENT_BYTES = 1 << 14

Handler = Callable[[Request], Awaitable[Response]]


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
        self.uploads = Uploads(desk, shadow)
        self._streams = Streams(desk, shadow)
        self._spoken = SpeechStreams(desk, shadow)
        self._dialogues = Dialogues(desk, shadow)
        self._speaking = Speaking(desk, shadow)
        self._exposition = exposition
        self._live = live
        self._status = status
        self._documents = documents(desk.windows.promised)

    def application(self) -> Starlette:
        """The ASGI application."""
        routes: list[BaseRoute] = [
            Route("/v1/audio/transcriptions", self._guarded(self._transcribe), methods=["POST"]),
            Route("/v1/audio/embeddings", self._guarded(self._embed), methods=["POST"]),
            Route("/v1/audio/classifications", self._guarded(self._classify), methods=["POST"]),
            Route("/v1/audio/speech", self._guarded(self._speaking.answer), methods=["POST"]),
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
            WebSocketRoute("/v1/audio/speech/stream", self._say),
            WebSocketRoute("/v1/assistant", self._converse),
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
                response = refusal(unexpected(trace.request_id, error))
            response.headers.update(trace.headers)
            return response

        return guarded

    async def _transcribe(self, request: Request) -> Response:
        return await self.uploads.answer(request, "transcription")

    async def _embed(self, request: Request) -> Response:
        return await self.uploads.answer(request, "embedding")

    async def _classify(self, request: Request) -> Response:
        return await self.uploads.answer(request, "classification")

    # ---- the rest -----------------------------------------------------------------------------------------------
    async def _event(self, request: Request) -> Response:
        self._desk.enter(request.headers.get("authorization", ""))
        body = await body_of(request, MAX_EVENT_BYTES, self._desk.deadline_s)
        event = parsed(ClientEvent, body, "the event")
        self._desk.event(event)
        return Response(status_code=202)

    async def _models(self, request: Request) -> Response:
        self._desk.enter(request.headers.get("authorization", ""))
        models = [
            {"id": name, "object": "model", "created": 0, "owned_by": "soundcheck", "task": family.task}
            for name, family in sorted(self._desk.families.items())
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
        await converse(websocket, self._desk, "transcription", self._streams.talk)

    async def _say(self, websocket: WebSocket) -> None:
        await converse(websocket, self._desk, "synthesis", self._spoken.talk)

    async def _converse(self, websocket: WebSocket) -> None:
        await converse(websocket, self._desk, "dialogue", self._dialogues.talk)


async def _misdirected(request: Request, error: Exception) -> Response:
    """No such path, or not with this method: in the form of every other refusal."""
    assert isinstance(error, HTTPException)
    trace = trace_of(request.headers.get("traceparent", ""))
    content = error_body(ServingFailure("bad_request", f"{error.detail}; GET /openapi.json says what there is"))
    headers = {**(error.headers or {}), **trace.headers}
    return Response(content, error.status_code, headers, media_type="application/json")
