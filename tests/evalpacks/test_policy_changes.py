"""The difference of two policies: what a release manager reads before saying yes (R4.7)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.policy import FamilyPolicy
from evalpacks.policy_changes import policy_changes
from tests.evalpacks.evaluation_samples import make_policy

WER = {"pack": "commands", "metric": "wer", "slices": "overall", "margin": 0.03, "limit": 0.35,
       "min_speakers": 10, "min_support": 100}  # fmt: skip
RECALL = WER | {"metric": "intent_recall", "limit": 0.8}
SERVING = make_policy().serving.model_dump()
CANARY = {"metrics": {"wer": {"kind": "ratio", "margin": 0.02}}, "deadline_s": 1}
EXCHANGE = {"min_saving": 0.2, "extra_margin": 0.01}
WAIVER = {"check": "leakage", "reason": "third party", "owner": "anna"}


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        ({}, {}, None),
        (
            {"quality": [WER]}, {"quality": [WER | {"margin": 0.05}]},
            "quality[commands wer overall].margin: 0.03 -> 0.05 (looser)",
        ),
        (
            {"quality": [WER]}, {"quality": [WER | {"margin": 0.01}]},
            "quality[commands wer overall].margin: 0.03 -> 0.01 (stricter)",
        ),
        (
            {"quality": [WER]}, {"quality": [WER | {"limit": 0.4}]},
            "quality[commands wer overall].limit: 0.35 -> 0.4 (looser)",
        ),
        (
            {"quality": [RECALL]}, {"quality": [RECALL | {"limit": 0.9}]},
            "quality[commands intent_recall overall].limit: 0.8 -> 0.9 (stricter)",
        ),
        (
            {"quality": [WER]}, {"quality": [WER | {"min_speakers": 5}]},
            "quality[commands wer overall].min_speakers: 10 -> 5 (looser)",
        ),
        ({"quality": [WER, RECALL]}, {"quality": [WER]}, "quality[commands intent_recall overall]: removed (looser)"),
        (
            {"quality": [WER]}, {"quality": [WER, WER | {"slices": ["accent=us", "accent=rp"]}]},
            "quality[commands wer accent=us+accent=rp]: added, pack commands, metric wer, slices accent=us+accent=rp, "
            "margin 0.03, relative no, limit 0.35, min_speakers 10, min_support 100 (stricter)",
        ),
        ({"quality": [WER, RECALL]}, {"quality": [RECALL, WER]}, "the same settings stand in another order"),
        (
            {"quality": [WER]}, {"quality": [WER, WER]},
            "quality[commands wer overall 2]: added, pack commands, metric wer, slices overall, margin 0.03, "
            "relative no, limit 0.35, min_speakers 10, min_support 100 (stricter)",
        ),
        ({}, {"serving": SERVING | {"rtf": 0.5}}, "serving.rtf: 0.3 -> 0.5 (looser)"),
        ({}, {"serving": SERVING | {"cost_regression": 0.15}}, "serving.cost_regression: not set -> 0.15 (stricter)"),
        (
            {}, {"serving": SERVING | {"first_partial_p95_ms": None}},
            "serving.first_partial_p95_ms: 900 -> not set (looser)",
        ),
        ({}, {"exchange": EXCHANGE}, "exchange: added, min_saving 0.2, extra_margin 0.01 (looser)"),
        (
            {"exchange": EXCHANGE}, {"exchange": EXCHANGE | {"min_saving": 0.3}},
            "exchange.min_saving: 0.2 -> 0.3 (stricter)",
        ),
        ({}, {"waivers": [WAIVER]}, "waivers[leakage]: added, check leakage, reason third party, owner anna (looser)"),
        (
            {"high_risk_slices": ["accent=us"]}, {"high_risk_slices": []},
            "high_risk_slices[accent=us]: removed (looser)",
        ),
        ({}, {"high_risk": True}, "high_risk: no -> yes (stricter)"),
        (
            {}, {"approvals": {"mode": "signed", "quorum": 1, "timeout_s": 1}},
            "approvals.mode: ui -> signed (stricter)",
        ),
        (
            {}, {"statistics": {"alpha": 0.1, "replicates": 400, "seed": 7}},
            "statistics.alpha: 0.05 -> 0.1",
        ),
        (
            {"canary": CANARY}, {"canary": CANARY | {"metrics": {"wer": {"kind": "ratio", "margin": 0.03}}}},
            "canary.metrics.wer.margin: 0.02 -> 0.03 (looser)",
        ),
        ({"bake_time_s": 5}, {}, "bake_time_s: 5 -> 0 (looser)"),
    ],
)  # fmt: skip
def test_a_difference_is_one_sentence(before: dict[str, Any], after: dict[str, Any], sentence: str | None) -> None:
    found = policy_changes(make_policy(**before), make_policy(**after))
    assert found == (() if sentence is None else (sentence,))


def test_a_budget_that_becomes_relative_is_another_gate() -> None:
    before, after = make_policy(quality=[WER]), make_policy(quality=[WER | {"relative": True}])
    added, removed = policy_changes(before, after)
    assert added.startswith("quality[commands wer overall relative]: added, ")
    assert removed == "quality[commands wer overall]: removed (looser)"


MARGINS = st.floats(0.001, 0.5).map(lambda value: round(value, 3))
POLICIES = st.builds(
    lambda margins, risky, rtf: make_policy(
        quality=[WER | {"margin": margin} for margin in margins],
        high_risk_slices=risky,
        serving=SERVING | {"rtf": rtf},
    ),
    st.lists(MARGINS, max_size=3),
    st.lists(st.sampled_from(["accent=us", "accent=rp"]), max_size=3),
    MARGINS,
)


@given(before=POLICIES, after=POLICIES)
def test_policies_with_different_digests_differ_in_a_sentence(before: FamilyPolicy, after: FamilyPolicy) -> None:
    assert bool(policy_changes(before, after)) == (before.digest() != after.digest())


@given(before=POLICIES, after=POLICIES)
def test_what_is_looser_one_way_is_stricter_the_other_way(before: FamilyPolicy, after: FamilyPolicy) -> None:
    there, back = policy_changes(before, after), policy_changes(after, before)
    assert sum("(looser)" in text for text in there) == sum("(stricter)" in text for text in back)
