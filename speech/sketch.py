"""A sketch of speech: some numbers by which two syntheses of one text are told apart.

Boundary: pure.
Invariants: the same samples give the same sketch; a voice, a rate or a pitch that changes moves it by far more than the
rounding of another machine does.
Source: the long-term average spectrum on the mel scale (O'Shaughnessy, Speech Communication, 1987).
"""

from __future__ import annotations

import numpy as np

from speech.runtimes import Samples

BANDS = 24
_FRAME_S = 0.032
_FLOOR = 1e-7


def sketch(samples: Samples, rate_hz: int) -> tuple[float, ...]:
    """Seconds, then the mean natural log power in each of BANDS mel bands up to half the rate, rounded to 1e-3.

    Raises ValueError for no samples.
    """
    if not samples.size:
        raise ValueError("no samples")
    size = round(_FRAME_S * rate_hz)
    padded = np.pad(samples.astype(np.float64), (0, -samples.size % size))
    power = np.abs(np.fft.rfft(padded.reshape(-1, size) * np.hanning(size), axis=1)) ** 2 / size
    edges = _hertz(np.linspace(0, _mel(rate_hz / 2), BANDS + 1))
    band = np.clip(np.digitize(np.fft.rfftfreq(size, 1 / rate_hz), edges) - 1, 0, BANDS - 1)
    mean = power.mean(axis=0)
    levels = [np.log(mean[band == number].mean() + _FLOOR) for number in range(BANDS) if (band == number).any()]
    return (round(samples.size / rate_hz, 3), *(round(float(level), 3) for level in levels))


def _mel(hertz: float) -> float:
    return float(2595 * np.log10(1 + hertz / 700))


def _hertz(mel: np.ndarray[tuple[int], np.dtype[np.float64]]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return 700 * (10 ** (mel / 2595) - 1)
