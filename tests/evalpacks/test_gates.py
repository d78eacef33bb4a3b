"""Gates: the edge cases of the source labs as a table, and how verdicts combine."""

from __future__ import annotations

from typing import Any

import pytest

from contracts.approval import SignedWaiver
from contracts.policy import FamilyPolicy
from contracts.reports import Comparison, Count
from contracts.verdict import Value, Verdict
from evalpacks.gates import AllOf, Given, gate, manual_review, quality_gate, safety_gate, stopping
from evalpacks.metrics import Outputs
from evalpacks.pack import Pack
from evalpacks.scoring import score_report
from evalpacks.severity import by_severity
from tests.evalpacks.evaluation_samples import make_pack, make_policy, make_table, outputs
from tests.evalpacks.gate_samples import OTHER, PAYLOAD, safety, scores, timing

GATE = {"pack": "commands", "metric": "wer", "margin": 0.03, "limit": 0.9, "min_speakers": 10, "min_support": 100}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], Value.FAIL),  # R4.2: no gates at all
        ([Value.PASS], Value.PASS),
        ([Value.PASS, Value.INCONCLUSIVE], Value.INCONCLUSIVE),
        ([Value.INCONCLUSIVE, Value.ERROR, Value.PASS], Value.ERROR),
        ([Value.ERROR, Value.FAIL, Value.INCONCLUSIVE], Value.FAIL),
    ],
)
def test_all_of_has_the_worst(values: list[Value], expected: Value) -> None:
    verdict = AllOf([Given(Verdict(value=value, reasons=(value.value,))) for value in values]).judge()
    assert verdict.value == expected
    if values:
        assert verdict.reasons[0] == expected.value
        assert len(verdict.reasons) == len(values)


@pytest.mark.parametrize(
    ("changes", "value", "reason"),
    [
        ({}, Value.PASS, "share of 24 non-speech clips with words 0.083, budget 0.25: within"),
        ({"clips_with_words": 6}, Value.PASS, "share of 24 non-speech clips with words 0.25, budget 0.25: within"),
        ({"clips_with_words": 7}, Value.FAIL, "share of 24 non-speech clips with words 0.292, budget 0.25: over"),
        (
            {"redaction_leaked": 1},
            Value.FAIL,
            "private strings that survived redaction (of 24 planted) 1, budget 0: over",
        ),
        (
            {"clips": 0, "clips_with_words": 0},
            Value.INCONCLUSIVE,
            "share of 0 non-speech clips with words: not measured, budget 0.25",
        ),
        (
            {"redaction_planted": 0},
            Value.INCONCLUSIVE,
            "private strings that survived redaction (of 0 planted): not measured, budget 0",
        ),
        ({"verdict": Verdict(value=Value.ERROR, reasons=("the worker crashed",))}, Value.ERROR, "the worker crashed"),
    ],
)
def test_safety(policy: FamilyPolicy, changes: dict[str, Any], value: Value, reason: str) -> None:
    verdict = safety_gate(safety(**changes), policy.safety).judge()
    assert verdict.value == value
    assert verdict.reasons[0] == reason


def test_the_release_has_the_worst_of_separate_verdicts(pack: Pack, policy: FamilyPolicy) -> None:
    report = gate(scores(pack, policy), timing(rtf=0.5), safety(), policy)
    values = (report.quality.value, report.serving.value, report.safety.value, report.verdict.value)
    assert values == (Value.PASS, Value.FAIL, Value.PASS, Value.FAIL)
    assert report.verdict.reasons[0] == "RTF 0.5, budget 0.3: over"
    assert report.policy == policy.digest()


def test_a_regression_of_quality_fails_the_release(pack: Pack, policy: FamilyPolicy) -> None:
    report = gate(scores(pack, policy, harm=0.2), timing(), safety(), policy)
    assert (report.quality.value, report.verdict.value) == (Value.FAIL, Value.FAIL)
    assert report.verdict.reasons[0].endswith("worse")


def test_high_risk_slices_ask_for_manual_review_though_all_pass(pack: Pack, policy: FamilyPolicy) -> None:
    report = gate(scores(pack, policy), timing(), safety(), policy)
    assert report.verdict.value == Value.PASS
    assert report.manual_review == ("commands/accent=scottish",)
    assert manual_review(scores(pack, policy)) == report.manual_review


def test_a_policy_without_quality_gates_fails(pack: Pack) -> None:
    policy = make_policy(quality=[])
    verdict = quality_gate(scores(pack, policy), policy, (), {}).judge()
    assert (verdict.value, verdict.reasons) == (Value.FAIL, ("no gate has given a verdict",))


def test_scores_of_another_policy_are_an_error(pack: Pack, policy: FamilyPolicy) -> None:
    looser = make_policy(bake_time_s=5)
    made = scores(pack, looser)
    verdict = quality_gate(made, policy, made.comparisons, {}).judge()
    assert verdict.value == Value.ERROR
    assert verdict.reasons == ("the scores were made under another policy: score again",)


def test_reports_of_different_payloads_are_an_error(pack: Pack, policy: FamilyPolicy) -> None:
    report = gate(scores(pack, policy), timing(payload_digest=OTHER), safety(), policy)
    assert report.verdict.value == Value.ERROR
    assert report.verdict.reasons[0] == "the score, timing and safety reports are of different payloads: score again"


def test_reports_against_different_stable_ones_are_an_error(pack: Pack, policy: FamilyPolicy) -> None:
    report = gate(scores(pack, policy), timing(stable_payload="c" * 64), safety(), policy)
    assert report.verdict.value == Value.ERROR
    assert report.verdict.reasons[0] == (
        "the score and timing reports are against different stable payloads: score again"
    )


def without(accent: str) -> Pack:
    table = make_table()
    return make_pack(table[table["accent"] != accent].reset_index(drop=True))


def accents(us: float, scottish: float) -> dict[str, float]:
    return {"us": us, "scottish": scottish}


@pytest.mark.parametrize(
    ("pack", "candidate", "stable", "changes", "value", "reason"),
    [
        ("whole", accents(0.1, 0.1), accents(0.1, 0.1), {}, Value.PASS, "not worse"),
        (  # the aggregate improves, a protected slice regresses: block
            "whole", accents(0.1, 0.35), accents(0.6, 0.1), {}, Value.FAIL, "commands/accent=scottish: WER",
        ),
        (  # an eval slice went missing: pause, however good the rest
            "no scottish", accents(0.0, 0.0), accents(0.5, 0.5), {}, Value.INCONCLUSIVE,
            "commands/accent=scottish: the pack has nothing in this slice",
        ),
        (  # a missing slice does not hide a regression elsewhere
            "no scottish", accents(0.3, 0.0), accents(0.1, 0.0), {}, Value.FAIL, "commands/",
        ),
        (  # no baseline: pause
            "whole", accents(0.0, 0.0), None, {}, Value.INCONCLUSIVE,
            "stable was not run, so there is no baseline",
        ),
        (  # a metric that was not measured: pause
            "whole", accents(0.1, 0.1), accents(0.1, 0.1), {"metric": "churn"}, Value.INCONCLUSIVE,
            "churn was not measured",
        ),
        (  # no gates: block
            "whole", accents(0.0, 0.0), accents(0.5, 0.5), {"quality": []}, Value.FAIL, "no gate has given a verdict",
        ),
        (  # relative WER 2 per cent, with a candidate that is 20 per cent worse
            "whole", accents(0.3, 0.3), accents(0.25, 0.25), {"margin": 0.02, "relative": True}, Value.FAIL,
            "margin 2% of ",
        ),
    ],
)  # fmt: skip
def test_a_release_by_slices(
    pack: str,
    candidate: dict[str, float],
    stable: dict[str, float] | None,
    changes: dict[str, Any],
    value: Value,
    reason: str,
) -> None:
    heard = make_pack() if pack == "whole" else without("scottish")
    asked = {"pack": "commands", "metric": "wer", "margin": 0.03, "limit": 2.0, "min_speakers": 10, "min_support": 100}
    gates = [asked | changes | {"slices": slices} for slices in ("overall", "protected")]
    policy = make_policy(quality=changes.get("quality", gates))

    def arm(rates: dict[str, float]) -> Outputs:
        return Outputs(outputs(heard.utterances, lambda row: rates[row["accent"]]))

    made = score_report(
        family="asr-commands", version="v2", payload_digest=PAYLOAD, stable_payload=OTHER, packs=[heard],
        candidate={"commands": arm(candidate)}, stable={} if stable is None else {"commands": arm(stable)},
        policy=policy,
    )  # fmt: skip
    report = gate(made, timing(), safety(), policy)
    assert report.verdict.value == report.quality.value == value
    assert reason in report.verdict.reasons[0]


@pytest.mark.parametrize(("leaked", "value"), [(0, Value.PASS), (1, Value.FAIL)])
def test_one_private_string_that_leaks_blocks(pack: Pack, policy: FamilyPolicy, leaked: int, value: Value) -> None:
    report = gate(scores(pack, policy), timing(), safety(redaction_leaked=leaked), policy)
    assert (report.quality.value, report.verdict.value) == (Value.PASS, value)


def row(slice_name: str, **changes: Any) -> Comparison:
    """A comparison with a difference of 0.02, margin 0.01, that fails."""
    fields: dict[str, Any] = {
        "pack": "commands", "metric": "wer", "slice": slice_name, "better": "lower", "speakers": 20, "utterances": 90,
        "candidate": Count(numerator=12, denominator=100), "stable": Count(numerator=10, denominator=100),
        "estimate": 0.02, "lower": 0.005, "upper": 0.035, "upper_one_sided": 0.03, "margin": 0.01, "limit": 0.9,
        "verdict": Verdict(value=Value.FAIL, reasons=(slice_name,)),
    }  # fmt: skip
    return Comparison.model_validate(fields | changes)


def test_regressions_are_ranked_by_severity() -> None:
    """Each slice against its own budget; evidence that is missing is before all that can be weighed with it."""
    missing = {"estimate": None, "lower": None, "upper": None, "upper_one_sided": None, "stable": None}
    undecided = Verdict(value=Value.INCONCLUSIVE, reasons=("undecided",))
    better = {"better": "higher", "metric": "intent_recall", "limit": 0.01}
    rows = [
        row("twice the margin"),
        row("within", estimate=-0.01, verdict=Verdict(value=Value.PASS, reasons=("fine",))),
        row("five times, higher is better", estimate=-0.05, **better),
        row("far over the ceiling", limit=0.01),
        row("undecided", verdict=undecided),
        row("no baseline", verdict=undecided, **missing),
        row("no margin at all", margin=0.0),
        row("better, higher is better", estimate=0.05, **better, verdict=Verdict(value=Value.PASS)),
    ]
    assert [one.slice for one in by_severity(rows)] == [
        "no margin at all",
        "far over the ceiling",
        "five times, higher is better",
        "twice the margin",
        "no baseline",
        "undecided",
        "within",
        "better, higher is better",
    ]
    assert by_severity(reversed(rows)) == by_severity(rows)


WAIVER = SignedWaiver(
    family="asr-commands", payload_digest=PAYLOAD, policy="0" * 64, pack="commands", slice="accent=scottish",
    metric="wer", reason="none to be had", approver="anna", key_id="k", at="2026",
)  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "value"),
    [
        ({}, Value.PASS),
        ({"payload_digest": OTHER}, Value.INCONCLUSIVE),
        ({"policy": OTHER}, Value.INCONCLUSIVE),
        ({"family": "asr-en"}, Value.INCONCLUSIVE),
        ({"metric": "cer"}, Value.INCONCLUSIVE),
        ({"pack": "entities"}, Value.INCONCLUSIVE),
        ({"slice": "accent=us"}, Value.INCONCLUSIVE),
        ({"baseline": "parent"}, Value.INCONCLUSIVE),
    ],
)
def test_a_waiver_fits_exactly_one_comparison(changes: dict[str, Any], value: Value) -> None:
    policy = make_policy(quality=[GATE | {"slices": ["accent=scottish", "accent=us"]}])
    waiver = WAIVER.model_copy(update={"policy": policy.digest()} | changes)
    made = scores(without("scottish"), policy)
    report = gate(made, timing(), safety(), policy, waivers={waiver.digest(): waiver})
    assert report.verdict.value == value
    assert report.waivers == ((waiver.digest(),) if value == Value.PASS else ())
    assert bool(stopping(made, timing(), policy, {waiver.digest(): waiver})) == (value != Value.PASS)


def test_a_failure_cannot_be_waived(pack: Pack) -> None:
    policy = make_policy(quality=[GATE | {"slices": ["accent=scottish"]}])
    waiver = WAIVER.model_copy(update={"policy": policy.digest()})
    report = gate(scores(pack, policy, harm=0.3), timing(), safety(), policy, waivers={waiver.digest(): waiver})
    assert (report.verdict.value, report.waivers) == (Value.FAIL, ())


def test_the_difference_from_the_last_policy_is_in_the_report(pack: Pack, policy: FamilyPolicy) -> None:
    before = make_policy(bake_time_s=9)
    report = gate(scores(pack, policy), timing(), safety(), policy, previous=before)
    assert report.policy_changes == ("bake_time_s: 9 -> 0 (looser)",)
    assert gate(scores(pack, policy), timing(), safety(), policy).policy_changes == ()
