"""Speech on its way from a worker to a client: its chunks in order, and what is counted of them.

Boundary: one call and the stream that answers it; routes turn the samples into bytes.
Invariants: the next chunk is asked for when the one before was taken, so that a slow client holds few; speech ends at
once when its bundle is withdrawn (R7.6), and after the deadline where nothing comes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Protocol

from contracts.serving_api import ANY_VOICE
from serving.calls import Call
from serving.link import MESSAGES, Chunk, Said, ServingFailure, Spoken, WorkerGone
from speech.playback import Playback
from speech.runtimes import Samples


class Source(Protocol):
    """Where speech comes from: serving.pool.Speech, or a turn's serving.link.LinkStream."""

    async def next(self) -> Said:
        """What comes next."""
        ...


async def chunks(call: Call, source: Source, *, since: float) -> AsyncIterator[Samples]:
    """The samples of a reply, chunk by chunk; counts them in `call.made`.

    Args:
        since: when whoever asked had said all of it, on the monotonic clock.

    Raises ServingFailure.
    """
    playback = Playback()
    call.made.spoken_s, call.made.starved = 0.0, 0
    while True:
        said = await _next(call, source)
        if isinstance(said, Spoken):
            call.work(said)
            call.made.cached = said.cached
            return
        if isinstance(said, Chunk):
            now = time.monotonic()
            call.work(said)
            playback.came(said.samples.size / call.worker.facts["voice_rate_hz"], now)
            if call.made.first_audio_ms is None:
                call.made.first_audio_ms = (now - since) * 1000
            call.made.spoken_s, call.made.starved = playback.seconds, int(playback.starved)
            yield said.samples


async def _next(call: Call, source: Source) -> Said:
    if call.worker.withdrawn.is_set():
        raise ServingFailure("withdrawn", "the model of this speech was withdrawn; ask again")
    try:
        async with asyncio.timeout(call.deadline_s):
            return await source.next()
    except TimeoutError:
        raise ServingFailure("deadline", MESSAGES["deadline"]) from None
    except WorkerGone:
        died = ServingFailure("internal", "the worker of this speech died")
        died.worker_died = 1
        raise died from None


def check_voice(call: Call, voice: str, text: str) -> None:
    """Refuse a voice that the bundle does not have, and a text that is longer than it says at once."""
    facts = call.worker.facts
    if voice not in (ANY_VOICE, facts["voice"]):
        raise ServingFailure(
            "bad_request", f"this model has one voice: ask for {facts['voice']!r} or {ANY_VOICE!r}", param="voice"
        )
    if len(text) > facts["max_characters"]:
        raise ServingFailure(
            "bad_request", f"this voice says at most {facts['max_characters']} characters at once", param="input"
        )
