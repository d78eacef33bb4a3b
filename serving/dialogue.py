"""`/v1/assistant`: a dialogue over a WebSocket, turn by turn (contracts/serving_api.py).

Boundary: one ASGI WebSocket at a time, over a Desk.
Invariants: all turns stay on the bundle of the first, unless it is closed (R7.6); a tenant is the caller's, never the
client's word against it; after a barge-in nothing more is said of the reply that it broke off; text leaves redacted,
and a reply that redaction has changed is not spoken; each turn is recorded once, without its words.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import replace
from typing import Literal

from contracts.bundle import GoldenAnswer
from contracts.serving_api import AssistantStart
from serving.bundles import Loaded
from serving.calls import CLIENT_GONE_STATUS, Call, Desk, Made
from serving.hearing import Asked, Hearing
from serving.ingress import check_language, trace_of
from serving.link import Heard, LinkStream, Replied, Restarted, ServingFailure
from serving.shadow import Shadow
from serving.sockets import Cancelled, Opening, Socket, admitted, concluded, control, race, ready
from serving.speech import chunks
from serving.speech_stream import send_speech
from speech.runtimes import Samples

IDLE_S = 300.0
"""How long nobody may say anything between two turns."""

Ending = Literal["done", "interrupted"]


class Dialogues:
    """Holds dialogues."""

    def __init__(self, desk: Desk, shadow: Shadow) -> None:
        self._desk = desk
        self._shadow = shadow

    async def talk(self, socket: Socket, opening: Opening) -> None:
        """From `start` until the client leaves; each turn is recorded, whatever it was."""
        desk = self._desk
        start = await socket.first(AssistantStart, '{"type": "start", "sample_rate": HZ}')
        call = admitted(desk, opening, start)
        with call.worker.hold():
            bundle = await concluded(desk, socket, call, _opened(socket, call, start))
            number = 0
            while bundle is not None:
                frame = await _first_frame(socket, call)
                if frame is None:
                    return
                turn = _Turn(Asked(desk, socket, call, bundle), start, number)
                ending = await concluded(desk, socket, call, turn.run(frame))
                if ending is None:
                    return
                self._record(call, turn, ending)
                number += 1
                call = _next(call, barge_ins=int(ending == "interrupted"))

    def _record(self, call: Call, turn: _Turn, ending: Ending) -> None:
        if turn.said is None:
            self._desk.record(call, status=CLIENT_GONE_STATUS, error_code=ending)
            return
        self._desk.record(call, status=200)
        if ending == "done":
            self._shadow.copy(call, turn.said, turn.clips)


def _next(call: Call, *, barge_ins: int) -> Call:
    """The next turn of a dialogue: the same route and worker, a request of its own."""
    now = time.monotonic()
    begun = replace(call.again(call.worker), trace=trace_of(""), admitted=now, audio_s=0.0, acoustics=None)
    begun.preprocess_ms, begun.made = 0.0, Made(barge_ins=barge_ins)
    return begun


async def _opened(socket: Socket, call: Call, start: AssistantStart) -> Loaded:
    bundle = await call.worker.description(call.deadline_s)
    check_language(start.language, bundle.languages)
    call.made.barge_ins = 0
    await socket.send(ready(call, voice_rate=call.worker.facts["voice_rate_hz"]))
    return bundle


async def _first_frame(socket: Socket, call: Call) -> bytes | None:
    """The frame that begins the next turn; None where the client cancelled and has been left.

    A barge-in that comes now broke off a reply that had been sent, and was still being played.
    """
    async with asyncio.timeout(IDLE_S):
        while isinstance(message := await socket.receive(), str):
            asked = control(message)
            if asked == "end":
                raise ServingFailure("empty_audio", "the turn ended before any audio")
            if asked == "cancel":
                await socket.leave({"type": "cancelled", "request_id": call.request_id, "bundle": call.bundle}, 1000)
                return None
            call.made.barge_ins = 1
            await socket.send({"type": "restarted", "audio_s": 0.0, "bundle": call.bundle})
    return message


class _Interrupted(Exception):
    """The user spoke while the reply was made or spoken."""


class _Turn:
    """One turn.

    Attributes:
        said: what was understood and replied, as it left, in the form of golden outputs; None before.
        clips: the samples that were heard, where a shadow will hear them.
    """

    def __init__(self, asked: Asked, start: AssistantStart, number: int) -> None:
        self._asked = asked
        self._start = start
        self._number = number
        self.said: GoldenAnswer | None = None
        self.clips: list[Samples] = []
        self._broken_off = self._cancelled = self._over = False

    async def run(self, frame: bytes) -> Ending:
        """From its first frame to its end; raises what ends the dialogue."""
        call, start = self._asked.call, self._start
        tenant = call.labels.get("tenant", "")
        async with await call.worker.stream(
            deadline_s=call.deadline_s, priority=call.priority, tenant=tenant
        ) as stream:
            hearing = Hearing(self._asked, stream, start.sample_rate, partials=start.partials)
            self.clips = hearing.chunks
            try:
                with suppress(_Interrupted):
                    await race(call, self._listen(hearing, frame), self._answer(hearing, stream))
            finally:
                hearing.measured()
                if hearing.ended is not None:
                    call.latency_ms = (time.monotonic() - hearing.ended) * 1000
            # Both perhaps in the moment in which all had been said.
            if self._cancelled:
                raise Cancelled
            if self._broken_off:
                await self._asked.socket.send({"type": "restarted", "audio_s": call.audio_s, "bundle": call.bundle})
                return "interrupted"
        return "done"

    # ---- in -----------------------------------------------------------------------------------------------------
    async def _listen(self, hearing: Hearing, frame: bytes) -> None:
        """Pass the user's speech on; after its end only a barge-in, cancelling and leaving matter."""
        await hearing.accept(frame)
        while True:
            async with asyncio.timeout(None if hearing.ended else self._asked.call.deadline_s):
                message = await self._asked.socket.receive()
            if self._over:  # said by a client that knows so: it begins the next turn
                return self._asked.socket.give_back(message)
            if isinstance(message, str):
                await self._obey(message, hearing)
            elif hearing.ended is None:
                await hearing.accept(message)

    async def _obey(self, message: str, hearing: Hearing) -> None:
        asked = control(message)
        if asked == "cancel":
            self._cancelled = True
            raise Cancelled
        if asked == "barge_in":
            if hearing.ended is not None:
                self._broken_off = True
                raise _Interrupted
            self._asked.call.made.barge_ins = (self._asked.call.made.barge_ins or 0) + 1
            hearing.restart()
        elif hearing.ended is None:
            await hearing.end()

    # ---- out ----------------------------------------------------------------------------------------------------
    async def _answer(self, hearing: Hearing, stream: LinkStream) -> None:
        """What is understood, the reply, its speech."""
        while not isinstance(said := await stream.next(), Replied):
            if isinstance(said, Heard | Restarted):
                await hearing.said(said)
        assert hearing.ended is not None
        _, socket, call, _ = self._asked
        spoken = await self._reply(hearing, said)
        if spoken:
            rate_hz: int = call.worker.facts["voice_rate_hz"]
            await send_speech(socket, chunks(call, stream, since=hearing.ended), rate_hz)
        self._over = True
        done = {"turn": self._number, "audio_s": call.made.spoken_s or 0.0, "request_id": call.request_id}
        await socket.send({"type": "done", **done, "bundle": call.bundle})

    async def _reply(self, hearing: Hearing, said: Replied) -> bool:
        """Send the reply; whether it may be spoken: what redaction took out of its text would be heard."""
        desk, socket, call, bundle = self._asked
        call.work(said)
        heard = desk.finish(call, bundle, said.heard).text
        text = desk.redacted(call, bundle, said.text)
        hearing.final(heard)
        self.said = GoldenAnswer(f"{heard}\n{text}", ",".join(said.citations))
        made = call.made
        made.tokens, made.handoff, made.grounded = said.tokens, int(said.handoff), int(said.grounded)
        made.citations, made.reply_words, made.characters = len(said.citations), len(text.split()), len(text)
        made.index_age_s = said.index_age_s
        spoken = text == said.text
        await socket.send(
            {
                "type": "reply",
                "turn": self._number,
                "heard": heard,
                "text": text,
                "citations": said.citations,
                "grounded": said.grounded,
                "handoff": said.handoff,
                "spoken": spoken,
                "bundle": call.bundle,
                "request_id": call.request_id,
            }
        )
        return spoken
