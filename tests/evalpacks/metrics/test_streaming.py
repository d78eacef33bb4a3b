"""Streaming quality from what was shown: churn, early endpoints, streams that are no streams."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import Refused
from contracts.policy import MetricName
from evalpacks.metrics import METRICS
from evalpacks.metrics.streaming import endpoint_delays_s, word_churn
from tests.evalpacks.metrics.evidence_samples import Row, counted, make_evidence, make_stream


def measured(name: MetricName, shown: list[Row], end_s: float = 1.0) -> tuple[float, float]:
    evidence = make_evidence([("a b", "a b")], ends_s=[end_s], streams={"u0": shown})
    (counts,) = counted(METRICS[name].measure(evidence))
    return counts


@pytest.mark.parametrize(
    ("hypotheses", "counts"),
    [
        ([[]], (0, 0)),
        ([["a"]], (0, 0)),  # only the final: no partial was shown
        ([["a"], ["a"]], (0, 1)),
        ([["a"], ["a", "b"], ["a", "b"]], (0, 2)),  # words that grow are not shown again
        ([["a", "b"], ["a", "c"]], (1, 2)),  # the final took one back
        ([["x", "b"], ["a", "b"]], (2, 2)),  # all from the first difference on
        ([["a"], [], ["a"]], (1, 1)),
        ([["a"], ["b"], ["a"], ["a"]], (2, 3)),
    ],
)
def test_named_churn(hypotheses: list[list[str]], counts: tuple[int, int]) -> None:
    assert word_churn(hypotheses) == counts
    shown = [(float(number), " ".join(words)) for number, words in enumerate(hypotheses)]
    assert measured("churn", shown) == counts


@pytest.mark.parametrize(
    ("shown", "speech_end_s", "counts"),
    [
        ([(0.5, "a"), (0.9, "a b"), (2.0, "a b")], 1.0, (0, 1)),  # fires at 1.7 s
        ([(0.5, "a"), (1.4, "a b"), (3.0, "a b")], 1.5, (1, 1)),  # fires at 1.3 s, in the pause after the first word
        ([(0.5, "a"), (1.4, "a b"), (3.0, "a b")], 1.3, (0, 1)),  # at the very end of speech is not before it
        ([(0.5, "a"), (1.2, "a b"), (1.6, "a b")], 1.5, (0, 0)),  # no pause is long enough
        ([(3.0, "")], 1.0, (0, 0)),  # nothing shown, nothing ended
        ([(0.5, ""), (3.0, "a")], 1.0, (0, 0)),  # only the final has words
    ],
)
def test_named_endpoints(shown: list[Row], speech_end_s: float, counts: tuple[int, int]) -> None:
    assert measured("early_endpoint_rate", shown, speech_end_s) == counts


def test_the_delay_runs_from_the_end_of_the_last_word() -> None:
    shown = [(0.5, "a"), (0.9, "a b"), (2.0, "a b")]
    streams = {"u0": shown, "u1": shown, "u2": [(2.0, "")]}
    evidence = make_evidence([("a b", "a b")] * 4, ends_s=[1.0, math.nan, 1.0, 1.0], streams=streams)
    delays_s = endpoint_delays_s(evidence)
    assert delays_s is not None
    assert delays_s.tolist() == pytest.approx([0.7, math.nan, math.nan, math.nan], nan_ok=True)
    endpoints = METRICS["early_endpoint_rate"].measure(evidence)
    assert counted(endpoints) == [(0, 1), (0, 0), (0, 0), (0, 0)]


def test_utterances_that_were_not_streamed_say_nothing() -> None:
    evidence = make_evidence([("a", "a"), ("b", "b")], streams={"u1": [(0.1, "b"), (1.0, "b")]})
    assert counted(METRICS["churn"].measure(evidence)) == [(0, 0), (0, 1)]


@pytest.mark.parametrize(
    ("change", "what", "got"),
    [
        (lambda table: table.assign(final=False), "has no final", "u0"),
        (lambda table: table.assign(final=True), "goes on after its final", "u0"),
        (lambda table: table.assign(utterance_id="u9"), "is not in the pack", "u9"),
    ],
)
def test_a_stream_that_is_none_is_refused(change: Callable[[pd.DataFrame], pd.DataFrame], what: str, got: str) -> None:
    evidence = make_evidence([("a", "a")], streams={"u0": [(0.1, "secret"), (1.0, "secret")]})
    assert evidence.stream is not None
    with pytest.raises(Refused) as caught:
        METRICS["churn"].measure(replace(evidence, stream=change(evidence.stream)))
    assert str(caught.value) == (
        f"a streamed utterance {what}\n"
        "  where: stream of a pack\n"
        f"  got: {got}\n"
        "  expected: rows of utterances of the pack, the last one of each final\n"
        "  next step: run the score step again"
    )


Growing = st.lists(st.sampled_from("abc"), min_size=1, max_size=6)
Hypotheses = st.lists(st.lists(st.sampled_from("ab"), max_size=4), min_size=1, max_size=6)


@given(words=Growing, sizes=st.lists(st.integers(0, 6), max_size=5))
@settings(deadline=None)
def test_a_stream_that_never_revises_has_no_churn(words: list[str], sizes: list[int]) -> None:
    partials = [words[:size] for size in sorted(sizes)]
    assert word_churn([*partials, words]) == (0, len(partials[-1]) if partials else 0)


@given(hypotheses=Hypotheses)
@settings(deadline=None)
def test_churn_is_a_share_and_words_balance(hypotheses: list[list[str]]) -> None:
    unstable, shown = word_churn(hypotheses)
    assert 0 <= unstable <= shown
    kept = shown - unstable
    assert kept <= len(hypotheses[-1])  # what was shown and not taken back stands in the final


@given(hypotheses=Hypotheses)
@settings(deadline=None)
def test_showing_the_same_again_changes_nothing(hypotheses: list[list[str]]) -> None:
    assert word_churn([one for one in hypotheses for _ in (0, 1)][:-1]) == word_churn(hypotheses)


@given(hypotheses=Hypotheses, seed=st.integers(0, 99))
@settings(deadline=None, max_examples=30)
def test_the_order_of_rows_changes_nothing(hypotheses: list[list[str]], seed: int) -> None:
    shown = [(0.1 * number, " ".join(words)) for number, words in enumerate(hypotheses, 1)]
    evidence = make_evidence([("a", "a")], streams={"u0": shown})
    shuffled = replace(evidence, stream=make_stream({"u0": shown}).sample(frac=1, random_state=seed))
    assert counted(METRICS["churn"].measure(shuffled)) == counted(METRICS["churn"].measure(evidence))
