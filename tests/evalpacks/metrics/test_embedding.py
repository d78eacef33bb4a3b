"""Metrics of embeddings: small trials by hand, an oracle over every threshold, and laws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from contracts.policy import MetricName
from evalpacks.metrics import METRICS, Evidence
from evalpacks.metrics.embedding import (
    ENROLMENT,
    P_TARGET,
    PROBE,
    Trials,
    curve,
    equal_error_threshold,
    least_cost_threshold,
    trials,
    vectors_of,
)
from tests.evalpacks.metrics.evidence_samples import counted, make_evidence, take

OWN: tuple[MetricName, ...] = ("eer", "min_dcf", "recall_at_1", "recall_at_5")
NAMES: tuple[MetricName, ...] = (*OWN, "cross_version_eer")
DIMENSION = 3

Rows = Sequence[tuple[str, str, Sequence[float]]]
"""Role, speaker, vector (need not have the length 1); no vector: nobody was heard to speak."""


def measured(vectors: Sequence[Sequence[float]], space: str = "a") -> pd.DataFrame:
    unit = [[] if not len(one) else list(np.asarray(one, float) / np.linalg.norm(one)) for one in vectors]
    return pd.DataFrame({"vector": unit, "space": space})


def evidence(rows: Rows, *, beside: pd.DataFrame | None = None, space: str = "a") -> Evidence:
    made = make_evidence([("", "")] * len(rows))
    table = made.utterances.assign(role=[row[0] for row in rows], speaker=[row[1] for row in rows])
    return replace(made, utterances=table, measured=measured([row[2] for row in rows], space), beside=beside)


def rate(name: MetricName, found: Evidence) -> float:
    counts = METRICS[name].measure(found)
    assert counts is not None
    return float(counts.numerator.sum() / counts.denominator.sum())


ENROLLED: Rows = [(ENROLMENT, "anna", (1, 0, 0)), (ENROLMENT, "ben", (0, 1, 0)), (ENROLMENT, "cleo", (0, 0, 1))]
APART: Rows = [*ENROLLED, (PROBE, "anna", (9, 1, 0)), (PROBE, "ben", (0, 9, 1)), (PROBE, "cleo", (1, 0, 9))]
ONE_SWAPPED: Rows = [*ENROLLED, (PROBE, "anna", (9, 1, 0)), (PROBE, "ben", (0, 1, 2)), (PROBE, "cleo", (1, 0, 9))]
UNHEARD: Rows = [*ENROLLED, (PROBE, "anna", (9, 1, 0)), (PROBE, "ben", ()), (PROBE, "cleo", (1, 0, 9))]
"""One probe of three has no vector: its target is missed at every threshold."""


@pytest.mark.parametrize(
    ("rows", "name", "expected"),
    [
        (APART, "eer", 0.0),
        (APART, "min_dcf", 0.0),
        (APART, "recall_at_1", 1.0),
        (ONE_SWAPPED, "recall_at_1", 2 / 3),
        (ONE_SWAPPED, "recall_at_5", 1.0),
        (ONE_SWAPPED, "min_dcf", 1 / 3),
        (UNHEARD, "eer", 1 / 3),
        (UNHEARD, "min_dcf", 1 / 3),
        (UNHEARD, "recall_at_1", 2 / 3),
        (UNHEARD, "recall_at_5", 2 / 3),
    ],
)
def test_small_trials(rows: Rows, name: MetricName, expected: float) -> None:
    assert rate(name, evidence(rows)) == pytest.approx(expected)


def test_enrolments_have_no_denominator_and_probes_have_one() -> None:
    for name in NAMES:
        counts = METRICS[name].measure(evidence(APART))
        assert counts is not None
        assert counts.denominator.tolist() == [0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize(
    "rows",
    [
        ENROLLED,
        [(ENROLMENT, "anna", (1, 0, 0)), (PROBE, "anna", (1, 0, 0))],
        [*ENROLLED, (PROBE, "dora", (1, 0, 0))],
        [(role, who, ()) for role, who, _ in APART],
    ],
    ids=["no probe", "one speaker", "nobody who is enrolled", "no vectors"],
)
def test_without_trials_there_is_no_figure(rows: Rows) -> None:
    for name in NAMES:
        assert METRICS[name].measure(evidence(rows)) is None


def test_a_pack_without_roles_has_no_figure() -> None:
    found = evidence(APART)
    bare = replace(found, utterances=found.utterances.drop(columns="role"))
    assert [METRICS[name].measure(bare) for name in NAMES] == [None] * len(NAMES)


def test_across_versions_probes_meet_the_voiceprints_of_stable() -> None:
    turned = measured([np.roll(row[2], -1).tolist() for row in APART])
    assert rate("eer", evidence(APART, beside=turned)) == 0.0
    assert rate("cross_version_eer", evidence(APART, beside=turned)) >= 0.5
    assert rate("cross_version_eer", evidence(APART, beside=measured([row[2] for row in APART]))) == 0.0


def test_a_first_release_meets_its_own_voiceprints() -> None:
    assert counted(METRICS["cross_version_eer"].measure(evidence(ONE_SWAPPED))) == counted(
        METRICS["eer"].measure(evidence(ONE_SWAPPED))
    )


@pytest.mark.parametrize(
    "beside",
    [measured([row[2] for row in APART], "b"), measured([[*row[2], 1.0] for row in APART])],
    ids=["another space", "another dimension"],
)
def test_vectors_of_two_spaces_are_never_compared(beside: pd.DataFrame) -> None:
    assert METRICS["cross_version_eer"].measure(evidence(APART, beside=beside)) is None
    assert rate("eer", evidence(APART, beside=beside)) == 0.0


Vector = (
    arrays.arrays(np.float64, DIMENSION, elements=st.integers(-3, 3).map(float)).filter(np.any).map(np.ndarray.tolist)
)


@st.composite
def some_evidence(draw: st.DrawFn) -> Evidence:
    names = [f"s{number}" for number in range(draw(st.integers(2, 4)))]
    rows = [(ENROLMENT, name, draw(Vector)) for name in names]
    rows += [(PROBE, draw(st.sampled_from(names)), draw(Vector | st.just([]))) for _ in range(draw(st.integers(1, 6)))]
    return evidence(rows)


def _oracle(found: Trials, weigh: tuple[float, float]) -> float:
    """The least weighted sum of both rates over every threshold, each counted anew."""
    rates = []
    for threshold in [np.inf, *np.unique(found.scores[np.isfinite(found.scores)])]:
        accepted = found.scores >= threshold
        miss = float((~accepted & found.targets).sum() / found.targets.sum())
        alarm = float((accepted & ~found.targets).sum() / (~found.targets).sum())
        rates.append(weigh[0] * miss + weigh[1] * alarm)
    return min(rates)


@given(found=some_evidence())
@settings(deadline=None, max_examples=60)
def test_law_the_cost_is_the_least_over_all_thresholds(found: Evidence) -> None:
    assert found.measured is not None
    vectors = vectors_of(found.measured)
    tried = trials(found.utterances, vectors, vectors)
    assert tried is not None
    assert rate("min_dcf", found) == pytest.approx(_oracle(tried, (1.0, (1 - P_TARGET) / P_TARGET)))
    assert rate("min_dcf", found) <= 1 + 1e-9


@given(found=some_evidence())
@settings(deadline=None, max_examples=60)
def test_law_the_curve_falls_and_rises_and_the_threshold_is_where_it_crosses(found: Evidence) -> None:
    assert found.measured is not None
    vectors = vectors_of(found.measured)
    tried = trials(found.utterances, vectors, vectors)
    assert tried is not None
    det = curve(tried)
    assert (np.diff(det.miss) <= 1e-12).all()
    assert (np.diff(det.false_alarm) >= -1e-12).all()
    assert (det.miss[0], det.false_alarm[0]) == (1.0, 0.0)
    chosen = det.thresholds == equal_error_threshold(det)
    assert np.abs(det.miss - det.false_alarm)[chosen][0] == pytest.approx(np.abs(det.miss - det.false_alarm).min())
    assert least_cost_threshold(det) in det.thresholds


@pytest.mark.parametrize("name", NAMES)
@given(found=some_evidence(), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=25)
def test_permuting_utterances_permutes_counts(name: MetricName, found: Evidence, seed: int) -> None:
    places = np.random.default_rng(seed).permutation(len(found.utterances))
    whole = counted(METRICS[name].measure(found))
    assert counted(METRICS[name].measure(take(found, places))) == [whole[place] for place in places]


@pytest.mark.parametrize("name", NAMES)
@given(found=some_evidence())
@settings(deadline=None, max_examples=25)
def test_counts_are_never_negative_and_say_nothing_without_a_denominator(name: MetricName, found: Evidence) -> None:
    counts = METRICS[name].measure(found)
    assert counts is not None
    assert (counts.numerator >= 0).all()
    assert not counts.numerator[counts.denominator == 0].any()


@given(seed=st.integers(0, 999), turn=st.permutations(range(DIMENSION)))
@settings(deadline=None, max_examples=25)
def test_law_turning_the_space_changes_nothing(seed: int, turn: list[int]) -> None:
    drawn = np.random.default_rng(seed).standard_normal((12, DIMENSION))
    who = [(ENROLMENT, f"s{n}") for n in range(4)] + [(PROBE, f"s{n % 4}") for n in range(8)]
    rows = [(*one, vector.tolist()) for one, vector in zip(who, drawn, strict=True)]
    turned = [(*one, vector[turn].tolist()) for one, vector in zip(who, drawn, strict=True)]
    for name in NAMES:
        assert rate(name, evidence(turned)) == pytest.approx(rate(name, evidence(rows)))
