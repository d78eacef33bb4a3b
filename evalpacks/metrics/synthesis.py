"""Synthesis: what judges and rulers say of a voice that reads a pack aloud. CER of the round trip is characters.py.

Boundary: pure; the columns that speech/kinds/synthesis.py measures in, counts per utterance out.
Invariants: a score's numerator is the judge's score and its denominator 1 utterance, 0 where the judge cannot say;
times are seconds over seconds. None where the model was not measured.
Source: MOS as ITU-T P.800.1 names it, predicted (naturalness, background noise of P.835); likeness as the cosine of
speaker vectors of the Voice Conversion Challenge; sanity of length, silence and level as data pipelines for TTS check.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from evalpacks.metrics.metric import Counts, Evidence, Metric

Measure = Callable[[Evidence], Counts | None]


def _score(column: str) -> Measure:
    """The mean of a column over the utterances that have it."""

    def measure(evidence: Evidence) -> Counts | None:
        values = evidence.column(column)
        if values is None:
            return None
        there = np.isfinite(values)
        return Counts(np.where(there, values, 0.0), there.astype(np.float64))

    return measure


def _share(part: str, whole: str) -> Measure:
    """Seconds of one column over seconds of another."""

    def measure(evidence: Evidence) -> Counts | None:
        parts, wholes = evidence.column(part), evidence.column(whole)
        return None if parts is None or wholes is None else Counts(parts, wholes)

    return measure


SYNTHESIS = (
    Metric("mos", "MOS (predicted)", "higher", _score("mos"), support="utterances"),
    Metric("noise_mos", "MOS of the background (predicted)", "higher", _score("noise_mos"), support="utterances"),
    Metric("speaker_similarity", "speaker similarity", "higher", _score("speaker_similarity"), support="utterances"),
    Metric(
        "duration_error", "length against the reference", "lower", _share("length_error_s", "reference_s"),
        100.0, "%", " points", "seconds of the reference",
    ),
    Metric(
        "silence_share", "silence", "lower", _share("silent_s", "audio_s"),
        100.0, "%", " points", "seconds of audio",
    ),
    Metric(
        "clipping", "clipped samples", "lower", _share("clipped_s", "audio_s"),
        100.0, "%", " points", "seconds of audio",
    ),
)  # fmt: skip
"""Metrics of a synthesis beside CER."""
