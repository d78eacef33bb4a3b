"""A voice for narration: espeak-ng, worked on as a studio would, after the whole text was spoken.

Purpose: sound better than the voice it begins with, at the price of time: nothing is played before everything is made.
Boundary: as speech/runtimes/espeak.py.
Invariants: samples and settings in, samples out (the breath is drawn from a fixed seed); the level is that of the
settings, and no sample reaches full scale; the text that is said is the voice's own.
Source, in order of the work: sharper formants, as the cepstral postfilter of Takamichi et al. 2014 makes them; mixed
excitation above some frequency (McCree and Barnwell 1995), because formant synthesis buzzes there; phases that fit the
new magnitudes (Griffin and Lim 1984); a small room (exponentially decaying noise, Moorer 1979), because nobody hears
speech without one.

Files of the payload
    voice.json, lexicon.json    as speech/runtimes/espeak.py; `splitter` is `text`
    polish.json                 Polish
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, ValidationError

from contracts.document import Part
from contracts.errors import Refused
from speech.runtimes import Samples, espeak

Spectrum = npt.NDArray[np.complex128]
"""Short-time spectrum, (bins, frames)."""
Levels = npt.NDArray[np.float64]

BREATH_SEED = 1
PEAK = 0.95
"""No sample is above it, of full scale."""
_FLOOR = 1e-5
_BREATH_RISE_HZ = 2_500.0
"""Over so many Hz the share of breath rises from none to all that the settings say."""
_NEIGHBOURS = 12
"""Bins over which the envelope is averaged to tell a formant from what is around it."""


class Polish(Part):
    """polish.json.

    Attributes:
        window: samples of an analysis window; the step is a quarter of it.
        envelope: cepstral coefficients that are the spectral envelope; the rest is the voice's harmonics.
        sharpness: exponent that formants stand out by more than they did; 0 leaves them.
        breath: share of noise in the excitation of the highest frequencies.
        breath_from_hz: where it begins.
        phase_rounds: of the search for phases that fit.
        room_s: seconds until the room is silent (60 dB).
        room: level of the room, of the voice's.
        level_db: RMS of the result to full scale.
    """

    window: Annotated[int, Field(ge=64, multiple_of=4)]
    envelope: PositiveInt
    sharpness: NonNegativeFloat
    breath: Annotated[float, Field(ge=0, le=1)]
    breath_from_hz: PositiveFloat
    phase_rounds: NonNegativeInt
    room_s: PositiveFloat
    room: NonNegativeFloat
    level_db: Annotated[float, Field(le=-6)]


class StudioVoice:
    """A loaded narration voice (speech.runtimes.kinds.Voice)."""

    task: Literal["synthesis"] = "synthesis"

    def __init__(self, voice: espeak.EspeakVoice, polish: Polish) -> None:
        self.name = voice.name
        self.sample_rate_hz = voice.sample_rate_hz
        self.max_characters = voice.max_characters
        self._voice = voice
        self._polish = polish

    def sentences(self, text: str) -> list[str]:
        """The text as one piece; Refused without words."""
        return self._voice.sentences(text)

    def speak(self, text: str) -> Iterator[Samples]:
        """The text in one chunk, (samples,) at `sample_rate_hz`, when all of it is done; Refused without words."""
        return (polished(piece, self.sample_rate_hz, self._polish) for piece in self._voice.speak(text))


def load(payload: Path, *, threads: int = 1) -> StudioVoice:
    """Load the voice from its payload folder; raises Refused for settings that are malformed or name no voice."""
    voice = espeak.load(payload, threads=threads)
    try:
        polish = Polish.model_validate_json((payload / "polish.json").read_bytes())
    except (OSError, ValidationError) as error:
        raise Refused(
            "a narration voice cannot be loaded",
            where="payload: polish.json",
            got=str(error).split("\n")[0],
            expected="the fields of speech.runtimes.studio_voice.Polish",
            next_step="build the candidate again: python -m speech.third_party_voices NAME --out DIR",
        ) from None
    if voice.settings.splitter != "text":
        raise Refused(
            "a narration voice speaks a text at once", where="payload: voice.json",
            got=f"splitter {voice.settings.splitter}", expected="splitter text", next_step="correct voice.json",
        )  # fmt: skip
    return StudioVoice(voice, polish)


def polished(samples: Samples, rate_hz: int, polish: Polish) -> Samples:
    """Speech as it leaves the studio, `room_s` longer than it came, (samples,) -> (samples,)."""
    spectrum = _analysed(samples, polish.window)
    envelope = _envelope(spectrum, polish.envelope)
    spectrum = spectrum * np.exp(polish.sharpness * (envelope - _blurred(envelope)))
    spectrum = _breathed(spectrum, envelope, samples.size, rate_hz, polish)
    spectrum = _fitting(spectrum, samples.size, polish)
    return _levelled(_in_room(_synthesised(spectrum, samples.size, polish.window), rate_hz, polish), polish.level_db)


def _analysed(samples: npt.NDArray[Any], window: int) -> Spectrum:
    from scipy import signal

    found: Spectrum = signal.stft(samples, nperseg=window, noverlap=window * 3 // 4)[2]
    return found


def _synthesised(spectrum: Spectrum, size: int, window: int) -> Levels:
    from scipy import signal

    samples: Levels = signal.istft(spectrum, nperseg=window, noverlap=window * 3 // 4)[1]
    return np.pad(samples, (0, max(0, size - samples.size)))[:size]


def _envelope(spectrum: Spectrum, coefficients: int) -> Levels:
    """Natural log of the spectral envelope, (bins, frames): the low part of the cepstrum."""
    cepstrum = np.fft.irfft(np.log(np.abs(spectrum) + _FLOOR), axis=0)
    cepstrum[coefficients:-coefficients] = 0
    envelope: Levels = np.fft.rfft(cepstrum, axis=0).real
    return envelope


def _blurred(envelope: Levels) -> Levels:
    from scipy.ndimage import gaussian_filter1d

    blurred: Levels = gaussian_filter1d(envelope, _NEIGHBOURS, axis=0)
    return blurred


def _breathed(spectrum: Spectrum, envelope: Levels, size: int, rate_hz: int, polish: Polish) -> Spectrum:
    """Part of the excitation is noise of the same envelope, the more of it the higher the frequency."""
    noise = _analysed(np.random.default_rng(BREATH_SEED).standard_normal(size), polish.window)
    noise = noise / np.sqrt((np.abs(noise) ** 2).mean())
    hertz = np.linspace(0, rate_hz / 2, spectrum.shape[0])[:, None]
    share = polish.breath * np.clip((hertz - polish.breath_from_hz) / _BREATH_RISE_HZ, 0, 1)
    breathed: Spectrum = spectrum * np.sqrt(1 - share**2) + share * np.exp(envelope) * noise
    return breathed


def _fitting(spectrum: Spectrum, size: int, polish: Polish) -> Spectrum:
    """The same magnitudes with phases of a signal that has them, searched from the phases there are."""
    magnitude = np.abs(spectrum)
    for _ in range(polish.phase_rounds):
        again = _analysed(_synthesised(spectrum, size, polish.window), polish.window)
        spectrum = magnitude * np.exp(1j * np.angle(again))
    return spectrum


def _in_room(samples: Levels, rate_hz: int, polish: Polish) -> Levels:
    from scipy import signal

    length = round(polish.room_s * rate_hz)
    echo = np.random.default_rng(0).standard_normal(length) * 10 ** (-3 * np.arange(length) / length)
    echo /= np.sqrt((echo**2).sum())
    dry = np.pad(samples, (0, length))
    wet = np.pad(signal.fftconvolve(samples, echo), (0, 1))
    roomy: Levels = dry + polish.room * wet
    return roomy


def _levelled(samples: Levels, level_db: float) -> Samples:
    rms = float(np.sqrt((samples**2).mean()))
    loud = samples * (10 ** (level_db / 20) / max(rms, _FLOOR))
    return (loud * min(1.0, PEAK / max(float(np.abs(loud).max()), _FLOOR))).astype(np.float32)
