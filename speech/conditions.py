"""What a microphone, a room and a line do to speech: the conditions of the robustness packs.

Boundary: no I/O, no clock; every random number comes from the generator that is handed in.
Invariants: signals are float32 in [-1, 1], shape (samples,); a condition keeps the length and does not delay speech, so
that one reference and one end of speech serve all conditions of an utterance.
Source: far field is Polack's model (1988): the direct sound, then Gaussian noise that decays exponentially by 60 dB in
the stated reverberation time; mu-law is ITU-T G.711.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from contracts.errors import WrongCall
from speech.noise import Generator, Signal, narrowband, rms, set_level

REVERBERATION_S = 0.6
"""Time in which the room's echo falls by 60 dB (RT60): a furnished living room is about 0.5 s."""
DIRECT_TO_REVERBERANT_DB = -3.0
"""Energy of the direct sound over that of the echo: the speaker is farther away than the critical distance."""
FIRST_ECHO_S = 0.004
BABBLE_SNR_DB = 10.0
CLIPPED_AT_DB = -15.0
"""Level at which peaks are cut off, relative to the highest."""
BAND_HZ = 12_000

Condition = Callable[[Signal, int, Generator, Signal], Signal]
"""(speech, rate in Hz, generator, other voices of the same length or silence) -> what is recorded."""


def room_response(rate_hz: int, generator: Generator) -> Signal:
    """Impulse response of a room, (samples,): the direct sound at sample 0 is 1, then the decaying echo."""
    seconds = np.arange(round(REVERBERATION_S * rate_hz)) / rate_hz
    echo = generator.standard_normal(seconds.size) * 10 ** (-3 * seconds / REVERBERATION_S)
    echo[seconds < FIRST_ECHO_S] = 0.0
    echo *= np.sqrt(10 ** (-DIRECT_TO_REVERBERANT_DB / 10) / np.sum(echo**2))
    echo[0] = 1.0
    return echo.astype(np.float32)


def far_field(speech: Signal, rate_hz: int, generator: Generator, others: Signal) -> Signal:
    """Speech from across a room, at the level it had nearby."""
    from scipy.signal import fftconvolve

    del others
    heard = fftconvolve(speech, room_response(rate_hz, generator))[: speech.size]
    return set_level(heard.astype(np.float32), 20 * np.log10(max(rms(speech), 1e-9)))


def clipped(speech: Signal, rate_hz: int, generator: Generator, others: Signal) -> Signal:
    """Peaks cut off as by a microphone that is too loud; nothing is made louder here."""
    del rate_hz, generator, others
    limit = float(np.abs(speech).max(initial=0.0)) * 10 ** (CLIPPED_AT_DB / 20)
    cut: Signal = np.clip(speech, -limit, limit)
    return cut


def band_12k(speech: Signal, rate_hz: int, generator: Generator, others: Signal) -> Signal:
    """Recorded at 12 kHz and brought back to the rate it came with: nothing over 6 kHz is left."""
    import soxr

    del generator, others
    low = soxr.resample(speech, rate_hz, BAND_HZ, quality="HQ")
    back: Signal = soxr.resample(low, BAND_HZ, rate_hz, quality="HQ")
    return np.pad(back[: speech.size], (0, max(0, speech.size - back.size)))


def telephone(speech: Signal, rate_hz: int, generator: Generator, others: Signal) -> Signal:
    """8 kHz and mu-law, and back."""
    del generator, others
    return narrowband(speech, rate_hz)


def babble(speech: Signal, rate_hz: int, generator: Generator, others: Signal) -> Signal:
    """Other voices below the speaker, at BABBLE_SNR_DB over the whole utterance."""
    del rate_hz, generator
    level = rms(others)
    if level == 0:
        raise WrongCall("babble needs other voices", got="silence", expected="background lines of the utterance")
    mixed = speech + others * (rms(speech) / level * 10 ** (-BABBLE_SNR_DB / 20))
    return (mixed / max(1.0, float(np.abs(mixed).max()) / 0.99)).astype(np.float32)


def clean(speech: Signal, rate_hz: int, generator: Generator, others: Signal) -> Signal:
    """As it was spoken: what every other condition is compared with."""
    del rate_hz, generator, others
    return speech


CONDITIONS: dict[str, Condition] = {
    "clean": clean,
    "12khz": band_12k,
    "clipped": clipped,
    "mulaw-8khz": telephone,
    "far-field": far_field,
    "babble": babble,
}
"""Name of a condition -> what it does."""
