"""Speech over a WebSocket: one text in, frames of audio out while it is made (contracts/serving_api.py).

Boundary: one ASGI WebSocket at a time, over a Desk.
Invariants: no more is made than the client reads; a client that leaves or cancels ends the making at once; the text is
in no log and no telemetry.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

from contracts.serving_api import SpeechStart
from serving.calls import Call, Desk
from serving.encoding import pcm16
from serving.shadow import Shadow
from serving.sockets import Cancelled, Opening, Socket, admitted, concluded, control, race, ready
from serving.speech import check_voice, chunks
from speech.runtimes import Samples

FRAME_S = 0.2
"""Seconds of audio in a frame: a player can begin with the first, and one that is cut off loses little."""


class SpeechStreams:
    """Says texts over WebSockets."""

    def __init__(self, desk: Desk, shadow: Shadow) -> None:
        self._desk = desk
        self._shadow = shadow

    async def talk(self, socket: Socket, opening: Opening) -> None:
        """From `start` to `done`; what happened is recorded whatever it was."""
        desk = self._desk
        start = await socket.first(SpeechStart, '{"type": "start", "input": TEXT}')
        call = admitted(desk, opening, start)
        call.made.characters = len(start.input)
        if await concluded(desk, socket, call, _say(socket, call, start)) is None:
            return
        desk.record(call, status=200)
        self._shadow.speak(call, start.input)
        await socket.leave(None, 1000)


async def _say(socket: Socket, call: Call, start: SpeechStart) -> bool:
    """Send all of it; raises what ends it before: ServingFailure, Cancelled, Unread, WebSocketDisconnect."""
    await call.worker.description(call.deadline_s)
    check_voice(call, start.voice, start.input)
    await race(call, _listen(socket), _said(socket, call, start))
    return True


async def _said(socket: Socket, call: Call, start: SpeechStart) -> None:
    rate_hz: int = call.worker.facts["voice_rate_hz"]
    try:
        async with call.worker.speak(start.input, deadline_s=call.deadline_s, priority=call.priority) as speech:
            call.worker_died, call.retries = speech.died, speech.died
            await socket.send(ready(call, sample_rate=rate_hz))
            await send_speech(socket, chunks(call, speech, since=call.began), rate_hz)
    finally:
        call.audio_s = call.made.spoken_s or 0.0
        call.latency_ms = (time.monotonic() - call.began) * 1000
    await socket.send({"type": "done", "audio_s": call.audio_s, "bundle": call.bundle, "request_id": call.request_id})


async def send_speech(socket: Socket, speech: AsyncIterator[Samples], rate_hz: int) -> None:
    """Send samples as frames of 16-bit PCM."""
    step = round(FRAME_S * rate_hz) * 2
    async for samples in speech:
        pcm = pcm16(samples)
        for offset in range(0, len(pcm), step):
            await socket.send(pcm[offset : offset + step])


async def _listen(socket: Socket) -> None:
    """Wait until the client cancels or leaves; nothing else that it may say matters."""
    while True:
        message = await socket.receive()
        if isinstance(message, str) and control(message) == "cancel":
            raise Cancelled
