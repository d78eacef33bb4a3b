"""Laws that every metric keeps, and what each of them needs."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.policy import MetricName
from evalpacks.metrics import METRICS, Evidence
from tests.evalpacks.metrics.evidence_samples import Row, counted, make_evidence, take

INTENTS = {"light": "turn (?P<state>on|off) the (?P<what>light|fan)", "call": "call (?P<who>anna|ben)"}
NAMES: tuple[MetricName, ...] = get_args(MetricName)
WORDED: tuple[MetricName, ...] = (
    "wer", "cer", "entity_error_rate", "intent_recall", "churn", "early_endpoint_rate", "brier",
)  # fmt: skip
"""Metrics of texts and streams. Those of measured columns keep the same laws, each on evidence of its own task, in
test_synthesis.py, test_embedding.py, test_classification.py and test_dialogue.py."""

Words = st.sampled_from(["turn", "on", "off", "the", "light", "fan", "call", "anna", "ben", "four", "for"])
Text = st.lists(Words, max_size=5).map(" ".join)
Shown = st.lists(st.tuples(st.floats(0.1, 3.0), Text), min_size=1, max_size=5).map(sorted)


@st.composite
def all_evidence(draw: st.DrawFn) -> Evidence:
    """A few utterances that say something of every metric."""
    pairs = draw(st.lists(st.tuples(Text, Text), min_size=2, max_size=6))
    count = len(pairs)
    shown: list[list[Row]] = draw(st.lists(Shown, min_size=count, max_size=count))
    sure = st.floats(0, 1) | st.just(np.nan)
    return make_evidence(
        pairs,
        entities=[[("name", word) for word in text.split() if word in {"anna", "ben"}] for text, _ in pairs],
        ends_s=draw(st.lists(st.floats(0.1, 3.0), min_size=count, max_size=count)),
        confidence=[0.5, *draw(st.lists(sure, min_size=count - 1, max_size=count - 1))],
        streams={f"u{number}": rows for number, rows in enumerate(shown)},
        intents=INTENTS,
    )


def test_the_table_has_every_metric_of_a_policy() -> None:
    assert set(METRICS) == set(NAMES)
    assert all(METRICS[name].name == name for name in METRICS)
    assert {name for name in METRICS if METRICS[name].needs_stream} == {"churn", "early_endpoint_rate"}


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"wer", "cer"}))
def test_a_metric_without_evidence_is_none_and_no_zero(name: MetricName) -> None:
    assert METRICS[name].measure(make_evidence([("turn on", "turn on")])) is None


def test_streams_without_an_end_of_speech_have_churn_alone() -> None:
    evidence = make_evidence([("on", "on")], streams={"u0": [(0.1, "on"), (2.0, "on")]})
    assert METRICS["early_endpoint_rate"].measure(evidence) is None
    assert METRICS["churn"].measure(evidence) is not None


@pytest.mark.parametrize("name", WORDED)
@given(evidence=all_evidence(), randoms=st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=15)
def test_permuting_utterances_permutes_counts(name: MetricName, evidence: Evidence, randoms: object) -> None:
    places = np.arange(len(evidence.references))
    np.random.default_rng(getattr(randoms, "getrandbits")(32)).shuffle(places)  # noqa: B009
    whole = counted(METRICS[name].measure(evidence))
    assert counted(METRICS[name].measure(take(evidence, places))) == [whole[place] for place in places]


@pytest.mark.parametrize("name", sorted(set(WORDED) - {"entity_error_rate"}))
@given(evidence=all_evidence(), cut=st.integers(1, 5))
@settings(deadline=None, max_examples=15)
def test_counts_add_up_over_a_partition(name: MetricName, evidence: Evidence, cut: int) -> None:
    """Entities are apart: their tagger knows the entities of the whole pack, so a part of a pack knows fewer."""
    places = np.arange(len(evidence.references))
    parts = [METRICS[name].measure(take(evidence, part)) for part in np.split(places, [min(cut, len(places))])]
    sums = [(part.numerator.sum(), part.denominator.sum()) for part in parts if part is not None]
    whole = METRICS[name].measure(evidence)
    assert whole is not None
    assert np.sum(sums, axis=0) == pytest.approx([whole.numerator.sum(), whole.denominator.sum()])


@pytest.mark.parametrize("name", ["wer", "cer", "entity_error_rate"])
@given(texts=st.lists(Text, min_size=1, max_size=5))
@settings(deadline=None, max_examples=15)
def test_equal_texts_have_no_errors(name: MetricName, texts: list[str]) -> None:
    evidence = make_evidence(
        [(text, text) for text in texts],
        entities=[[("name", word) for word in text.split() if word == "anna"] for text in texts],
    )
    counts = METRICS[name].measure(evidence)
    assert counts is not None
    assert not counts.numerator.any()
    assert bool(counts.denominator.any()) == any(texts) or name == "entity_error_rate"


@pytest.mark.parametrize("name", WORDED)
@given(evidence=all_evidence())
@settings(deadline=None, max_examples=15)
def test_counts_are_never_negative_and_say_nothing_without_a_denominator(name: MetricName, evidence: Evidence) -> None:
    counts = METRICS[name].measure(evidence)
    assert counts is not None
    assert counts.numerator.shape == counts.denominator.shape == (len(evidence.references),)
    assert (counts.numerator >= 0).all()
    assert (counts.denominator >= 0).all()
    if name in {"intent_recall", "churn", "early_endpoint_rate", "brier"}:  # shares
        assert (counts.numerator <= counts.denominator).all()


@pytest.mark.parametrize("name", ["wer", "cer"])
@given(pairs=st.lists(st.tuples(Text, Text), min_size=1, max_size=5))
@settings(deadline=None, max_examples=15)
def test_renaming_words_and_letters_changes_nothing(name: MetricName, pairs: list[tuple[str, str]]) -> None:
    renamed = [(said.translate(SHIFTED), heard.translate(SHIFTED)) for said, heard in pairs]
    measure = METRICS[name].measure
    assert counted(measure(make_evidence(renamed))) == counted(measure(make_evidence(pairs)))


SHIFTED = str.maketrans("abcdefghijklmnopqrstuvwxyz", "bcdefghijklmnopqrstuvwxyza")
