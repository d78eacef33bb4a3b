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
import time
from collections import deque

from contracts.bundle import GoldenAnswer
from contracts.serving_api import MAX_FRAME_BYTES, StreamStart
from serving.bundles import Loaded
from serving.calls import Call, Desk
from serving.ingress import check_language
from serving.link import Answer, Heard, LinkStream, Restarted, ServingFailure
from serving.preprocess import StreamPreprocessor
from serving.redaction import redact_partial
from serving.shadow import MAX_COPY_S, Shadow
from serving.sockets import Cancelled, Control, Opening, Socket, admitted, concluded, control, ready
from speech.runtimes import Samples


class Streams:
    """Hears streams."""

    def __init__(self, desk: Desk, shadow: Shadow) -> None:
        self._desk = desk
        self._shadow = shadow

    async def talk(self, socket: Socket, opening: Opening) -> None:
        """From `start` to `final`; what happened is recorded whatever it was."""
        desk = self._desk
        start = await socket.first(StreamStart, '{"type": "start", "sample_rate": HZ}')
        call = admitted(desk, opening, start)
        conversation = _Conversation(socket, desk)
        text = await concluded(desk, socket, call, conversation.run(call, start))
        if text is None:
            return
        desk.record(call, status=200)
        self._shadow.copy(call, GoldenAnswer(text), conversation.chunks)
        # A client that closed as soon as it had its final has left in order.
        await socket.leave(None, 1000)


class _Conversation:
    """One open WebSocket."""

    def __init__(self, socket: Socket, desk: Desk) -> None:
        self._socket = socket
        self._desk = desk
        self.chunks: list[Samples] = []
        self._heard_at: deque[float] = deque()
        self._restarts: deque[float] = deque()
        self._begins_s = 0.0
        self._first_audio: float | None = None
        self._ended: float | None = None
        self._shown: list[str] = []

    async def run(self, call: Call, start: StreamStart) -> str:
        """From `ready` to `final`; the final text."""
        bundle = await call.worker.description(call.deadline_s)
        check_language(start.language, bundle.languages)
        audio = StreamPreprocessor(start.sample_rate, bundle.contract)
        call.sent_rate_hz = start.sample_rate
        async with await call.worker.stream(deadline_s=call.deadline_s, priority=call.priority) as stream:
            await self._socket.send(ready(call))
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
                message = await self._socket.receive()
            if isinstance(message, str):
                await self._obey(control(message) if self._ended is None else _late(message), call, audio, stream)
            elif self._ended is not None:
                continue
            elif len(message) > MAX_FRAME_BYTES:
                raise ServingFailure("too_large", f"a frame is larger than {MAX_FRAME_BYTES} bytes")
            elif (samples := audio.accept(message)).size:
                await self._feed(call, audio, stream, samples)
            self._first_audio = self._first_audio or time.monotonic()

    async def _obey(self, asked: Control | None, call: Call, audio: StreamPreprocessor, stream: LinkStream) -> None:
        if asked == "cancel":
            raise Cancelled
        if asked == "barge_in":
            audio.restart()
            self._restarts.append(audio.audio_s)
            self.chunks.clear()
            stream.restart()
        elif asked == "end":
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
            self.chunks.append(samples)
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
        await self._socket.send({"type": "restarted", "audio_s": self._begins_s, "bundle": call.bundle})

    async def _partial(self, call: Call, bundle: Loaded, said: Heard, audio_s: float) -> None:
        began = time.perf_counter()
        text, committed = redact_partial(said.text or "", said.committed, bundle.filters)
        call.postprocess_ms += (time.perf_counter() - began) * 1000
        words = text.split()
        self._count(call, words)
        if call.first_partial_ms is None and words and self._first_audio is not None:
            call.first_partial_ms = (time.monotonic() - self._first_audio) * 1000
        await self._socket.send(
            {"type": "partial", "text": text, "committed": committed, "audio_s": audio_s, "bundle": call.bundle}
        )

    async def _final(self, call: Call, bundle: Loaded, answer: Answer) -> str:
        final = self._desk.finish(call, bundle, answer).later(self._begins_s)
        self._count(call, final.text.split(), shown=False)
        await self._socket.send(
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
        return "cancel" if control(message) == "cancel" else None
    return None
