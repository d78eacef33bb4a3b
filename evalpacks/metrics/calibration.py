"""Is confidence honest: the Brier score as counts, and the reliability of confidence by bins.

Boundary: pure.
Invariants: an utterance is right where its normalised words are the reference's, all of them, and a clip where its
class is; utterances without a confidence say nothing; a bin without utterances is absent.
Source: Brier 1950; expected calibration error with bins of equal width as in Guo et al. 2017, "On Calibration of Modern
Neural Networks".
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from contracts.reports import Calibration, CalibrationBin
from evalpacks.metrics.classification import labels_of
from evalpacks.metrics.metric import Counts, Evidence, Metric

BINS = 10
"""Bins of equal width over [0, 1]; the last one holds the confidence 1 too."""


def calibration(evidence: Evidence, pack: str) -> Calibration | None:
    """Reliability bins and expected calibration error of one model on one pack; None without confidence."""
    known = ~np.isnan(evidence.confidence)
    if not known.any():
        return None
    confidence, right = evidence.confidence[known], _right(evidence)[known]
    places = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    bins = tuple(
        CalibrationBin(
            lower=place / BINS,
            upper=(place + 1) / BINS,
            utterances=int((places == place).sum()),
            confidence=float(confidence[places == place].mean()),
            accuracy=float(right[places == place].mean()),
        )
        for place in np.unique(places).tolist()
    )
    gaps = sum(one.utterances * abs(one.confidence - one.accuracy) for one in bins)
    return Calibration(pack=pack, error=gaps / len(confidence), bins=bins)


def _right(evidence: Evidence) -> npt.NDArray[np.bool_]:
    classes = labels_of(evidence)
    right = evidence.words.errors == 0 if classes is None else classes[0] == classes[1]
    return np.asarray(right, dtype=np.bool_)


def _measure(evidence: Evidence) -> Counts | None:
    known = ~np.isnan(evidence.confidence)
    if not known.any():
        return None
    right = _right(evidence).astype(np.float64)
    squares = np.where(known, (np.where(known, evidence.confidence, 0.0) - right) ** 2, 0.0)
    return Counts(squares, known.astype(np.float64))


BRIER = Metric("brier", "Brier score x 100", "lower", _measure, 100.0, support="utterances with a confidence")
