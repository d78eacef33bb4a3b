"""Comparisons of every metric: what is missing is said, budgets of every kind, both baselines, one set of bounds."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import Refused
from contracts.reports import Comparison, ScoreReport
from contracts.verdict import Value
from evalpacks.metrics import METRICS, Outputs
from evalpacks.pack import Pack
from evalpacks.scoring import score_report
from tests.evalpacks.evaluation_samples import make_pack, make_policy, make_table, outputs

GATE = {"pack": "commands", "slices": "overall", "margin": 0.05, "limit": 2.0, "min_speakers": 10, "min_support": 10}
INTENTS = {"command": "(?P<words>.+)"}
"""One intent whose slot is the whole text: recall is the share of utterances heard exactly."""


def gate(metric: str, **changes: Any) -> dict[str, Any]:
    return GATE | {"metric": metric, "limit": 0.1 if METRICS[metric].better == "higher" else 2.0} | changes  # type: ignore[index]


def judge(
    pack: Pack,
    candidate: Outputs,
    stable: Outputs | None,
    gates: Iterable[dict[str, Any]],
    parent: Outputs | None = None,
    **changes: Any,
) -> ScoreReport:
    policy = make_policy(quality=list(gates), **changes)
    return score_report(
        family="asr-commands",
        version="v2",
        payload_digest="a" * 64,
        stable_payload=None if stable is None else "b" * 64,
        packs=[pack],
        candidate={pack.name: candidate},
        stable=None if stable is None else {pack.name: stable},
        parent=None if parent is None else {pack.name: parent},
        parent_payload=None if "quantization" not in changes else "c" * 64,
        policy=policy,
    )


def one(report: ScoreReport) -> Comparison:
    (row,) = report.comparisons
    return row


def wrong_in(pack: Pack, takes: int, errors: int = 1) -> pd.DataFrame:
    """The first `takes` of the 12 utterances of every speaker have so many wrong words: no spread over speakers."""
    texts = [
        " ".join(["zzz"] * errors + text.split()[errors:]) if number % 12 < takes else text
        for number, text in enumerate(pack.utterances["text"])
    ]
    return pd.DataFrame({"utterance_id": pack.utterances["utterance_id"], "text": texts})


def streamed(pack: Pack, takes: Iterable[int], *, changed: int) -> pd.DataFrame:
    """Some utterances of every speaker, word by word; `changed` of their partials show a word that is taken back."""
    rows = []
    for number, (name, text) in enumerate(zip(pack.utterances["utterance_id"], pack.utterances["text"], strict=True)):
        if number % 12 not in set(takes):
            continue
        words = text.split()
        shown = [" ".join(words[:count]) for count in range(1, len(words))]
        shown[:changed] = [f"{partial} hmm" for partial in shown[:changed]]
        rows += [(name, 0.1 * (at + 1), partial, 0, False) for at, partial in enumerate(shown)]
        rows.append((name, 2.0, text, len(words), True))
    return pd.DataFrame(rows, columns=["utterance_id", "heard_s", "text", "committed", "final"])


@pytest.mark.parametrize(
    ("takes", "margin", "value"),
    [
        (0, 0.0, Value.PASS),  # as good as stable, nothing may be lost
        (6, 0.0625, Value.PASS),  # exactly on budget (R4.4): 6 of 12 utterances, 1 of 8 words
        (6, 0.0624, Value.FAIL),
        (12, 0.125, Value.PASS),
        (12, 0.1, Value.FAIL),
    ],
)
def test_lower_is_better_exactly_on_budget(pack: Pack, takes: int, margin: float, value: Value) -> None:
    row = one(judge(pack, Outputs(wrong_in(pack, takes)), Outputs(wrong_in(pack, 0)), [gate("wer", margin=margin)]))
    assert (row.estimate, row.verdict.value) == (takes / 96, value)


@pytest.mark.parametrize(
    ("takes", "margin", "limit", "value"),
    [
        (3, 0.25, 0.5, Value.PASS),  # exactly on budget: recall 1 -> 0.75
        (3, 0.24, 0.5, Value.FAIL),
        (3, 0.25, 0.75, Value.PASS),  # exactly on the floor
        (3, 0.25, 0.76, Value.FAIL),
        (0, 0.0, 1.0, Value.PASS),
    ],
)
def test_higher_is_better_exactly_on_budget(takes: int, margin: float, limit: float, value: Value) -> None:
    pack = make_pack(intents=INTENTS)
    gates = [gate("intent_recall", margin=margin, limit=limit)]
    row = one(judge(pack, Outputs(wrong_in(pack, takes)), Outputs(wrong_in(pack, 0)), gates))
    assert (row.better, row.estimate, row.verdict.value) == ("higher", -takes / 12 + 0.0, value)


@pytest.mark.parametrize(
    ("takes", "margin", "value"),
    [
        (0, 0.02, Value.PASS),
        (1, 0.5, Value.PASS),  # exactly on budget: stable 2 of 96 words, candidate 3 of 96
        (1, 0.49, Value.FAIL),
        (1, 0.02, Value.FAIL),  # the relative budget of 2 per cent
    ],
)
def test_a_relative_budget_is_a_share_of_stables_rate(pack: Pack, takes: int, margin: float, value: Value) -> None:
    def arm(takes: int) -> Outputs:
        return Outputs(wrong_in(pack, takes))

    row = one(judge(pack, arm(2 + takes), arm(2), [gate("wer", margin=margin, relative=True)]))
    assert row.verdict.value == value
    assert row.relative
    assert row.margin == pytest.approx(margin * 2 / 96)


def test_every_release_is_held_to_the_limit_too(pack: Pack) -> None:
    same = Outputs(wrong_in(pack, 12))
    row = one(judge(pack, same, same, [gate("wer", limit=0.1)]))
    assert row.verdict.value == Value.FAIL
    assert row.verdict.reasons[0] == "commands/overall: WER 12.5%, ceiling 10.0%: over the ceiling"
    assert row.verdict.reasons[1].endswith("margin 5.0: not worse")


PLAIN = make_pack()
UNSAID = "was not measured: the pack, or what the candidate gave for it, does not have what it is measured from"


@pytest.mark.parametrize(
    ("metric", "candidate", "stable", "reason"),
    [
        ("intent_recall", None, None, UNSAID),
        ("entity_error_rate", None, None, UNSAID),
        ("brier", None, None, UNSAID),
        ("churn", None, None, "churn was not measured: the candidate was not heard as a stream"),
        ("churn", streamed(PLAIN, [0, 1], changed=0), None, "churn was not measured: stable was not heard as a stream"),
        ("early_endpoint_rate", streamed(PLAIN, [0], changed=0), None, UNSAID),
    ],
)  # fmt: skip
def test_a_metric_without_evidence_is_inconclusive(
    metric: str, candidate: pd.DataFrame | None, stable: pd.DataFrame | None, reason: str
) -> None:
    texts = wrong_in(PLAIN, 1)
    row = one(judge(PLAIN, Outputs(texts, candidate), Outputs(texts, stable), [gate(metric)]))
    assert row.verdict.value == Value.INCONCLUSIVE
    assert row.verdict.reasons[0].startswith("commands/overall: ")
    assert row.verdict.reasons[0].endswith(reason)
    assert row.estimate is None


def test_a_first_release_needs_no_baseline_of_a_metric(pack: Pack) -> None:
    streams = Outputs(wrong_in(pack, 1), streamed(pack, [0, 1], changed=1))
    row = one(judge(pack, streams, None, [gate("churn", limit=0.5)]))
    assert (row.verdict.value, row.stable) == (Value.PASS, None)
    assert row.verdict.reasons[0].endswith("ceiling 50.0%, first release: within the ceiling")


def test_streaming_metrics_see_only_what_was_streamed(pack: Pack) -> None:
    """Two utterances of each of 24 speakers; the arms show different numbers of words."""
    texts = wrong_in(pack, 0)
    candidate = Outputs(texts, streamed(pack, [0, 5], changed=3))
    stable = Outputs(texts, streamed(pack, [0, 5], changed=1))
    row = one(judge(pack, candidate, stable, [gate("churn", min_support=300)]))
    assert row.stable is not None
    assert (row.utterances, row.speakers) == (48, 24)
    assert row.candidate.denominator > row.stable.denominator > 0
    assert row.candidate.rate is not None
    assert row.stable.rate is not None
    assert row.estimate == pytest.approx(row.candidate.rate - row.stable.rate)
    assert row.verdict.value == Value.FAIL


def test_speakers_without_a_denominator_are_no_support(pack: Pack) -> None:
    some = streamed(pack, [0], changed=0)
    few = some[some["utterance_id"].isin(sorted(set(some["utterance_id"]))[:9])]
    texts = wrong_in(pack, 0)
    row = one(judge(pack, Outputs(texts, few), Outputs(texts, few), [gate("churn")]))
    assert row.speakers == 9
    assert row.verdict.reasons[0].endswith("has too little support: 9 of 10 speakers")


def test_one_release_has_one_set_of_bounds(pack: Pack) -> None:
    """More comparisons make each interval wider: alpha is for all metrics together."""
    arms = Outputs(outputs(pack.utterances, 0.2)), Outputs(outputs(pack.utterances, 0.1, 9))
    (alone,) = judge(pack, *arms, [gate("wer")]).comparisons
    together = judge(pack, *arms, [gate("wer"), gate("cer", slices="protected"), gate("wer", slices="protected")])
    first = together.comparisons[0]
    assert first.estimate == alone.estimate
    assert first.lower is not None
    assert alone.lower is not None
    assert first.lower < alone.lower
    assert [row.metric for row in together.comparisons] == ["wer", *["cer"] * 3, *["wer"] * 3]


class TestQuantized:
    """A candidate of fewer bits, against the model it was made from."""

    QUANTIZATION = {"margin": 0.01}

    def test_every_protected_slice_is_compared_with_the_parent(self, pack: Pack) -> None:
        arm = Outputs(outputs(pack.utterances, 0.1))
        report = judge(pack, arm, arm, [gate("wer")], parent=arm, quantization=self.QUANTIZATION)
        against = [row for row in report.comparisons if row.baseline == "parent"]
        assert [row.slice for row in against] == ["overall", *pack.protected]
        assert {(row.metric, row.margin, row.limit) for row in against} == {("wer", 0.01, None)}
        assert {row.verdict.value for row in report.comparisons} == {Value.PASS}
        assert report.quantized_from == "c" * 64

    def test_what_it_loses_to_the_parent_fails_though_it_beats_stable(self, pack: Pack) -> None:
        report = judge(
            pack, Outputs(wrong_in(pack, 4)), Outputs(wrong_in(pack, 6)), [gate("wer")],
            parent=Outputs(wrong_in(pack, 0)), quantization=self.QUANTIZATION,
        )  # fmt: skip
        stable, *parent = report.comparisons
        assert stable.verdict.value == Value.PASS
        assert {row.verdict.value for row in parent} == {Value.FAIL}
        assert parent[0].verdict.reasons[0].startswith("commands/overall against the full-precision model: WER 0.0% ->")

    def test_a_first_release_is_compared_with_its_parent(self, pack: Pack) -> None:
        report = judge(
            pack, Outputs(wrong_in(pack, 4)), None, [gate("wer")],
            parent=Outputs(wrong_in(pack, 0)), quantization=self.QUANTIZATION,
        )  # fmt: skip
        assert [row.verdict.value for row in report.comparisons] == [Value.PASS, *[Value.FAIL] * 4]

    def test_a_parent_that_was_not_run_is_inconclusive(self, pack: Pack) -> None:
        arm = Outputs(wrong_in(pack, 1))
        report = judge(pack, arm, arm, [gate("wer")], quantization=self.QUANTIZATION)
        assert report.comparisons[1].verdict.value == Value.INCONCLUSIVE
        assert (
            report.comparisons[1]
            .verdict.reasons[0]
            .endswith("the full-precision model was not run, so there is no baseline")
        )

    def test_a_policy_without_a_margin_for_it_refuses(self, pack: Pack) -> None:
        arm = {pack.name: Outputs(wrong_in(pack, 1))}
        with pytest.raises(Refused) as refused:
            score_report(
                family="asr-commands", version="v2", payload_digest="a" * 64, stable_payload="b" * 64, packs=[pack],
                candidate=arm, stable=arm, parent=arm, parent_payload="c" * 64, policy=make_policy(),
            )  # fmt: skip
        assert refused.value.diagnostics() == (
            "a quantized candidate has no margin to be held to\n"
            "  where: families.asr-commands\n"
            "  got: no section `quantization`\n"
            "  expected: quantization: {margin: ...}, for the difference from its full-precision model\n"
            "  next step: add it to params.yaml, and release again"
        )


def test_the_drill_down_is_filled(pack: Pack) -> None:
    table = make_table().assign(confidence=0.75)
    open_pack = make_pack(show_transcripts=True)
    confident = outputs(table, 0.1).assign(confidence=0.75)
    closed = judge(pack, Outputs(confident), Outputs(outputs(table, 0.2)), [gate("wer")])
    assert closed.confusions == {}
    report = judge(open_pack, Outputs(confident), Outputs(outputs(table, 0.2)), [gate("wer")])
    assert report.classes.keys() == report.words.keys()
    assert report.stable_classes.keys() == report.stable_words.keys()
    for name, classes in report.classes.items():
        assert classes.substitutions == report.words[name].substitutions
    assert {confusion.hypothesis for confusion in report.confusions["commands"]} == {"zzz"}
    assert [one.pack for one in report.calibration] == ["commands"]
    assert report.stable_calibration == ()


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_no_order_of_rows_changes_a_byte(seed: int) -> None:
    pack = make_pack(intents=INTENTS)
    shuffle = np.random.default_rng(seed)

    def mixed(table: pd.DataFrame) -> pd.DataFrame:
        return table.iloc[shuffle.permutation(len(table))]

    gates = [gate("wer", slices="protected"), gate("intent_recall"), gate("churn"), gate("brier")]

    def arm(share: float, order: Callable[[pd.DataFrame], pd.DataFrame]) -> Outputs:
        texts = outputs(pack.utterances, share).assign(confidence=share)
        return Outputs(order(texts), order(streamed(pack, [0, 3], changed=2)))

    shuffled = judge(make_pack(mixed(make_table()), intents=INTENTS), arm(0.1, mixed), arm(0.2, mixed), gates)
    assert shuffled.canonical() == judge(pack, arm(0.1, pd.DataFrame), arm(0.2, pd.DataFrame), gates).canonical()
