"""Where the speech of synthetic eval packs is made: scripts in, recordings out.

Purpose: an eval pack says what is said by whom under which condition; this module speaks it with espeak-ng.
Boundary: writes `audio/ID.wav` below the folder it is given, mono PCM16 at RATE_HZ; what is said is the caller's.
Invariants: the same scripts give the same bytes, twice in a row and in any process (speech.shards); the test voices
alone are used, which no training utterance is spoken by.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from speech.conditions import CONDITIONS
from speech.corpus import ACCENTS, TEST_VARIANTS, speech_bounds
from speech.noise import Signal, set_level
from speech.shards import dealt, in_fresh_processes
from speech.synthesis import Synthesizer

RATE_HZ = 16_000
LEVEL_DB = -24.0
"""RMS of every line to full scale, so that voices and languages within one utterance are equally loud."""


class Line(Protocol):
    """Words that one voice says without a break."""

    @property
    def text(self) -> str:
        """What is said."""

    @property
    def voice(self) -> str:
        """Language and variant of espeak-ng, like `en-us+Alex`."""

    @property
    def rate_wpm(self) -> int:
        """Words a minute."""

    @property
    def pitch(self) -> int:
        """0 to 99."""

    @property
    def pause_s(self) -> float:
        """Silence before the next line."""


class Script(Protocol):
    """One utterance: its lines one after the other."""

    @property
    def utterance_id(self) -> str:
        """Name of the file without its ending."""

    @property
    def lines(self) -> Sequence[Line]:
        """What the speaker says, in order."""

    @property
    def background(self) -> Sequence[Line]:
        """What others say meanwhile, each over the whole utterance; for the condition `babble`."""

    @property
    def condition(self) -> str:
        """A name of speech.conditions.CONDITIONS."""

    @property
    def lead_s(self) -> float:
        """Silence before the first line."""

    @property
    def trail_s(self) -> float:
        """Silence after the last line."""

    @property
    def seed(self) -> int:
        """Of the voices and of the condition."""


class Studio:
    """English accents (name -> espeak-ng voice) and voice variants to cast from, and the recording of scripts."""

    accents: Mapping[str, str] = ACCENTS
    variants: Sequence[str] = TEST_VARIANTS

    def record(
        self, scripts: Sequence[Script], folder: Path, on_progress: Callable[[int, int], None] | None = None
    ) -> dict[str, float]:
        """Write `audio/ID.wav` of every script below `folder`; ID -> end of speech in s from the start of the file."""
        (folder / "audio").mkdir(parents=True, exist_ok=True)
        ends_s: dict[str, float] = {}
        for done in in_fresh_processes(partial(_record, folder=folder), dealt(scripts)):
            ends_s |= done
            if on_progress is not None:
                on_progress(len(ends_s), len(scripts))
        return ends_s


class Take(NamedTuple):
    """What was recorded, (samples,) at RATE_HZ, and where its speech ends in s."""

    samples: Signal
    speech_end_s: float


def perform(synthesizer: Synthesizer, script: Script) -> Take:
    """One script, spoken and put under its condition."""
    spoken = _spoken(synthesizer, script.lines, script.seed)
    samples = np.concatenate([_silence(script.lead_s), spoken, _silence(script.trail_s)])
    others = np.zeros_like(samples)
    for place, line in enumerate(script.background):
        voice = _spoken(synthesizer, [line], script.seed + place + 1)
        others += np.resize(voice, samples.size)  # a short line is said again until the utterance ends
    generator = np.random.default_rng(script.seed)
    heard = CONDITIONS[script.condition](samples, RATE_HZ, generator, others)
    return Take(heard, (samples.size / RATE_HZ) - script.trail_s)


def _record(scripts: Sequence[Script], folder: Path) -> dict[str, float]:
    """Speak and write one shard; runs in a process of its own."""
    import soundfile

    synthesizer = Synthesizer()
    ends_s = {}
    for script in scripts:
        take = perform(synthesizer, script)
        soundfile.write(folder / f"audio/{script.utterance_id}.wav", take.samples, RATE_HZ, subtype="PCM_16")
        ends_s[script.utterance_id] = take.speech_end_s
    return ends_s


def _spoken(synthesizer: Synthesizer, lines: Sequence[Line], seed: int) -> Signal:
    """Lines at one level, without the silence that espeak-ng puts around them, with the pauses between them."""
    import soxr

    parts: list[Signal] = []
    for place, line in enumerate(lines):
        said = synthesizer.say(line.text, voice=line.voice, rate_wpm=line.rate_wpm, pitch=line.pitch, seed=seed).samples
        first, last = speech_bounds(said)
        part = soxr.resample(said[first:last], synthesizer.sample_rate_hz, RATE_HZ, quality="HQ")
        parts.append(set_level(part, LEVEL_DB))
        if place < len(lines) - 1:
            parts.append(_silence(line.pause_s))
    return np.concatenate(parts)


def _silence(seconds: float) -> Signal:
    return np.zeros(round(seconds * RATE_HZ), np.float32)
