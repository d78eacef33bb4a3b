"""Figures against their budgets, and against the stable one's of the same pass."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.policy import FamilyPolicy
from contracts.reports import Count
from contracts.verdict import Value
from evalpacks.gates import Budget, gate, serving_gate
from evalpacks.pack import Pack
from tests.evalpacks.gate_samples import quantiles, safety, scores, timing


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
        (0.0041, 20.0, "lower", Value.PASS, "figure 0.004 ms, budget 20 ms: within"),
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


def test_a_figure_shows_its_interval_and_what_its_limit_came_from() -> None:
    figure = Budget(label="p95", unit=" ms", value=355, limit=400, interval=(340.25, 372.5), basis="stable and more")
    assert figure.judge().reasons == ("p95 355 ms [340, 372], budget 400 ms (stable and more): within",)


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


@pytest.mark.parametrize(
    ("budget", "changes", "value", "reason"),
    [
        (  # the p95 latency may rise by 75 ms
            {"final_p95_regression_ms": 75}, {"final_ms": quantiles(375), "stable_final_ms": quantiles(300)},
            Value.PASS, "final p95 375 ms, budget 375 ms (stable 300 ms and 75 ms more): within",
        ),
        (
            {"final_p95_regression_ms": 75}, {"final_ms": quantiles(376), "stable_final_ms": quantiles(300)},
            Value.FAIL, "final p95 376 ms, budget 375 ms (stable 300 ms and 75 ms more): over",
        ),
        (
            {"final_p95_regression": 0.15}, {"final_ms": quantiles(345), "stable_final_ms": quantiles(300)},
            Value.PASS, "final p95 345 ms, budget 345 ms (stable 300 ms and 15% more): within",
        ),
        (
            {"final_p95_regression": 0.15}, {"final_ms": quantiles(346), "stable_final_ms": quantiles(300)},
            Value.FAIL, "final p95 346 ms, budget 345 ms (stable 300 ms and 15% more): over",
        ),
        (  # the unit cost may rise by 15 per cent
            {"cost_regression": 0.15}, {"cost_usd_per_audio_hour": 0.046, "stable_cost_usd_per_audio_hour": 0.04},
            Value.PASS, "cost 0.046 USD/audio hour, budget 0.046 USD/audio hour (stable 0.04 USD/audio hour and 15% "
            "more): within",
        ),
        (
            {"cost_regression": 0.15}, {"cost_usd_per_audio_hour": 0.047, "stable_cost_usd_per_audio_hour": 0.04},
            Value.FAIL, "cost 0.047 USD/audio hour, budget 0.046 USD/audio hour (stable 0.04 USD/audio hour and 15% "
            "more): over",
        ),
        (
            {"peak_memory_regression": 0.1}, {"peak_memory_mb": 441, "stable_peak_memory_mb": 400},
            Value.FAIL, "peak memory 441 MB, budget 440 MB (stable 400 MB and 10% more): over",
        ),
        (  # faster than stable is never over
            {"final_p95_regression": 0.15}, {"final_ms": quantiles(100)},
            Value.PASS, "final p95 100 ms, budget 391 ms (stable 340 ms and 15% more): within",
        ),
        (
            {"final_p95_regression": 0.15}, {"stable_final_ms": None},
            Value.INCONCLUSIVE, "final p95: the stable one's was not measured, budget 15% more than it",
        ),
        (
            {"final_p95_regression_ms": 75}, {"stable_final_ms": None},
            Value.INCONCLUSIVE, "final p95: the stable one's was not measured, budget 75 ms more than it",
        ),
        (
            {"cost_regression": 0.15}, {"stable_cost_usd_per_audio_hour": None},
            Value.INCONCLUSIVE, "cost: the stable one's was not measured, budget 15% more than it",
        ),
        (
            {"first_stable_p95_ms": 500}, {},
            Value.INCONCLUSIVE, "first stable p95: not measured, budget 500 ms",
        ),
        (
            {"first_stable_p95_ms": 500}, {"first_stable_ms": quantiles(501)},
            Value.FAIL, "first stable p95 501 ms, budget 500 ms: over",
        ),
    ],
)  # fmt: skip
def test_serving_against_stable(
    policy: FamilyPolicy, budget: dict[str, float], changes: dict[str, Any], value: Value, reason: str
) -> None:
    verdict = serving_gate(timing(**changes), policy.serving.model_copy(update=budget)).judge()
    assert verdict.value == value
    assert reason in verdict.reasons
    assert len(verdict.reasons) == 6


def test_a_first_release_has_no_stable_to_be_slower_than(policy: FamilyPolicy) -> None:
    budgets = policy.serving.model_copy(update={"final_p95_regression": 0.15, "cost_regression": 0.15})
    first = timing(stable_payload=None, stable_final_ms=None, stable_cost_usd_per_audio_hour=None)
    verdict = serving_gate(first, budgets).judge()
    assert (verdict.value, len(verdict.reasons)) == (Value.PASS, 5)


def test_a_family_that_does_not_stream_has_no_first_partial(policy: FamilyPolicy) -> None:
    budgets = policy.serving.model_copy(update={"first_partial_p95_ms": None})
    verdict = serving_gate(timing(first_partial_ms=None), budgets).judge()
    assert verdict.value == Value.PASS
    assert len(verdict.reasons) == 4


def test_a_stream_that_is_none_fails_whatever_its_delays(policy: FamilyPolicy) -> None:
    fault = "a partial at 0.50 s changes with audio that comes later"
    verdict = serving_gate(timing(stream_faults=(fault,)), policy.serving).judge()
    assert verdict.value == Value.FAIL
    assert verdict.reasons[0] == f"the stream is not one: {fault}"


HEARD = quantiles(180)  # p50 90, p99 360


@pytest.mark.parametrize(
    ("budgets", "changes", "value", "reason"),
    [
        ({"first_audio_p95_ms": 180}, {"first_audio_ms": HEARD}, Value.PASS, ""),
        (
            {"first_audio_p95_ms": 179},
            {"first_audio_ms": HEARD},
            Value.FAIL,
            "first audio p95 180 ms, budget 179 ms: over",
        ),
        (
            {"first_audio_p50_ms": 80},
            {"first_audio_ms": HEARD},
            Value.FAIL,
            "first audio p50 90 ms, budget 80 ms: over",
        ),
        (
            {"first_audio_p99_ms": 300},
            {"first_audio_ms": HEARD},
            Value.FAIL,
            "first audio p99 360 ms, budget 300 ms: over",
        ),
        ({"first_audio_p95_ms": 180}, {}, Value.INCONCLUSIVE, "first audio p95: not measured, budget 180 ms"),
        (
            {"underrun_share": 0.0},
            {"underrun_share": 0.02},
            Value.FAIL,
            "share of answers whose playback starves 0.02, budget 0: over",
        ),
        ({"underrun_share": 0.0}, {"underrun_share": 0.0}, Value.PASS, ""),
    ],
)
def test_answers_that_are_listened_to(
    policy: FamilyPolicy, budgets: dict[str, Any], changes: dict[str, Any], value: Value, reason: str
) -> None:
    verdict = serving_gate(timing(**changes), policy.serving.model_copy(update=budgets)).judge()
    assert verdict.value == value
    assert not reason or verdict.reasons[0] == reason


@pytest.mark.parametrize(
    ("succeeded", "value", "reason"),
    [
        (90, Value.PASS, ""),  # 0.009 USD a turn, 0.01 a turn that succeeded
        (60, Value.FAIL, "cost 0.015 USD/successful turn, budget 0.01 USD/successful turn: over"),
        (0, Value.INCONCLUSIVE, "cost: not measured, budget 0.01 USD/successful turn"),
        (None, Value.INCONCLUSIVE, "cost: not measured, budget 0.01 USD/successful turn"),
    ],
)
def test_a_turn_that_failed_is_paid_for_by_those_that_succeeded(
    pack: Pack, policy: FamilyPolicy, succeeded: int | None, value: Value, reason: str
) -> None:
    budget = policy.serving.model_copy(update={"cost_usd_per_successful_turn": 0.01})
    policy = policy.model_copy(update={"serving": budget})
    made = scores(pack, policy)
    if succeeded is not None:
        row = made.comparisons[0]
        asked = {"metric": "task_success", "slice": "overall", "candidate": Count(numerator=succeeded, denominator=100)}
        made = made.model_copy(update={"comparisons": (row.model_copy(update=asked),)})
    verdict = gate(made, timing(cost_usd_per_answer=0.009), safety(), policy).serving
    assert verdict.value == value
    assert not reason or reason in verdict.reasons
