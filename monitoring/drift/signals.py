"""What is watched in telemetry for drift: each signal as a ratio of two columns of sums, its unit and its margin.

Boundary: pure; names and numbers. Source: coverage 36 (durations, acoustics, languages, confidence, corrections, OOV
without raw audio); statistics U2 (a mean is a ratio of sums).
Invariants: an `input` signal says who asks and how it sounds, and is counted over all answers that a user got; an
`output` signal says what the stable bundle made of it, and begins anew with each promotion. Latency is not drift.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt


class Signal(NamedTuple):
    """A watched ratio: numerator and denominator are names of sums that operations/drift_windows.py makes of rows.

    `margin` is the least change that matters, in the signal's unit, or a share of the reference with `relative`;
    `worse` says which direction is a harm by itself.
    """

    name: str
    says: str
    unit: str
    kind: Literal["input", "output"]
    margin: float
    relative: bool = False
    worse: Literal["up", "down", "neither"] = "neither"

    def scaled_margin(self, reference: float) -> float:
        """The margin in the signal's unit."""
        return self.margin * abs(reference) if self.relative else self.margin


SIGNALS = (
    Signal("duration", "seconds an utterance", "s", "input", 0.05, relative=True),
    Signal("silence", "share of audio that is silence", "share", "input", 0.03),
    Signal("level", "loudness", "dBFS", "input", 1.5),
    Signal("snr", "speech over background", "dB", "input", 1.5, worse="down"),
    Signal("clipping", "share of utterances with clipped samples", "share", "input", 0.01, worse="up"),
    Signal("segments", "stretches of speech an utterance", "a request", "input", 0.05, relative=True),
    Signal("refused_rate", "share refused for their sample rate", "share", "input", 0.005, worse="up"),
    Signal("confidence", "mean confidence", "share", "output", 0.01, worse="down"),
    Signal("low_confidence", "share under a confidence of one half: unknown words show here", "share", "output", 0.02,
           worse="up"),
    Signal("corrections", "share that users corrected", "share", "output", 0.01, worse="up"),
    Signal("churn", "share of partial words taken back", "share", "output", 0.02, worse="up"),
)  # fmt: skip
"""Signals that every slice has. Mixes of labels (`device=phone`) are signals of the whole, made by `mix`."""

OUTPUTS = frozenset(signal.name for signal in SIGNALS if signal.kind == "output")
"""Names of what the stable bundle makes of traffic."""

MIXED = ("device", "language", "tenant", "codec", "rate", "mode")
"""Label columns whose mix is watched; `rate` is the sample rate that audio came with, in Hz."""
MIX_MARGIN = 0.03
CLIPPED_FROM = 0.001
"""Share of samples at full scale from which an utterance counts as clipped."""
LOW_CONFIDENCE = 0.5


def mix(column: str, value: str) -> Signal:
    """The share of traffic that has a label."""
    return Signal(f"mix:{column}={value}", f"share of traffic with {column} {value}", "share", "input", MIX_MARGIN)


class Histogram(NamedTuple):
    """A value whose distribution is kept: bins between `edges`, what is outside goes into the outermost bins."""

    name: str
    unit: str
    edges: tuple[float, ...]

    def places(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        """The bin of each value, shape as given; values may not be NaN."""
        return np.clip(np.searchsorted(self.edges, values, side="right") - 1, 0, len(self.edges) - 2)


def _steps(low: float, high: float, bins: int) -> tuple[float, ...]:
    return tuple(float(edge) for edge in np.linspace(low, high, bins + 1))


HISTOGRAMS = {
    histogram.name: histogram
    for histogram in (
        Histogram("duration", "s", (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 20.0, 60.0)),
        Histogram("silence", "share", _steps(0, 1, 10)),
        Histogram("level", "dBFS", _steps(-70, 0, 14)),
        Histogram("snr", "dB", _steps(-10, 60, 14)),
        Histogram("confidence", "share", _steps(0, 1, 10)),
    )
}
"""Distributions by name of their signal. Confidence has the bins of a ScoreReport's calibration."""
