"""Noise, loudness and codecs: what happens to speech between a mouth and a recogniser.

Boundary: no I/O, no clock; every random number comes from the generator that is handed in.
Invariants: signals are float32 in [-1, 1], shape (samples,); the signal-to-noise ratio of `add_noise` is over the
whole utterance and exact before clipping.
Source: ITU-T G.711 for mu-law.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Signal = npt.NDArray[np.float32]
FloatArray = npt.NDArray[np.floating]
Generator = np.random.Generator

NARROWBAND_HZ = 8000
MU = 255.0


def _shaped(count: int, generator: Generator, shape: Callable[[FloatArray], FloatArray]) -> Signal:
    """Gaussian noise whose amplitude spectrum is `shape` of the frequency as a fraction of the sample rate."""
    length = 1 << max(8, (count - 1).bit_length())  # a power of two: transforms of odd lengths take ten times as long
    spectrum = np.fft.rfft(generator.standard_normal(length, dtype=np.float32))
    spectrum *= shape(np.arange(spectrum.size) / length)
    return _unit(np.fft.irfft(spectrum, length)[:count])


def _coloured(count: int, generator: Generator, exponent: float) -> Signal:
    return _shaped(count, generator, lambda fraction: np.maximum(fraction, 1e-4) ** (-exponent / 2))


def white(count: int, rate_hz: int, generator: Generator) -> Signal:
    """Flat spectrum: a bad line."""
    del rate_hz
    return _coloured(count, generator, 0.0)


def pink(count: int, rate_hz: int, generator: Generator) -> Signal:
    """Power falls by 3 dB an octave: wind, a crowd far away."""
    del rate_hz
    return _coloured(count, generator, 1.0)


def engine(count: int, rate_hz: int, generator: Generator) -> Signal:
    """Power falls by 6 dB an octave, with a slow swell: a car."""
    seconds = np.arange(count) / rate_hz
    swell = 1 + 0.4 * np.sin(2 * np.pi * generator.uniform(0.3, 1.5) * seconds + generator.uniform(0, 6.28))
    return _unit(_coloured(count, generator, 1.6) * swell)


def hum(count: int, rate_hz: int, generator: Generator) -> Signal:
    """Mains harmonics over a little white noise: a kitchen appliance."""
    seconds = np.arange(count) / rate_hz
    base_hz = generator.choice([50.0, 60.0, 100.0, 120.0])
    harmonics = np.zeros(count)
    for order in (1, 2, 3, 5, 7, 11):
        level = generator.uniform(0.3, 1.0) / order**0.5
        harmonics += level * np.sin(2 * np.pi * base_hz * order * seconds + generator.uniform(0, 6.28))
    return _unit(_unit(harmonics) + 0.3 * _coloured(count, generator, 0.5))


def fan(count: int, rate_hz: int, generator: Generator) -> Signal:
    """Broad-band noise with a resonance: a fan or an extractor."""
    centre = generator.uniform(300, 2000) / rate_hz
    return _shaped(count, generator, lambda fraction: 0.2 + 1 / (1 + ((fraction - centre) / (0.6 * centre)) ** 2))


NOISES: dict[str, Callable[[int, int, Generator], Signal]] = {
    "white": white,
    "pink": pink,
    "engine": engine,
    "hum": hum,
    "fan": fan,
}


def add_noise(speech: Signal, kind: str, snr_db: float, rate_hz: int, generator: Generator) -> Signal:
    """Speech with noise of a named kind at a signal-to-noise ratio in dB; scaled down where it would clip."""
    noise = NOISES[kind](speech.size, rate_hz, generator)
    level = rms(speech) * 10 ** (-snr_db / 20)
    return _safe(speech + level * noise)


def rms(signal: Signal) -> float:
    """Root mean square of a signal, full scale = 1."""
    return float(np.sqrt(np.mean(np.square(signal, dtype=np.float64)))) if signal.size else 0.0


def set_level(signal: Signal, level_db: float) -> Signal:
    """The signal at a level in dB relative to full scale (RMS); silence stays silence."""
    present = rms(signal)
    return _safe(signal * (10 ** (level_db / 20) / present)) if present > 0 else signal


def narrowband(signal: Signal, rate_hz: int) -> Signal:
    """Through a telephone: 8 kHz and 8 bits of mu-law, and back at the rate it came with."""
    import soxr

    low = np.clip(soxr.resample(signal, rate_hz, NARROWBAND_HZ, quality="HQ"), -1, 1)
    companded = np.sign(low) * np.log1p(MU * np.abs(low)) / np.log1p(MU)
    coded = np.round(companded * 127) / 127
    expanded = np.sign(coded) * np.expm1(np.abs(coded) * np.log1p(MU)) / MU
    back: Signal = soxr.resample(expanded.astype(np.float32), NARROWBAND_HZ, rate_hz, quality="HQ")
    return _safe(back[: signal.size])


NON_SPEECH = ("silence", "tone", *NOISES)


def non_speech_clips(seed: int, count: int, rate_hz: int, *, duration_s: float = 3.0) -> list[Signal]:
    """Clips in which nobody speaks, of each kind of NON_SPEECH in turn; for the safety report (R4.8)."""
    samples = round(duration_s * rate_hz)
    clips: list[Signal] = []
    for index in range(count):
        kind = NON_SPEECH[index % len(NON_SPEECH)]
        generator = np.random.default_rng([seed, index])
        if kind == "silence":
            clip = np.zeros(samples, np.float32)
        elif kind == "tone":
            phase = 2 * np.pi * generator.uniform(200, 3000) * np.arange(samples) / rate_hz
            clip = np.sin(phase).astype(np.float32)
        else:
            clip = NOISES[kind](samples, rate_hz, generator)
        clips.append(set_level(clip, generator.uniform(-45, -20)))
    return clips


def _unit(signal: FloatArray) -> Signal:
    scaled: Signal = (signal / max(float(np.sqrt(np.mean(np.square(signal)))), 1e-12)).astype(np.float32)
    return scaled


def _safe(signal: FloatArray) -> Signal:
    peak = float(np.max(np.abs(signal))) if signal.size else 0.0
    safe: Signal = (signal / peak * 0.99 if peak > 0.99 else signal).astype(np.float32)
    return safe
