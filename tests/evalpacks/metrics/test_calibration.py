"""Confidence: the Brier score as counts, bins of reliability, the expected calibration error."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.reports import CalibrationBin
from evalpacks.metrics import METRICS
from evalpacks.metrics.calibration import BINS, calibration
from tests.evalpacks.metrics.evidence_samples import counted, make_evidence

RIGHT, WRONG = ("stop", "stop"), ("stop", "start")
Sure = st.floats(0, 1)


@pytest.mark.parametrize(
    ("pair", "confidence", "counts"),
    [
        (RIGHT, 1.0, (0.0, 1.0)),
        (RIGHT, 0.0, (1.0, 1.0)),
        (WRONG, 1.0, (1.0, 1.0)),
        (WRONG, 0.5, (0.25, 1.0)),
        (RIGHT, 0.9, (0.01, 1.0)),
    ],
)
def test_named_scores(pair: tuple[str, str], confidence: float, counts: tuple[float, float]) -> None:
    (measured,) = counted(METRICS["brier"].measure(make_evidence([pair], confidence=[confidence])))
    assert measured == pytest.approx(counts)


def test_utterances_without_a_confidence_say_nothing() -> None:
    evidence = make_evidence([RIGHT, WRONG], confidence=[0.5, math.nan])
    assert counted(METRICS["brier"].measure(evidence)) == [(0.25, 1.0), (0.0, 0.0)]
    shown = calibration(evidence, "commands")
    assert shown is not None
    assert sum(one.utterances for one in shown.bins) == 1
    assert calibration(make_evidence([RIGHT]), "commands") is None


def test_named_bins() -> None:
    # 0.8 and 0.86 share the bin [0.8, 0.9): mean 0.83, one of two right: a gap of 0.33. 1.0 is in the last bin, right.
    shown = calibration(make_evidence([RIGHT, WRONG, RIGHT], confidence=[0.8, 0.86, 1.0]), "commands")
    assert shown is not None
    assert shown.pack == "commands"
    low, high = shown.bins
    assert low.model_dump() == pytest.approx(
        CalibrationBin(lower=0.8, upper=0.9, utterances=2, confidence=0.83, accuracy=0.5).model_dump()
    )
    assert (high.lower, high.upper, high.utterances, high.confidence, high.accuracy) == (0.9, 1.0, 1, 1.0, 1.0)
    assert shown.error == pytest.approx((2 * 0.33 + 0) / 3)


@given(sure=st.lists(st.tuples(Sure, st.booleans()), min_size=1, max_size=30))
@settings(deadline=None, max_examples=50)
def test_bins_hold_every_utterance_and_their_own_confidence(sure: list[tuple[float, bool]]) -> None:
    pairs = [RIGHT if right else WRONG for _, right in sure]
    shown = calibration(make_evidence(pairs, confidence=[confidence for confidence, _ in sure]), "p")
    assert shown is not None
    assert sum(one.utterances for one in shown.bins) == len(sure)
    assert all(one.lower - 1e-9 <= one.confidence <= one.upper + 1e-9 for one in shown.bins)
    assert len(shown.bins) <= BINS
    assert 0 <= shown.error <= 1


@given(confidence=Sure)
@settings(deadline=None, max_examples=50)
def test_the_truth_has_the_best_brier_score(confidence: float) -> None:
    """A proper score: over four utterances of which three are right no confidence beats 0.75."""

    def score(stated: float) -> float:
        evidence = make_evidence([RIGHT, RIGHT, RIGHT, WRONG], confidence=[stated] * 4)
        return sum(numerator for numerator, _ in counted(METRICS["brier"].measure(evidence)))

    assert score(0.75) <= score(confidence) + 1e-12
