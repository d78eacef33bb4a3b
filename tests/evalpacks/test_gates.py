"""Gates: the edge cases of the source labs as a table, and how verdicts combine."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.policy import FamilyPolicy
from contracts.reports import Quantiles, SafetyReport, ScoreReport, TimingReport
from contracts.verdict import Value, Verdict
from evalpacks.gates import AllOf, Budget, Given, gate, manual_review, quality_gate, safety_gate, serving_gate
from evalpacks.metrics import Outputs
from evalpacks.pack import Pack
from evalpacks.scoring import score_report
from tests.evalpacks.evaluation_samples import make_pack, make_policy, make_table, outputs

PAYLOAD, OTHER = "a" * 64, "b" * 64


def quantiles(p95: float) -> Quantiles:
    return Quantiles(n=60, p50=p95 / 2, p95=p95, p99=p95 * 2, maximum=p95 * 3)


def timing(**changes: Any) -> TimingReport:
    fields: dict[str, Any] = {
        "family": "asr-commands",
        "payload_digest": PAYLOAD,
        "stable_payload": OTHER,
        "final_ms": quantiles(355),
        "first_partial_ms": quantiles(212),
        "stable_final_ms": quantiles(340),
        "rtf": 0.04,
        "stable_rtf": 0.04,
        "peak_memory_mb": 412,
        "stable_peak_memory_mb": 400,
        "cost_usd_per_audio_hour": 0.031,
        "stable_cost_usd_per_audio_hour": 0.03,
    }
    return TimingReport.model_validate(fields | changes)


def safety(**changes: Any) -> SafetyReport:
    fields: dict[str, Any] = {
        "family": "asr-commands",
        "version": "v2",
        "payload_digest": PAYLOAD,
        "clips": 24,
        "hallucinated_words": 3,
        "clips_with_words": 2,
        "redaction_planted": 24,
        "redaction_leaked": 0,
        "verdict": Verdict(value=Value.PASS),
    }
    return SafetyReport.model_validate(fields | changes)


def scores(pack: Pack, policy: FamilyPolicy, *, harm: float = 0.0) -> ScoreReport:
    stable = outputs(pack.utterances, 0.1)
    return score_report(
        family="asr-commands",
        version="v2",
        payload_digest=PAYLOAD,
        stable_payload=OTHER,
        packs=[pack],
        candidate={pack.name: Outputs(outputs(pack.utterances, 0.1 + harm))},
        stable={pack.name: Outputs(stable)},
        policy=policy,
    )


@pytest.mark.parametrize(
    ("value", "limit", "better", "expected", "reason"),
    [
        (355.0, 400.0, "lower", Value.PASS, "figure 355 ms, budget 400 ms: within"),
        (400.0, 400.0, "lower", Value.PASS, "figure 400 ms, budget 400 ms: within"),  # R4.4
        (400.4, 400.0, "lower", Value.FAIL, "figure 400.4 ms, budget 400 ms: over"),
        (0.1 + 0.2, 0.3, "lower", Value.PASS, "figure 0.3 ms, budget 0.3 ms: within"),
        (0.31, 0.3, "lower", Value.FAIL, "figure 0.31 ms, budget 0.3 ms: over"),
        (0.9, 0.9, "higher", Value.PASS, "figure 0.9 ms, budget 0.9 ms: within"),
        (0.95, 0.9, "higher", Value.PASS, "figure 0.95 ms, budget 0.9 ms: within"),
        (0.89, 0.9, "higher", Value.FAIL, "figure 0.89 ms, budget 0.9 ms: under"),
        (None, 900.0, "lower", Value.INCONCLUSIVE, "figure: not measured, budget 900 ms"),
        (float("nan"), 900.0, "lower", Value.INCONCLUSIVE, "figure: not measured, budget 900 ms"),
        (float("inf"), 900.0, "lower", Value.INCONCLUSIVE, "figure: not measured, budget 900 ms"),
        (0.0, 0.0, "lower", Value.PASS, "figure 0 ms, budget 0 ms: within"),
        (1.0, 0.0, "lower", Value.FAIL, "figure 1 ms, budget 0 ms: over"),
        (1500.0, 1500.0, "lower", Value.PASS, "figure 1500 ms, budget 1500 ms: within"),
    ],
)
def test_a_figure_against_its_budget(
    value: float | None, limit: float, better: Any, expected: Value, reason: str
) -> None:
    verdict = Budget(label="figure", unit=" ms", value=value, limit=limit, better=better).judge()
    assert (verdict.value, verdict.reasons) == (expected, (reason,))


@given(limit=st.floats(0.001, 1e6), excess=st.floats(0.001, 10))
def test_a_figure_on_budget_passes_and_one_beyond_fails(limit: float, excess: float) -> None:
    for better, sign in (("lower", 1), ("higher", -1)):
        on = Budget(label="x", unit="", value=limit, limit=limit, better=better)  # type: ignore[arg-type]
        beyond = Budget(label="x", unit="", value=limit * (1 + sign * excess), limit=limit, better=better)  # type: ignore[arg-type]
        assert on.judge().value == Value.PASS
        assert beyond.judge().value == Value.FAIL


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
        ({}, Value.PASS, "first partial p95 212 ms, budget 900 ms: within"),
        ({"final_ms": quantiles(400)}, Value.PASS, "first partial p95 212 ms, budget 900 ms: within"),
        ({"final_ms": quantiles(401)}, Value.FAIL, "final p95 401 ms, budget 400 ms: over"),
        ({"first_partial_ms": quantiles(901)}, Value.FAIL, "first partial p95 901 ms, budget 900 ms: over"),
        ({"first_partial_ms": None}, Value.INCONCLUSIVE, "first partial p95: not measured, budget 900 ms"),
        ({"rtf": 0.5}, Value.FAIL, "RTF 0.5, budget 0.3: over"),
        ({"peak_memory_mb": 1501}, Value.FAIL, "peak memory 1501 MB, budget 1500 MB: over"),
        (
            {"cost_usd_per_audio_hour": 0.1001},
            Value.FAIL,
            "cost 0.1001 USD/audio hour, budget 0.1 USD/audio hour: over",
        ),
    ],
)
def test_serving(policy: FamilyPolicy, changes: dict[str, Any], value: Value, reason: str) -> None:
    verdict = serving_gate(timing(**changes), policy.serving).judge()
    assert (verdict.value, verdict.reasons[0]) == (value, reason)
    assert len(verdict.reasons) == 5


def test_a_family_that_does_not_stream_has_no_first_partial(policy: FamilyPolicy) -> None:
    budgets = policy.serving.model_copy(update={"first_partial_p95_ms": None})
    verdict = serving_gate(timing(first_partial_ms=None), budgets).judge()
    assert verdict.value == Value.PASS
    assert len(verdict.reasons) == 4


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


def test_a_missing_slice_stops_the_release() -> None:
    table = make_table()
    pack = make_pack(table[table["accent"] == "us"].reset_index(drop=True))
    policy = make_policy()
    report = gate(scores(pack, policy), timing(), safety(), policy)
    assert report.verdict.value == Value.INCONCLUSIVE
    assert "commands/accent=scottish: the pack has nothing in this slice" in report.verdict.reasons
