"""Streaming over a WebSocket: PCM frames in, partials and one final out (contracts/serving_api.py).

Boundary: one ASGI WebSocket at a time, over a Desk.
Invariants: a stream ends on the bundle it began with, whatever the pointer does, and every message names it (R7.7,
fault 61), unless that bundle is closed: then it ends at once (R7.6); the first `committed` words of a partial never
change until a barge-in begins a new utterance; a client that sends faster than the model hears is made to wait, one
that does not read is left (fault 57); a client that leaves or cancels frees its decoder state at once (fault 58).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections import deque
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import ValidationError
from starlette.websockets import WebSocket, WebSocketDisconnect

from contracts.bundle import GoldenAnswer
from contracts.serving_api import MAX_FRAME_BYTES, STATUS, StreamStart
from serving.answers import refusal
from serving.bundles import Loaded
from serving.calls import CLIENT_GONE_STATUS, Call, Desk, error_body
from serving.ingress import Trace, check_language, terms_of, trace_of
from serving.link import Answer, Heard, LinkStream, Restarted, ServingFailure, WorkerGone
from serving.preprocess import StreamPreprocessor
from serving.redaction import redact_partial
from serving.shadow import MAX_COPY_S, Shadow
from speech.runtimes import Samples

log = logging.getLogger(__name__)

LEAVE_S = 1.0
"""How long a client that is told goodbye may take to hear it."""

Control = Literal["end", "cancel", "barge_in"]

CONTROLS: tuple[Control, ...] = ("end", "cancel", "barge_in")


class _Cancelled(Exception):
    """The client wants no answer any more."""


class _Unread(Exception):
    """The client has not read what it was sent."""


async def converse(websocket: WebSocket, desk: Desk, shadow: Shadow, labels: Mapping[str, str], client: str) -> None:
    """Serve one WebSocket from handshake to close. Never raises."""
    trace = trace_of(websocket.headers.get("traceparent", ""))
    try:
        caller = desk.enter(websocket.headers.get("authorization", ""))
        family = desk.family(websocket.query_params.get("model", ""), "transcription")
        terms = terms_of(websocket.headers, desk.deadline_s)
    except ServingFailure as failure:
        desk.metrics.refused.labels(failure.code).inc()
        await websocket.send_denial_response(refusal(failure, trace.headers))
        return
    await websocket.accept(headers=[(key.lower().encode(), value.encode()) for key, value in trace.headers.items()])
    conversation = _Conversation(websocket, desk, shadow)
    try:
        async with asyncio.timeout(desk.deadline_s):
            start = await conversation.start()
        call = desk.admit(
            family,
            caller,
            mode="stream",
            trace=trace,
            sent_session=start.session or websocket.headers.get("x-soundcheck-session", ""),
            sent_labels=_labels(start, labels),
            client=client,
            terms=terms._replace(priority="batch") if start.priority == "batch" else terms,
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
        _unexpected(trace, error)
        await conversation.refuse(ServingFailure("internal", "the gateway failed on this stream"))


def _unexpected(trace: Trace, error: Exception) -> None:
    # The message might quote what was said: its kind and the request's id are enough to find it.
    log.error("stream %s failed: %s", trace.request_id, type(error).__name__)


def _labels(start: StreamStart, headers: Mapping[str, str]) -> dict[str, str]:
    labels = {**headers, **start.labels}
    if language := next(iter((*filter(None, (start.language,)), *start.language_hints)), ""):
        labels.setdefault("language", language)
    return labels


def _control(message: str) -> Control:
    """What a text message between frames asks for; ServingFailure `bad_request`."""
    try:
        asked = json.loads(message).get("type")
    except (ValueError, AttributeError, RecursionError):
        asked = None
    for control in CONTROLS:
        if asked == control:
            return control
    kinds = ", ".join(f'{{"type": "{control}"}}' for control in CONTROLS)
    raise ServingFailure("bad_request", f"after the start come binary frames and {kinds}")


class _Conversation:
    """One open WebSocket."""

    def __init__(self, websocket: WebSocket, desk: Desk, shadow: Shadow) -> None:
        self._websocket = websocket
        self._desk = desk
        self._shadow = shadow
        self._chunks: list[Samples] = []
        self._heard_at: deque[float] = deque()
        self._restarts: deque[float] = deque()
        self._begins_s = 0.0
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
        try:
            async with asyncio.timeout(self._desk.deadline_s):
                await self._websocket.send_text(json.dumps(message, ensure_ascii=False, separators=(",", ":")))
        except TimeoutError:
            raise _Unread from None

    async def _leave(self, message: Mapping[str, Any] | None, code: int) -> None:
        """Say a last word, if any, and close; a client that has gone or does not read does not matter."""
        with contextlib.suppress(WebSocketDisconnect, RuntimeError, TimeoutError):
            async with asyncio.timeout(LEAVE_S):
                if message is not None:
                    await self._websocket.send_text(json.dumps(message))
                await self._websocket.close(code)

    async def refuse(self, failure: ServingFailure) -> None:
        """Send the error and close."""
        error = {"type": "error", **json.loads(error_body(failure))}
        await self._leave(error, 1011 if STATUS[failure.code] >= 500 else 1008)

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
            died.worker_died = 1
            desk.record_failure(call, died)
            raise died from None
        except TimeoutError:
            desk.record_failure(call, ServingFailure("deadline", ""))
            raise
        except _Cancelled:
            desk.record(call, status=CLIENT_GONE_STATUS, error_code="cancelled")
            message = {"type": "cancelled", "request_id": call.request_id, "bundle": call.bundle}
            await self._leave(message, 1000)
            return
        except _Unread:
            desk.record(call, status=CLIENT_GONE_STATUS, error_code="unread")
            await self._leave(None, 1008)
            return
        except (WebSocketDisconnect, RuntimeError):
            desk.record(call, status=CLIENT_GONE_STATUS, error_code="client_gone")
            raise
        except Exception:
            desk.record_failure(call, ServingFailure("internal", ""))
            raise
        finally:
            gauge.dec()
        desk.record(call, status=200)
        self._shadow.copy(call, GoldenAnswer(text), self._chunks)
        # A client that closed as soon as it had its final has left in order.
        await self._leave(None, 1000)

    async def _stream(self, call: Call, start: StreamStart) -> str:
        bundle = await call.worker.description(call.deadline_s)
        check_language(start.language, bundle.languages)
        audio = StreamPreprocessor(start.sample_rate, bundle.contract)
        call.sent_rate_hz = start.sample_rate
        async with await call.worker.stream(deadline_s=call.deadline_s, priority=call.priority) as stream:
            await self._send(
                {
                    "type": "ready",
                    "request_id": call.request_id,
                    "bundle": call.bundle,
                    "route_version": call.table.version,
                }
            )
            listening = asyncio.create_task(self._listen(call, audio, stream))
            answering = asyncio.create_task(self._answer(call, bundle, stream, partials=start.partials))
            withdrawn = asyncio.create_task(call.worker.withdrawn.wait())
            tasks = (listening, answering, withdrawn)
            try:
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                if answering in done:
                    return answering.result()
                if withdrawn in done:
                    raise ServingFailure("withdrawn", "the model of this stream was withdrawn; open a new stream")
                await listening
                return await answering
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                call.acoustics, call.preprocess_ms = audio.acoustics(), audio.took_ms

    async def _listen(self, call: Call, audio: StreamPreprocessor, stream: LinkStream) -> None:
        """Pass the client's audio on; after its end only its leaving and cancelling matter."""
        while True:
            async with asyncio.timeout(None if self._ended else self._desk.deadline_s):
                message = await self._receive()
            if isinstance(message, str):
                await self._obey(_control(message) if self._ended is None else _late(message), call, audio, stream)
            elif self._ended is not None:
                continue
            elif len(message) > MAX_FRAME_BYTES:
                raise ServingFailure("too_large", f"a frame is larger than {MAX_FRAME_BYTES} bytes")
            elif (samples := audio.accept(message)).size:
                await self._feed(call, audio, stream, samples)
            self._first_audio = self._first_audio or time.monotonic()

    async def _obey(self, control: Control | None, call: Call, audio: StreamPreprocessor, stream: LinkStream) -> None:
        if control == "cancel":
            raise _Cancelled
        if control == "barge_in":
            audio.restart()
            self._restarts.append(audio.audio_s)
            self._chunks.clear()
            stream.restart()
        elif control == "end":
            if not audio.audio_s:
                raise ServingFailure("empty_audio", "the stream ended before any audio")
            if (rest := audio.flush()).size:
                await self._feed(call, audio, stream, rest)
            self._ended = time.monotonic()
            stream.end()

    async def _feed(self, call: Call, audio: StreamPreprocessor, stream: LinkStream, samples: Samples) -> None:
        call.audio_s = audio.audio_s
        self._heard_at.append(audio.audio_s)
        if call.route.shadow is not None and audio.audio_s <= MAX_COPY_S:
            self._chunks.append(samples)
        try:
            await stream.feed(samples)
        except TimeoutError:
            raise ServingFailure("deadline", "the audio was not heard within the deadline") from None

    async def _answer(self, call: Call, bundle: Loaded, stream: LinkStream, *, partials: bool) -> str:
        """Pass the worker's hypotheses on, redacted; returns the final text."""
        while True:
            said = await stream.next()
            if isinstance(said, Answer):
                return await self._final(call, bundle, said)
            if isinstance(said, Restarted):
                await self._restarted(call)
            elif isinstance(said, Heard):
                audio_s = self._heard_at.popleft()
                call.work(said)
                if said.text is not None and partials and not self._degraded(call):
                    await self._partial(call, bundle, said, audio_s)

    def _degraded(self, call: Call) -> bool:
        """Whether this stream has to do without partials now: by the route table, or while the queue is too full."""
        if call.route.degraded == "no_partials":
            return True
        limit = self._desk.no_partials_at
        if limit is None or call.worker.load < limit:
            return False
        if call.degraded == "no":
            call.degraded = "no_partials"
        return True

    async def _restarted(self, call: Call) -> None:
        self._begins_s = self._restarts.popleft()
        self._shown = []
        await self._send({"type": "restarted", "audio_s": self._begins_s, "bundle": call.bundle})

    async def _partial(self, call: Call, bundle: Loaded, said: Heard, audio_s: float) -> None:
        began = time.perf_counter()
        text, committed = redact_partial(said.text or "", said.committed, bundle.filters)
        call.postprocess_ms += (time.perf_counter() - began) * 1000
        words = text.split()
        self._count(call, words)
        if call.first_partial_ms is None and words and self._first_audio is not None:
            call.first_partial_ms = (time.monotonic() - self._first_audio) * 1000
        await self._send(
            {"type": "partial", "text": text, "committed": committed, "audio_s": audio_s, "bundle": call.bundle}
        )

    async def _final(self, call: Call, bundle: Loaded, answer: Answer) -> str:
        final = self._desk.finish(call, bundle, answer).later(self._begins_s)
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


def _late(message: str) -> Control | None:
    """What a message after the end asks for: nothing but a cancellation still matters (fault 60)."""
    with contextlib.suppress(ServingFailure):
        return "cancel" if _control(message) == "cancel" else None
    return None
