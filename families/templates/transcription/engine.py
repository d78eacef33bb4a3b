"""A recogniser of a language whose words are tones: a frame is the nearest tone, a word a run of equal frames.

Boundary: reads its payload when it is loaded and nothing afterwards.
Invariants: what is heard does not depend on how the audio is cut into chunks; a word that was shown stays.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from speech.runtimes import Partial, Samples, TimedWord, Transcript

RATE_HZ = 16_000
FRAME = 800
"""Samples of a frame: 50 ms."""
SHORTEST = 3
"""Frames of a word."""
APART = 0.25
"""How far a tone may be off (natural log of the ratio of frequencies)."""


class Tone(NamedTuple):
    """The strongest frequency of a frame in Hz, and its share of the frame's energy."""

    hz: float
    share: float


def tone(frame: Samples) -> Tone:
    """The tone of a frame, (FRAME,)."""
    power = np.abs(np.fft.rfft(frame * np.hanning(FRAME))) ** 2 + 1e-9
    peak = int(power[1:-2].argmax()) + 1
    return Tone(peak * RATE_HZ / FRAME, float(power[peak - 1 : peak + 2].sum() / power.sum()))


class Hearing:
    """One utterance, frame by frame."""

    def __init__(self, tones_hz: dict[str, float], share: float) -> None:
        self._tones_hz, self._share = tones_hz, share
        self._rest: Samples = np.zeros(0, dtype=np.float32)
        self._frames, self._run, self._sounding = 0, 0, ""
        self._words: list[TimedWord] = []

    def accept(self, chunk: Samples) -> Partial | None:
        """Hear a chunk, (samples,); a Partial when a word began."""
        before = len(self._words)
        heard = np.concatenate([self._rest, chunk])
        whole = heard.size // FRAME * FRAME
        self._rest = heard[whole:]
        for frame in heard[:whole].reshape(-1, FRAME):
            self._hear(frame)
        return Partial(self._text(), len(self._words)) if len(self._words) > before else None

    def finish(self) -> Transcript:
        """Every word, with its times."""
        return Transcript(self._text(), tuple(self._words))

    def _hear(self, frame: Samples) -> None:
        heard = tone(frame)
        apart = {word: abs(np.log(hz / heard.hz)) for word, hz in self._tones_hz.items()}
        word = min(apart, key=lambda word: apart[word])
        if heard.share < self._share or apart[word] > APART:
            word = ""
        self._run = self._run + 1 if word == self._sounding else 1
        self._sounding, self._frames = word, self._frames + 1
        end_s = self._frames * FRAME / RATE_HZ
        if word and self._run == SHORTEST:
            self._words.append(TimedWord(word, end_s - SHORTEST * FRAME / RATE_HZ, end_s, None))
        elif word and self._run > SHORTEST:
            self._words[-1] = self._words[-1]._replace(end_s=end_s)

    def _text(self) -> str:
        return " ".join(word.word for word in self._words)


class Engine:
    """A loaded recogniser: the tone of each word in Hz, and what share of a frame's energy it must have."""

    task: Literal["transcription"] = "transcription"
    sample_rate_hz = RATE_HZ
    streaming = True

    def __init__(self, model: dict[str, Any]) -> None:
        self._model = model

    def stream(self) -> Hearing:
        """Start hearing an utterance."""
        return Hearing(self._model["tones_hz"], self._model["share"])

    def transcribe(self, audio: Samples) -> Transcript:
        """The transcript of a whole utterance, (samples,)."""
        stream = self.stream()
        stream.accept(audio)
        return stream.finish()


def load(payload: Path, *, threads: int = 1) -> Engine:
    """Load `model.json`; `threads` means nothing to so small a model."""
    del threads
    return Engine(json.loads((payload / "model.json").read_text()))
