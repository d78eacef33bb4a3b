"""Sounds without speech: an idle microphone, tones, music, knocks, an alarm, and the noises of speech.noise.

Boundary: no I/O, no clock; every random number comes from the generator that is handed in.
Invariants: signals are float32, shape (samples,); their level is the caller's to set.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from speech.noise import NOISES, Generator, Signal


def silence(count: int, rate_hz: int, generator: Generator) -> Signal:
    """Nothing: what is left is the noise floor of the recording."""
    del rate_hz, generator
    return np.zeros(count, np.float32)


def tone(count: int, rate_hz: int, generator: Generator) -> Signal:
    """A steady beep."""
    seconds = np.arange(count) / rate_hz
    return np.sin(2 * np.pi * generator.uniform(200, 3000) * seconds).astype(np.float32)


def music(count: int, rate_hz: int, generator: Generator) -> Signal:
    """Chords of plucked strings: harmonics that decay, a new chord every few tenths of a second."""
    seconds = np.arange(count) / rate_hz
    played = np.zeros(count)
    beat_s = generator.uniform(0.2, 0.6)
    root = generator.uniform(40, 60)
    for start_s in np.arange(0.0, count / rate_hz, beat_s):
        since = np.maximum(seconds - start_s, 0.0)
        sounding = (seconds >= start_s) * np.exp(-since * generator.uniform(2, 6))
        for step in generator.choice([0, 2, 4, 5, 7, 9, 12], size=3, replace=False):
            base_hz = 440 * 2 ** ((root + step - 57) / 12)
            for order in range(1, 6):
                played += sounding * np.sin(2 * np.pi * base_hz * order * since) / order
    return played.astype(np.float32)


def knocks(count: int, rate_hz: int, generator: Generator) -> Signal:
    """Somebody types or knocks: short bursts, each of a resonance of its own."""
    heard = np.zeros(count)
    at = 0
    while True:
        at += int(generator.uniform(0.08, 0.5) * rate_hz)
        if at >= count:
            return heard.astype(np.float32)
        since = np.arange(count - at) / rate_hz
        ring = np.sin(2 * np.pi * generator.uniform(200, 2500) * since) + 0.5 * generator.standard_normal(since.size)
        heard[at:] += generator.uniform(0.3, 1.0) * ring * np.exp(-since * generator.uniform(40, 150))


def siren(count: int, rate_hz: int, generator: Generator) -> Signal:
    """A tone that glides up and down, with harmonics: an alarm."""
    seconds = np.arange(count) / rate_hz
    low_hz, high_hz = generator.uniform(400, 700), generator.uniform(900, 1600)
    glide = 0.5 + 0.5 * np.sin(2 * np.pi * generator.uniform(0.3, 3.0) * seconds)
    phase = 2 * np.pi * np.cumsum(low_hz + (high_hz - low_hz) * glide) / rate_hz
    return (np.sin(phase) + 0.4 * np.sin(2 * phase) + 0.2 * np.sin(3 * phase)).astype(np.float32)


SOUNDS: Mapping[str, Callable[[int, int, Generator], Signal]] = {
    "silence": silence,
    "tone": tone,
    "music": music,
    "knocks": knocks,
    "siren": siren,
    **NOISES,
}
"""What is heard where nobody speaks."""
