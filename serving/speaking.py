"""`POST /v1/audio/speech`: a text to audio that is sent while it is made, as OpenAI's client asks for it.

Boundary: Starlette requests over a Desk; packed formats are encoded in threads of their own.
Invariants: the status is sent with the first audio, so that whatever fails before is a refusal in the contract's form;
what fails later breaks the connection off, and never ends it as if all had been said; no more is made than the client
reads; the text is in no log and no telemetry.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from contracts.serving_api import SpeechRequest
from serving.answers import refusal
from serving.calls import CLIENT_GONE_STATUS, Call, Desk
from serving.encoding import AT_ONCE, CHEAP, MEDIA_TYPES, encoder, sent_rate_hz, whole
from serving.exchange import (
    ClientGone,
    admitted,
    body_of,
    parsed,
    routed_headers,
    sent_labels,
    unexpected,
    unless_gone,
)
from serving.ingress import terms_of
from serving.link import ServingFailure
from serving.shadow import Shadow
from serving.speech import check_voice, chunks
from speech.runtimes import Samples

MAX_BODY_BYTES = 1 << 16


class _Unread(Exception):
    """The client has not read what it was sent."""


class _BrokenOff(Exception):
    """The answer ended before its end; the server closes the connection when it sees this."""


class Speaking:
    """Says texts over HTTP."""

    def __init__(self, desk: Desk, shadow: Shadow) -> None:
        self.desk = desk
        self.shadow = shadow
        self._encoders = ThreadPoolExecutor(2, thread_name_prefix="encode")

    async def answer(self, request: Request) -> Response:
        """A response that speaks; raises ServingFailure before it is routed."""
        desk = self.desk
        caller = desk.enter(request.headers.get("authorization", ""))
        terms = terms_of(request.headers, desk.deadline_s)
        body = await body_of(request, MAX_BODY_BYTES, desk.deadline_s)
        asked = parsed(SpeechRequest, body, "the request")
        call = admitted(desk, request, desk.family(asked.model, "synthesis"), caller, terms, sent_labels(request))
        call.made.characters = len(asked.input)
        return _Spoken(self, call, asked)

    async def bytes_of(
        self, asked: SpeechRequest, rate_hz: int, speech: AsyncIterator[Samples]
    ) -> AsyncIterator[bytes]:
        """The answer's body, piece by piece."""
        shape = asked.response_format
        if not asked.stream or shape in AT_ONCE:
            samples = np.concatenate([chunk async for chunk in speech])
            yield await self._beside(shape not in CHEAP, lambda: whole(shape, samples, rate_hz))
            return
        packing = encoder(shape, rate_hz)
        async for chunk in speech:
            yield await self._beside(shape not in CHEAP, lambda chunk=chunk: packing.add(chunk))  # type: ignore[misc]
        yield await self._beside(shape not in CHEAP, packing.finish)

    async def _beside(self, slow: bool, step: Callable[[], bytes]) -> bytes:
        """A step's bytes; of a slow one, made beside the loop."""
        return await asyncio.get_running_loop().run_in_executor(self._encoders, step) if slow else step()


class _Spoken(StreamingResponse):
    """The answer to one text."""

    def __init__(self, speaking: Speaking, call: Call, asked: SpeechRequest) -> None:
        super().__init__((), headers=routed_headers(call), media_type=MEDIA_TYPES[asked.response_format])
        self._speaking = speaking
        self._call = call
        self._asked = asked
        self._begun = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Speak, and record what became of it."""
        call, desk = self._call, self._speaking.desk
        try:
            await unless_gone(asyncio.ensure_future(self._say(send)), receive)
        except ClientGone:
            desk.record(call, status=CLIENT_GONE_STATUS, error_code="client_gone")
        except _Unread:
            desk.record(call, status=CLIENT_GONE_STATUS, error_code="unread")
            raise _BrokenOff from None
        except Exception as error:
            failure = error if isinstance(error, ServingFailure) else unexpected(call.request_id, error)
            desk.record_failure(call, failure)
            if self._begun:
                raise _BrokenOff from None
            await refusal(failure, {**routed_headers(call), **call.trace.headers})(scope, receive, send)
        else:
            desk.record(call, status=200)
            self._speaking.shadow.speak(call, self._asked.input)

    async def _say(self, send: Send) -> None:
        call, asked = self._call, self._asked
        with call.worker.hold():
            await call.worker.description(call.deadline_s)
            check_voice(call, asked.voice, asked.input)
            rate_hz: int = call.worker.facts["voice_rate_hz"]
            self.headers["X-Soundcheck-Sample-Rate"] = str(sent_rate_hz(asked.response_format, rate_hz))
            try:
                async with call.worker.speak(asked.input, deadline_s=call.deadline_s, priority=call.priority) as speech:
                    call.worker_died, call.retries = speech.died, speech.died
                    samples = chunks(call, speech, since=call.began)
                    async for content in self._speaking.bytes_of(asked, rate_hz, samples):
                        await self._pass_on(send, content)
                await self._pass_on(send, b"", more=False)
            finally:
                call.audio_s = call.made.spoken_s or 0.0
                call.latency_ms = (time.monotonic() - call.began) * 1000

    async def _pass_on(self, send: Send, content: bytes, *, more: bool = True) -> None:
        """Send a piece, the status before the first; raises _Unread where nobody reads it."""
        if more and not content:
            return
        try:
            async with asyncio.timeout(self._call.deadline_s):
                if not self._begun:
                    self._begun = True
                    await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
                await send({"type": "http.response.body", "body": content, "more_body": more})
        except TimeoutError:
            raise _Unread from None
