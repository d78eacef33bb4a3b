"""Hearing a turn: partials of a recogniser that hears audio as a whole, and its final while the speaker is silent.

Boundary: no I/O, no clock; what was heard is dropped with the turn.
Invariants: the final transcript depends on the audio alone, not on how it was cut into chunks nor on which partials
were shown; audio after the last loud block and its margin is not heard at all, so that it costs nothing to have heard
the rest before; a recogniser that streams is asked as the stream it is; nothing that is shown is promised to stay.
Source: hearing the growing audio again is what makes streams of offline recognisers (Liu et al. 2020, "Low-Latency
Sequence-to-Sequence Speech Recognition and Translation by Partial Hypothesis Selection"); the wait for an endpoint is
time in which the final can be made.
"""

from __future__ import annotations

import numpy as np

from speech.noise import rms
from speech.runtimes import Partial, Runtime, Samples, Stream, Transcript

BLOCK_S = 0.02
"""Loudness is looked at in blocks of this length."""
QUIET_SHARE = 0.05
"""A block is silence below this share of the loudest block so far (-26 dB)."""
MARGIN_S = 0.2
"""Audio kept after the last loud block: the ends of words are quiet."""
GROWTH = 0.25
"""A partial is heard again when this share of what is heard came new, so that the work stays in proportion."""


class Rehearing:
    """One utterance for a runtime that does not stream (speech.runtimes.Stream).

    Args:
        runtime: hears all audio so far, again and again.
        every_s: seconds of audio between two partials, at least.
        in_pauses: hear what may be the final as soon as the speaker pauses.
    """

    def __init__(self, runtime: Runtime, *, every_s: float, in_pauses: bool) -> None:
        self._runtime = runtime
        self._every_s, self._in_pauses = every_s, in_pauses
        self._audio: Samples = np.zeros(0, np.float32)
        self._block = round(BLOCK_S * runtime.sample_rate_hz)
        self._looked_at = 0
        self._loudest = 0.0
        self._speech_end = 0
        self._heard: tuple[int, Transcript] | None = None
        """Samples that were heard last, and what was heard in them."""
        self._shown = ""

    def accept(self, chunk: Samples) -> Partial | None:
        """Hear the next chunk; a Partial when the hypothesis changed."""
        self._audio = np.concatenate([self._audio, chunk])
        self._look()
        if not self._due():
            return None
        text = self._hear(min(self._end(), self._audio.size)).text
        if text == self._shown:
            return None
        self._shown = text
        return Partial(text, 0)

    def finish(self) -> Transcript:
        """The transcript up to the end of speech. Asked again, it says the same."""
        end = min(self._end(), self._audio.size)
        return self._hear(end) if end else Transcript("")

    @property
    def settled(self) -> bool:
        """Whether the final of what came so far is known already: the speaker's silence was noticed."""
        return self._heard is not None and self._heard[0] == min(self._end(), self._audio.size)

    def _look(self) -> None:
        """Where speech ended so far, block by block of the audio, whatever the chunks were."""
        for start in range(self._looked_at, self._audio.size - self._block + 1, self._block):
            level = rms(self._audio[start : start + self._block])
            self._loudest = max(self._loudest, level)
            if level > 0 and level >= QUIET_SHARE * self._loudest:
                self._speech_end = start + self._block
            self._looked_at = start + self._block

    def _end(self) -> int:
        """Samples up to the end of speech, with its margin; may be more than there are."""
        return self._speech_end + round(MARGIN_S * self._runtime.sample_rate_hz) if self._speech_end else 0

    def _due(self) -> bool:
        end, there = self._end(), self._audio.size
        known = self._heard[0] if self._heard else 0
        if not end or min(end, there) == known:
            return False
        new = min(end, there) - known
        partial = new >= max(self._every_s * self._runtime.sample_rate_hz, GROWTH * known)
        return partial or (self._in_pauses and end <= there)

    def _hear(self, end: int) -> Transcript:
        if self._heard is None or self._heard[0] != end:
            self._heard = (end, self._runtime.transcribe(self._audio[:end]))
        return self._heard[1]


def hear(runtime: Runtime, *, every_s: float, in_pauses: bool) -> Stream:
    """Begin to hear one utterance."""
    return runtime.stream() if runtime.streaming else Rehearing(runtime, every_s=every_s, in_pauses=in_pauses)
