"""Macro F1 and recall: exact on a whole pack, shares on every slice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.policy import MetricName
from evalpacks.metrics import METRICS, Evidence
from evalpacks.metrics.calibration import calibration
from tests.evalpacks.metrics.evidence_samples import counted, make_evidence, take

NAMES: tuple[MetricName, ...] = ("macro_f1", "class_recall")
Pairs = st.lists(st.tuples(*[st.sampled_from(["speech", "music", "non-speech"])] * 2), min_size=1, max_size=12)


def classified(pairs: Sequence[tuple[str, str]]) -> Evidence:
    """Clips of (label, class that was given)."""
    evidence = make_evidence([("", "")] * len(pairs))
    evidence.utterances["label"] = [label for label, _ in pairs]
    measured = evidence.utterances[["utterance_id"]].assign(predicted=[given for _, given in pairs])
    return replace(evidence, measured=measured)


def rate(name: MetricName, evidence: Evidence) -> float:
    counts = METRICS[name].measure(evidence)
    assert counts is not None
    return float(counts.numerator.sum() / counts.denominator.sum())


def mean_f1(pairs: Sequence[tuple[str, str]]) -> float:
    """The definition, class by class."""
    found = []
    for name in {one for pair in pairs for one in pair}:
        hits = sum(label == given == name for label, given in pairs)
        misses = sum((label == name) != (given == name) for label, given in pairs)
        found.append(2 * hits / (2 * hits + misses))
    return float(np.mean(found))


@given(pairs=Pairs)
@settings(deadline=None, max_examples=60)
def test_macro_f1_of_a_whole_pack_is_the_mean_of_f1_over_classes(pairs: list[tuple[str, str]]) -> None:
    assert rate("macro_f1", classified(pairs)) == pytest.approx(mean_f1(pairs))


@pytest.mark.parametrize(
    ("pairs", "macro_f1", "recall"),
    [
        ([("speech", "speech"), ("non-speech", "non-speech")], 1.0, 1.0),
        ([("speech", "non-speech"), ("non-speech", "speech")], 0.0, 0.0),
        # Nine of ten are right, yet the rare class is never found: its F1 is 0, that of the other 18/19.
        ([("non-speech", "non-speech")] * 9 + [("speech", "non-speech")], (18 / 19) / 2, 0.9),
        ([("speech", "speech")] * 3, 1.0, 1.0),
    ],
    ids=["all right", "all wrong", "the rare class missed", "one class"],
)
def test_known_packs(pairs: list[tuple[str, str]], macro_f1: float, recall: float) -> None:
    evidence = classified(pairs)
    assert rate("macro_f1", evidence) == pytest.approx(macro_f1)
    assert rate("class_recall", evidence) == pytest.approx(recall)


def test_recall_on_the_slice_of_a_label_is_that_class_s_recall() -> None:
    evidence = classified([("speech", "speech"), ("speech", "non-speech"), ("non-speech", "speech")])
    assert rate("class_recall", take(evidence, np.array([0, 1]))) == 0.5
    assert rate("class_recall", take(evidence, np.array([2]))) == 0.0


@pytest.mark.parametrize("name", NAMES)
@given(pairs=Pairs)
@settings(deadline=None, max_examples=30)
def test_a_clip_is_right_or_wrong_with_a_weight(name: MetricName, pairs: list[tuple[str, str]]) -> None:
    counts = METRICS[name].measure(classified(pairs))
    assert counts is not None
    assert (counts.denominator > 0).all()
    assert counts.denominator.sum() == pytest.approx(len(pairs))
    right = np.array([label == given for label, given in pairs])
    assert np.array_equal(counts.numerator, np.where(right, counts.denominator, 0.0))


@pytest.mark.parametrize("name", NAMES)
@given(pairs=Pairs, seed=st.integers(0, 99))
@settings(deadline=None, max_examples=30)
def test_permuting_clips_permutes_counts(name: MetricName, pairs: list[tuple[str, str]], seed: int) -> None:
    places = np.random.default_rng(seed).permutation(len(pairs)).astype(np.int64)
    evidence = classified(pairs)
    whole = counted(METRICS[name].measure(evidence))
    assert counted(METRICS[name].measure(take(evidence, places))) == [whole[place] for place in places]


def test_confidence_is_held_against_the_class() -> None:
    """Both clips have an empty text; only one of them was told right."""
    evidence = replace(
        classified([("speech", "speech"), ("speech", "non-speech")]), confidence=np.array([0.9, 0.8], np.float64)
    )
    counts = METRICS["brier"].measure(evidence)
    assert counts is not None
    assert counts.numerator.tolist() == pytest.approx([0.01, 0.64])
    found = calibration(evidence, "clips")
    assert found is not None
    assert [(one.confidence, one.accuracy) for one in found.bins] == [(0.8, 0.0), (0.9, 1.0)]


@pytest.mark.parametrize("name", NAMES)
def test_labels_or_answers_that_are_not_there_are_none(name: MetricName) -> None:
    evidence = classified([("speech", "speech")])
    unlabelled = replace(evidence, utterances=evidence.utterances.drop(columns="label"))
    unanswered = replace(evidence, measured=pd.DataFrame({"utterance_id": ["u0"]}))
    assert METRICS[name].measure(unlabelled) is None
    assert METRICS[name].measure(unanswered) is None
