"""An utterance that is heard on a WebSocket: its frames in, its hypotheses out. Streams and turns share it.

Boundary: one call, one worker's stream, one socket; who says what when is the business of streams.py and dialogue.py.
Invariants: the first `committed` words of a partial never change until a barge-in begins a new utterance; a client that
sends faster than the model hears is made to wait.
"""

from __future__ import annotations

import time
from collections import deque
from typing import NamedTuple

from contracts.serving_api import MAX_FRAME_BYTES
from serving.bundles import Loaded
from serving.calls import Call, Desk
from serving.link import Heard, LinkStream, Restarted, ServingFailure
from serving.preprocess import StreamPreprocessor
from serving.redaction import redact_partial
from serving.shadow import MAX_COPY_S
from serving.sockets import Socket
from speech.runtimes import Samples


class Asked(NamedTuple):
    """Who is heard, where, by what."""

    desk: Desk
    socket: Socket
    call: Call
    bundle: Loaded


class Hearing:
    """One utterance, or several after barge-ins.

    Attributes:
        chunks: the samples of the utterance, where a shadow will hear them.
        begins_s: where the utterance begins, in seconds of the stream's audio.
        ended: when its end was said, on the monotonic clock.
    """

    def __init__(self, asked: Asked, stream: LinkStream, rate_hz: int, *, partials: bool) -> None:
        self._desk, self._socket, self._call, self._bundle = asked
        self._stream = stream
        self._audio = StreamPreprocessor(rate_hz, asked.bundle.contract)
        self._partials = partials
        self._call.sent_rate_hz = rate_hz
        self.chunks: list[Samples] = []
        self.begins_s = 0.0
        self.ended: float | None = None
        self._heard_at: deque[float] = deque()
        self._restarts: deque[float] = deque()
        self._first_audio: float | None = None
        self._shown: list[str] = []

    # ---- in -----------------------------------------------------------------------------------------------------
    async def accept(self, frame: bytes) -> None:
        """Pass a frame on; raises ServingFailure."""
        if len(frame) > MAX_FRAME_BYTES:
            raise ServingFailure("too_large", f"a frame is larger than {MAX_FRAME_BYTES} bytes")
        if (samples := self._audio.accept(frame)).size:
            await self._feed(samples)
        self._first_audio = self._first_audio or time.monotonic()

    async def end(self) -> None:
        """No more audio comes; raises ServingFailure where there was none."""
        if not self._audio.audio_s:
            raise ServingFailure("empty_audio", "the stream ended before any audio")
        if (rest := self._audio.flush()).size:
            await self._feed(rest)
        self.ended = time.monotonic()
        self._stream.end()

    def restart(self) -> None:
        """A barge-in: what was heard is dropped, and a new utterance begins here."""
        self._audio.restart()
        self._restarts.append(self._audio.audio_s)
        self.chunks.clear()
        self._stream.restart()

    async def _feed(self, samples: Samples) -> None:
        call, audio_s = self._call, self._audio.audio_s
        call.audio_s = audio_s
        self._heard_at.append(audio_s)
        if call.route.shadow is not None and audio_s <= MAX_COPY_S:
            self.chunks.append(samples)
        try:
            await self._stream.feed(samples)
        except TimeoutError:
            raise ServingFailure("deadline", "the audio was not heard within the deadline") from None

    # ---- out ----------------------------------------------------------------------------------------------------
    async def said(self, said: Heard | Restarted) -> None:
        """Pass a hypothesis on, redacted, or that a barge-in was taken."""
        if isinstance(said, Restarted):
            self.begins_s = self._restarts.popleft()
            self._shown = []
            await self._socket.send({"type": "restarted", "audio_s": self.begins_s, "bundle": self._call.bundle})
            return
        audio_s = self._heard_at.popleft()
        self._call.work(said)
        if said.text is not None and self._partials and not self._degraded():
            await self._partial(said, audio_s)

    def final(self, text: str) -> None:
        """The words of the final: those shown before that are not among them were taken back."""
        self._count(text.split(), shown=False)

    def measured(self) -> None:
        """Put what was measured of the audio into the call."""
        self._call.acoustics, self._call.preprocess_ms = self._audio.acoustics(), self._audio.took_ms

    def _degraded(self) -> bool:
        """Whether partials have to be left out now: by the route table, or while the queue is too full."""
        call = self._call
        if call.route.degraded == "no_partials":
            return True
        limit = self._desk.no_partials_at
        if limit is None or call.worker.load < limit:
            return False
        if call.degraded == "no":
            call.degraded = "no_partials"
        return True

    async def _partial(self, said: Heard, audio_s: float) -> None:
        call = self._call
        began = time.perf_counter()
        text, committed = redact_partial(said.text or "", said.committed, self._bundle.filters)
        call.postprocess_ms += (time.perf_counter() - began) * 1000
        words = text.split()
        self._count(words)
        if call.first_partial_ms is None and words and self._first_audio is not None:
            call.first_partial_ms = (time.monotonic() - self._first_audio) * 1000
        await self._socket.send(
            {"type": "partial", "text": text, "committed": committed, "audio_s": audio_s, "bundle": call.bundle}
        )

    def _count(self, words: list[str], *, shown: bool = True) -> None:
        """Count words shown in partials, and those shown that were taken back (churn)."""
        before = self._shown
        kept = 0
        while kept < min(len(before), len(words)) and before[kept] == words[kept]:
            kept += 1
        self._call.unstable_words += len(before) - kept
        if shown:
            self._call.partial_words += len(words) - kept
            self._shown = words
