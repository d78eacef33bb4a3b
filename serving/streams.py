"""Streaming over a WebSocket: PCM frames in, partials and one final out (contracts/serving_api.py).

Boundary: one ASGI WebSocket at a time, over a Desk.
Invariants: a stream ends on the bundle it began with, whatever the pointer does, and every message names it (R7.7,
fault 61); the first `committed` words of a partial never change; a client that sends faster than the model hears is
made to wait; a client that leaves frees its decoder state at once.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from starlette.responses import Response
from starlette.websockets import WebSocket, WebSocketDisconnect

from contracts.serving_api import MAX_FRAME_BYTES, STATUS, StreamStart
from serving.audio import PcmStream
from serving.bundles import Loaded
from serving.calls import CLIENT_GONE_STATUS, Call, Desk, error_body
from serving.ingress import request_id
from serving.link import Answer, Heard, LinkStream, ServingFailure, WorkerGone
from serving.redaction import redact_partial
from serving.shadow import MAX_COPY_S, Shadow
from speech.runtimes import Samples

log = logging.getLogger(__name__)


async def converse(websocket: WebSocket, desk: Desk, shadow: Shadow, labels: Mapping[str, str], client: str) -> None:
    """Serve one WebSocket from handshake to close. Never raises."""
    name = request_id(websocket.headers.get("traceparent", ""))
    headers = {"X-Request-Id": name}
    try:
        caller = desk.keys.caller(websocket.headers.get("authorization", ""))
        family = desk.family(websocket.query_params.get("model", ""))
    except ServingFailure as failure:
        desk.metrics.refused.labels(failure.code).inc()
        denial = Response(error_body(failure), STATUS[failure.code], headers, media_type="application/json")
        await websocket.send_denial_response(denial)
        return
    await websocket.accept(headers=[(key.lower().encode(), value.encode()) for key, value in headers.items()])
    conversation = _Conversation(websocket, desk, shadow)
    try:
        async with asyncio.timeout(desk.deadline_s):
            start = await conversation.start()
        call = desk.admit(
            family,
            caller,
            mode="stream",
            request_id=name,
            sent_session=start.session or websocket.headers.get("x-soundcheck-session", ""),
            sent_labels=_labels(start, labels),
            client=client,
        )
        await conversation.run(call, start)
    except TimeoutError:
        await conversation.refuse(ServingFailure("deadline", "nothing was sent within the deadline"))
    except ServingFailure as failure:
        await conversation.refuse(failure)
    except (WebSocketDisconnect, RuntimeError):
        # The client left; what it had begun has been recorded.
        return
    except Exception as error:
        log.error("stream %s failed: %s", name, type(error).__name__)
        await conversation.refuse(ServingFailure("internal", "the gateway failed on this stream"))


def _labels(start: StreamStart, headers: Mapping[str, str]) -> dict[str, str]:
    labels = {**headers, **start.labels}
    if start.language:
        labels.setdefault("language", start.language)
    return labels


class _Conversation:
    """One open WebSocket."""

    def __init__(self, websocket: WebSocket, desk: Desk, shadow: Shadow) -> None:
        self._websocket = websocket
        self._desk = desk
        self._shadow = shadow
        self._chunks: list[Samples] = []
        self._heard_at: deque[float] = deque()
        self._first_audio: float | None = None
        self._ended: float | None = None
        self._shown: list[str] = []

    # ---- messages -----------------------------------------------------------------------------------------------
    async def _receive(self) -> bytes | str:
        message = await self._websocket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1006))
        content: bytes | str | None = message.get("bytes")
        return content if content is not None else message["text"]

    async def _send(self, message: dict[str, Any]) -> None:
        # A client that does not read may not hold a stream for ever.
        async with asyncio.timeout(self._desk.deadline_s):
            await self._websocket.send_text(json.dumps(message, ensure_ascii=False, separators=(",", ":")))

    async def refuse(self, failure: ServingFailure) -> None:
        """Send the error and close; a client that has gone does not matter."""
        try:
            await self._send({"type": "error", **json.loads(error_body(failure))})
            await self._websocket.close(1011 if STATUS[failure.code] >= 500 else 1008)
        except (WebSocketDisconnect, RuntimeError, TimeoutError):
            return

    async def start(self) -> StreamStart:
        """The first message; ServingFailure `bad_request` where it is not a start."""
        first = await self._receive()
        try:
            return StreamStart.model_validate_json(first)
        except ValidationError:
            raise ServingFailure(
                "bad_request", 'the first message is JSON text: {"type": "start", "sample_rate": HZ}'
            ) from None

    # ---- the stream ---------------------------------------------------------------------------------------------
    async def run(self, call: Call, start: StreamStart) -> None:
        """From `ready` to `final`; what happened is recorded whatever it was."""
        desk = self._desk
        gauge = desk.metrics.open_streams.labels(call.family.name)
        gauge.inc()
        try:
            with call.worker.hold():
                text = await self._stream(call, start)
        except ServingFailure as failure:
            desk.record_failure(call, failure)
            raise
        except WorkerGone:
            died = ServingFailure("internal", "the worker of this stream died")
            desk.record_failure(call, died)
            raise died from None
        except TimeoutError:
            desk.record_failure(call, ServingFailure("deadline", ""))
            raise
        except (WebSocketDisconnect, RuntimeError):
            desk.record(call, status=CLIENT_GONE_STATUS, error_code="client_gone")
            raise
        finally:
            gauge.dec()
        desk.record(call, status=200)
        self._shadow.copy(call, text, self._chunks)
        # A client that closed as soon as it had its final has left in order.
        await self._websocket.close(1000)

    async def _stream(self, call: Call, start: StreamStart) -> str:
        bundle = await call.worker.description(self._desk.deadline_s)
        pcm = PcmStream(start.sample_rate, bundle.contract)
        async with await call.worker.stream(deadline_s=self._desk.deadline_s) as stream:
            await self._send(
                {
                    "type": "ready",
                    "request_id": call.request_id,
                    "bundle": call.bundle,
                    "route_version": call.table.version,
                }
            )
            listening = asyncio.create_task(self._listen(call, pcm, stream))
            answering = asyncio.create_task(self._answer(call, bundle, stream))
            try:
                done, _ = await asyncio.wait((listening, answering), return_when=asyncio.FIRST_COMPLETED)
                if answering in done:
                    return answering.result()
                await listening
                return await answering
            finally:
                listening.cancel()
                answering.cancel()
                await asyncio.gather(listening, answering, return_exceptions=True)

    async def _listen(self, call: Call, pcm: PcmStream, stream: LinkStream) -> None:
        """Pass the client's audio on; after its end only its leaving matters."""
        while True:
            async with asyncio.timeout(None if self._ended else self._desk.deadline_s):
                message = await self._receive()
            if self._ended is not None:
                continue
            if isinstance(message, str):
                self._check_end(message, pcm)
                if (rest := pcm.flush()).size:
                    await self._feed(call, pcm, stream, rest)
                self._ended = time.monotonic()
                stream.end()
            elif len(message) > MAX_FRAME_BYTES:
                raise ServingFailure("too_large", f"a frame is larger than {MAX_FRAME_BYTES} bytes")
            elif (samples := pcm.accept(message)).size:
                await self._feed(call, pcm, stream, samples)
            self._first_audio = self._first_audio or time.monotonic()

    @staticmethod
    def _check_end(message: str, pcm: PcmStream) -> None:
        try:
            kind = json.loads(message).get("type")
        except (ValueError, AttributeError):
            kind = None
        if kind != "end":
            raise ServingFailure("bad_request", 'after the start come binary frames, then {"type": "end"}')
        if not pcm.audio_s:
            raise ServingFailure("empty_audio", "the stream ended before any audio")

    async def _feed(self, call: Call, pcm: PcmStream, stream: LinkStream, samples: Samples) -> None:
        call.audio_s = pcm.audio_s
        self._heard_at.append(pcm.audio_s)
        if call.route.shadow is not None and pcm.audio_s <= MAX_COPY_S:
            self._chunks.append(samples)
        await stream.feed(samples)

    async def _answer(self, call: Call, bundle: Loaded, stream: LinkStream) -> str:
        """Pass the worker's hypotheses on, redacted; returns the final text."""
        while True:
            said = await stream.next()
            if isinstance(said, Answer):
                return await self._final(call, bundle, said)
            audio_s = self._heard_at.popleft()
            call.queue_ms += said.queue_ms
            call.infer_ms += said.infer_ms
            if said.text is not None:
                await self._partial(call, bundle, said, audio_s)

    async def _partial(self, call: Call, bundle: Loaded, said: Heard, audio_s: float) -> None:
        text, committed = redact_partial(said.text or "", said.committed, bundle.filters)
        words = text.split()
        self._count(call, words)
        if call.first_partial_ms is None and words and self._first_audio is not None:
            call.first_partial_ms = (time.monotonic() - self._first_audio) * 1000
        await self._send(
            {"type": "partial", "text": text, "committed": committed, "audio_s": audio_s, "bundle": call.bundle}
        )

    async def _final(self, call: Call, bundle: Loaded, answer: Answer) -> str:
        final = self._desk.finish(call, bundle, answer)
        self._count(call, final.text.split(), shown=False)
        await self._send(
            {
                "type": "final",
                "text": final.text,
                "words": final.words_json(),
                "confidence": final.confidence,
                "audio_s": call.audio_s,
                "bundle": call.bundle,
                "request_id": call.request_id,
            }
        )
        if self._ended is not None:
            call.latency_ms = (time.monotonic() - self._ended) * 1000
        return final.text

    def _count(self, call: Call, words: list[str], *, shown: bool = True) -> None:
        """Count words shown in partials, and those shown that were taken back (churn)."""
        before = self._shown
        kept = 0
        while kept < min(len(before), len(words)) and before[kept] == words[kept]:
            kept += 1
        call.unstable_words += len(before) - kept
        if shown:
            call.partial_words += len(words) - kept
            self._shown = words
