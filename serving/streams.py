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

from contracts.bundle import GoldenAnswer
from contracts.serving_api import StreamStart
from serving.calls import Call, Desk
from serving.hearing import Asked, Hearing
from serving.ingress import check_language
from serving.link import Answer, Heard, LinkStream, Restarted, ServingFailure
from serving.shadow import Shadow
from serving.sockets import Cancelled, Control, Opening, Socket, admitted, concluded, control, race, ready
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

    async def run(self, call: Call, start: StreamStart) -> str:
        """From `ready` to `final`; the final text."""
        bundle = await call.worker.description(call.deadline_s)
        check_language(start.language, bundle.languages)
        asked = Asked(self._desk, self._socket, call, bundle)
        async with await call.worker.stream(deadline_s=call.deadline_s, priority=call.priority) as stream:
            hearing = Hearing(asked, stream, start.sample_rate, partials=start.partials)
            self.chunks = hearing.chunks
            await self._socket.send(ready(call))
            try:
                return await race(call, self._listen(hearing), self._answer(asked, hearing, stream))
            finally:
                hearing.measured()

    async def _listen(self, hearing: Hearing) -> None:
        """Pass the client's audio on; after its end only its leaving and cancelling matter."""
        while True:
            async with asyncio.timeout(None if hearing.ended else self._desk.deadline_s):
                message = await self._socket.receive()
            if isinstance(message, str):
                await self._obey(control(message) if hearing.ended is None else _late(message), hearing)
            elif hearing.ended is None:
                await hearing.accept(message)

    @staticmethod
    async def _obey(asked: Control | None, hearing: Hearing) -> None:
        if asked == "cancel":
            raise Cancelled
        if asked == "barge_in":
            hearing.restart()
        elif asked == "end":
            await hearing.end()

    async def _answer(self, asked: Asked, hearing: Hearing, stream: LinkStream) -> str:
        """Pass the worker's hypotheses on; returns the final text."""
        while not isinstance(said := await stream.next(), Answer):
            if isinstance(said, Heard | Restarted):
                await hearing.said(said)
        final = self._desk.finish(asked.call, asked.bundle, said).later(hearing.begins_s)
        hearing.final(final.text)
        await self._socket.send(
            {
                "type": "final",
                "text": final.text,
                "words": final.words_json(),
                "confidence": final.confidence,
                "audio_s": asked.call.audio_s,
                "bundle": asked.call.bundle,
                "request_id": asked.call.request_id,
            }
        )
        if hearing.ended is not None:
            asked.call.latency_ms = (time.monotonic() - hearing.ended) * 1000
        return final.text


def _late(message: str) -> Control | None:
    """What a message after the end asks for: nothing but a cancellation still matters (fault 60)."""
    with contextlib.suppress(ServingFailure):
        return "cancel" if control(message) == "cancel" else None
    return None
