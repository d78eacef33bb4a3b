"""The judge's decisions, as a table of situations (release-algorithm R7)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from contracts.policy import CanaryPlan
from monitoring.canary import Judgement, judge

START_S = 1_000.0
PLAN = CanaryPlan.model_validate(
    {
        "metrics": {
            "wer": {"kind": "ratio", "numerator": "errors", "denominator": "words", "margin": 0.02},
            "latency_ms": {"kind": "quantile", "quantile": 0.95, "budget": 900},
            "privacy": {"kind": "never", "column": "privacy_errors"},
        },
        "slices": ["accent"],
        "deadline_s": 600,
        "min_sessions": 20,
        "stale_after_s": 60,
        "routable": ["device"],
    }
)


def traffic(
    *,
    sessions: int = 120,
    stable_wer: float = 0.1,
    canary_wer: float | dict[str, float] = 0.1,
    seed: int = 3,
    **columns: Any,
) -> pd.DataFrame:
    """Sessions of three utterances and 30 words, alternating arms, two accents; `columns` overwrite."""
    generator = np.random.default_rng(seed)
    rows = []
    for number in range(sessions):
        arm, accent = ("stable", "canary")[number % 2], ("us", "scottish")[number // 2 % 2]
        rate = stable_wer if arm == "stable" else canary_wer[accent] if isinstance(canary_wer, dict) else canary_wer
        for turn in range(3):
            rows.append(
                {
                    "timestamp": START_S + number * 0.5 + turn * 0.1,
                    "session_id": f"s{number}",
                    "arm": arm,
                    "accent": accent,
                    "errors": float(generator.binomial(10, rate)),
                    "words": 10.0,
                    "latency_ms": float(generator.uniform(100, 300)),
                    "privacy_errors": 0,
                }
            )
    return pd.DataFrame(rows).assign(**columns)


def look(rows: pd.DataFrame, *, after_s: float = 90.0, plan: CanaryPlan = PLAN, baseline: bool = True) -> Judgement:
    return judge(rows, plan, now_s=START_S + after_s, started_s=START_S, baseline=baseline)


def test_a_clearly_better_canary_is_promoted() -> None:
    assert look(traffic(stable_wer=0.3, canary_wer=0.02)).decision == "promote"


def test_a_canary_worse_on_every_slice_is_rolled_back_with_numbers() -> None:
    judgement = look(traffic(sessions=400, canary_wer=0.4), after_s=210)
    assert judgement.decision == "rollback"
    assert judgement.reasons[0].startswith("overall wer: 0.")
    assert "margin 0.020: worse" in judgement.reasons[0]


def test_one_bad_slice_is_found_though_the_average_is_better() -> None:
    rows = traffic(sessions=400, stable_wer=0.3, canary_wer={"us": 0.0, "scottish": 0.5})
    judgement = look(rows, after_s=210)
    assert judgement.decision == "rollback"
    assert any(reason.startswith("accent=scottish wer") for reason in judgement.reasons)


def test_a_bad_slice_that_can_be_routed_is_rolled_back_alone() -> None:
    rows = traffic(sessions=400, stable_wer=0.3, canary_wer={"us": 0.0, "scottish": 0.5})
    plan = PLAN.model_copy(update={"routable": ("accent",), "metrics": {"wer": PLAN.metrics["wer"]}})
    assert look(rows, after_s=210, plan=plan).decision == "partial_rollback"


def test_one_privacy_error_rolls_back_at_once() -> None:
    rows = traffic(sessions=4)
    rows.loc[rows["arm"] == "canary", "privacy_errors"] = [1, 0, 0, 0, 0, 0]
    judgement = look(rows, after_s=3)
    assert judgement.decision == "rollback"
    assert judgement.reasons == ("privacy: 1 canary requests have privacy_errors above 0, none may",)


@pytest.mark.parametrize(
    ("rows", "after_s", "decision", "reason"),
    [
        (traffic().iloc[:0], 10, "continue", "no telemetry yet"),
        (traffic().iloc[:0], 90, "continue", "no telemetry for 90 s"),
        (traffic().iloc[:0], 601, "rollback", "the deadline passed and no telemetry ever came"),
        (traffic(), 300, "continue", "telemetry is stale"),
        (traffic(), 700, "hold", "telemetry is stale"),
        (traffic(timestamp=START_S + 10_000), 90, "continue", "telemetry is dated in the future"),
        (traffic(errors=math.inf), 90, "continue", "telemetry has infinite values in errors"),
        (traffic(errors=math.nan), 90, "continue", "overall wer: 0 canary and 0 stable sessions of 20 needed"),
        (traffic().drop(columns="words"), 90, "continue", "telemetry has no column words for the metric wer"),
        (traffic(sessions=10), 60, "continue", "of 20 needed"),
    ],
)
def test_evidence_that_is_missing_or_broken_never_promotes(
    rows: pd.DataFrame, after_s: float, decision: str, reason: str
) -> None:
    judgement = look(rows, after_s=after_s)
    assert judgement.decision == decision
    assert any(reason in said for said in judgement.reasons), judgement.reasons


def test_an_open_session_is_not_counted_yet() -> None:
    rows = traffic()
    assert look(rows, after_s=61).canary_sessions < look(rows, after_s=90).canary_sessions


def test_both_arms_over_the_latency_budget_hold_at_the_deadline() -> None:
    plan = PLAN.model_copy(update={"deadline_s": 80.0})
    judgement = look(traffic(stable_wer=0.3, canary_wer=0.02, latency_ms=2000.0), plan=plan)
    assert judgement.decision == "hold"


def test_a_first_release_is_held_to_budgets() -> None:
    metrics = {"wer": PLAN.metrics["wer"].model_copy(update={"budget": 0.2}), "latency_ms": PLAN.metrics["latency_ms"]}
    plan = PLAN.model_copy(update={"metrics": metrics})
    rows = traffic(sessions=200, canary_wer=0.05).query("arm == 'canary'")
    assert look(rows, after_s=140, plan=plan, baseline=False).decision == "promote"
    rows = traffic(sessions=200, canary_wer=0.5).query("arm == 'canary'")
    assert look(rows, after_s=140, plan=plan, baseline=False).decision == "rollback"


def test_rows_in_another_order_give_the_same_decision() -> None:
    rows = traffic(sessions=200, canary_wer=0.3)
    shuffled = rows.sample(frac=1, random_state=5)
    assert look(rows, after_s=140) == look(shuffled, after_s=140)
