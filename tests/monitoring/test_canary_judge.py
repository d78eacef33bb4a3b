"""The judge's decisions, as tables of situations (release-algorithm R7, faults E)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from contracts.errors import WrongCall
from contracts.policy import CanaryPlan
from monitoring.canary import Judgement, judge
from tests.monitoring.telemetry import METRICS, START_S, plan_of, traffic

PLAN = plan_of()
BETTER: dict[str, Any] = {"stable_wer": 0.2, "canary_wer": 0.05}
WORSE_SCOTS: dict[str, float] = {"us": 0.1, "scottish": 0.35}


def look(rows: pd.DataFrame, *, after_s: float = 1_230.0, plan: CanaryPlan = PLAN, **asked: Any) -> Judgement:
    return judge(rows, plan, now_s=START_S + after_s, started_s=START_S, **asked)


def states(judgement: Judgement) -> dict[tuple[str, str], str]:
    return {(row.slice, row.metric): row.state for row in judgement.evidence}


def test_a_better_canary_is_promoted_when_every_pair_is_settled() -> None:
    judgement = look(traffic(**BETTER))
    assert judgement.decision == "promote"
    assert judgement.reasons == ("every metric is settled: no slice is worse by more than its margin",)
    assert set(states(judgement).values()) == {"fine"}
    assert {row.slice for row in judgement.evidence} == {"overall", "accent=us", "accent=scottish"}


def test_an_equal_canary_is_promoted_too_given_sessions_enough() -> None:
    assert look(traffic(6_000), after_s=5_990).decision == "promote"
    assert look(traffic(300), after_s=400).decision == "continue"


def test_a_canary_that_is_worse_everywhere_is_rolled_back_with_numbers() -> None:
    judgement = look(traffic(canary_wer=0.3))
    assert judgement.decision == "rollback"
    assert judgement.reasons[0].startswith("overall wer: 0.1")
    assert "margin 0.020: worse" in judgement.reasons[0]
    worst = next(row for row in judgement.evidence if row.slice == "overall" and row.metric == "wer")
    assert worst.e_worse is not None
    assert worst.e_worse > judgement.worse_at == 6 / PLAN.alpha


def test_the_stop_is_at_the_first_crossing_not_at_the_look() -> None:
    rows = traffic(canary_wer=0.3)
    late, later = look(rows, after_s=600), look(rows)
    assert late.at_s == later.at_s < START_S + 300


def test_fault_41_better_overall_and_worse_in_one_slice_is_rolled_back() -> None:
    judgement = look(traffic(stable_wer={"us": 0.4, "scottish": 0.1}, canary_wer={"us": 0.05, "scottish": 0.3}))
    assert judgement.decision == "rollback"
    assert [reason.split(":")[0] for reason in judgement.reasons] == ["accent=scottish wer"]
    overall = next(row for row in judgement.evidence if row.slice == "overall" and row.metric == "wer")
    assert overall.estimate is not None
    assert overall.estimate < 0


@pytest.mark.parametrize(
    ("accents", "canary_wer", "routable", "decision", "slices"),
    [
        (("us", "british", "rp", "scottish"), {"scottish": 0.5}, ("accent",), "partial_rollback", ("accent=scottish",)),
        (("us", "british", "rp", "scottish"), {"scottish": 0.5}, ("device",), "rollback", ()),
        (("us", "british", "rp", "scottish"), dict.fromkeys(("us", "british", "rp"), 0.5), ("accent",), "rollback", ()),
    ],
)
def test_failing_slices_are_routed_back_alone_where_they_can_be_and_are_few(
    accents: tuple[str, ...],
    canary_wer: dict[str, float],
    routable: tuple[str, ...],
    decision: str,
    slices: tuple[str, ...],
) -> None:
    rows = traffic(accents=accents, canary_wer=dict.fromkeys(accents, 0.1) | canary_wer)
    judgement = look(rows, plan=plan_of(routable=routable))
    assert (judgement.decision, judgement.slices) == (decision, slices)


def test_a_harm_that_the_whole_shows_first_is_laid_at_the_slice_that_has_it_where_it_can_be_routed() -> None:
    rows = traffic(stable_wer=0.1, canary_wer={"us": 0.02, "scottish": 0.6})
    partial = look(rows, plan=plan_of(routable=("accent",)))
    assert (partial.decision, partial.slices) == ("partial_rollback", ("accent=scottish",))
    everywhere = look(traffic(canary_wer=0.6), plan=plan_of(routable=("accent",), slices=("accent", "device")))
    assert everywhere.decision == "rollback"


def test_a_whole_that_is_rolled_back_names_the_slices_under_suspicion() -> None:
    accents = ("us", "scottish", "rp", "british")
    reasons = look(traffic(accents=accents, canary_wer=dict.fromkeys(accents, 0.14) | {"rp": 0.17})).reasons
    assert reasons[0].startswith("overall wer")
    assert reasons[-1] == "under suspicion too: accent=rp"


def test_one_privacy_error_rolls_back_at_once_and_before_everything_else() -> None:
    rows = traffic(4)
    rows.loc[rows.index[rows["arm"] == "canary"][0], "privacy_errors"] = 1
    judgement = look(rows, after_s=3)
    assert judgement.decision == "rollback"
    assert judgement.reasons == ("privacy: 1 canary requests have privacy_errors above 0, none may",)
    settled = traffic(**BETTER)
    settled.loc[settled.index[settled["arm"] == "canary"][-1], "privacy_errors"] = 2
    assert look(settled).decision == "rollback"


def test_a_privacy_error_of_the_stable_arm_is_not_the_canary_s() -> None:
    rows = traffic(**BETTER)
    rows["privacy_errors"] = (rows["arm"] == "stable").astype(int)
    assert look(rows).decision == "promote"


def broken(**columns: Any) -> pd.DataFrame:
    """Traffic that would be promoted, with these columns on every row of the canary."""
    rows = traffic(**BETTER)
    for name, value in columns.items():
        rows[name] = rows[name].astype(float if isinstance(value, float) else object)
        rows.loc[rows["arm"] == "canary", name] = value
    return rows


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (broken(errors=math.nan), "rows with one of errors and words alone"),
        (broken(errors=math.nan, words=math.nan), "telemetry lacks wer on 100% of the canary's rows"),
        (broken(latency_ms=math.nan), "telemetry lacks latency_ms on 100% of the canary's rows"),
        (broken(latency_ms=math.inf), "rows with infinite values in latency_ms"),
        (broken(errors=-1.0), "rows with values below 0 in errors"),
        (broken(privacy_errors=math.nan), "rows of the canary that say nothing of privacy_errors"),
        (broken(timestamp=math.nan), "rows without a finite timestamp"),
        (broken(timestamp=START_S + 90_000.0), "telemetry of the canary is dated in the future"),
        (broken(timestamp=START_S + 1.0), "telemetry of the canary is stale: the last row is 1229 s old"),
        (broken(session_id=None), "rows without a session"),
        (broken(arm="candidate"), "rows whose arm is neither stable nor canary"),
        (traffic(**BETTER).drop(columns="words"), "telemetry has no column words for the metric wer"),
        (traffic(**BETTER).drop(columns="accent"), "telemetry has no column accent for the slices"),
    ],
)
def test_fault_37_telemetry_that_cannot_be_trusted_holds(rows: pd.DataFrame, reason: str) -> None:
    waiting = look(rows)
    assert waiting.decision == "continue"
    assert any(reason in said for said in waiting.faults), waiting.faults
    late = look(rows, plan=plan_of(deadline_s=1_225))
    assert late.decision == ("rollback" if "without" in reason or "neither" in reason else "hold")


def test_some_broken_rows_of_the_stable_arm_do_not_hide_a_harm() -> None:
    rows = traffic(canary_wer=0.3)
    rows.loc[rows.index[rows["arm"] == "stable"][:5], "latency_ms"] = math.inf
    assert look(rows).decision == "rollback"


@pytest.mark.parametrize(
    ("rows", "after_s", "decision", "reason"),
    [
        (traffic().iloc[:0], 10, "continue", "no telemetry yet"),
        (traffic().iloc[:0], 90, "continue", "no telemetry for 90 s"),
        (traffic().iloc[:0], 6_001, "rollback", "the deadline passed and no telemetry of the canary ever came"),
        (traffic(**BETTER), 1_400, "continue", "of the canary is stale: the last row is 201 s old (limit 60)"),
        (traffic(**BETTER), 6_001, "hold", "telemetry of the canary is stale"),
        (traffic(40), 45, "continue", "accent=us wer: 10 canary and 10 stable sessions of 20 needed"),
        (traffic(300), 6_000, "hold", "accent=us wer: 0.1"),
    ],
)  # fmt: skip
def test_fault_38_traffic_that_stops_never_promotes(
    rows: pd.DataFrame, after_s: float, decision: str, reason: str
) -> None:
    judgement = look(rows, after_s=after_s)
    assert judgement.decision == decision
    assert any(reason in said for said in judgement.reasons), judgement.reasons


def test_fault_38_a_canary_that_falls_silent_beside_a_busy_stable_arm_is_held() -> None:
    rows = traffic(**BETTER)
    rows = rows[(rows["arm"] == "stable") | (rows["timestamp"] < START_S + 150)]
    judgement = look(rows, after_s=1_200)
    assert judgement.decision == "continue"
    assert judgement.faults[0].startswith("telemetry of the canary is stale")


def test_fault_39_without_a_baseline_or_with_the_stable_bundle_as_canary_nothing_is_promoted() -> None:
    rows = traffic(**BETTER)
    alone = look(rows[rows["arm"] == "canary"])
    assert alone.decision == "continue"
    assert "no telemetry of the stable for 1230 s" in alone.reasons
    for same in (look(rows, same_bundle=True), look(rows.assign(bundle="sha256:1"))):
        assert same.decision == "hold"
        assert same.reasons == ("the canary is the stable bundle: there is nothing to compare",)
    assert look(rows.assign(bundle=rows["arm"])).decision == "promote"


def test_fault_45_a_restarted_look_decides_the_same_from_the_same_rows() -> None:
    rows = traffic(canary_wer=WORSE_SCOTS)
    assert look(rows) == look(rows.copy())


def test_both_arms_over_the_latency_budget_hold_and_one_alone_rolls_back() -> None:
    both = look(traffic(**BETTER, slow={"stable": 0.4, "canary": 0.4}), plan=plan_of(deadline_s=1_225))
    assert both.decision == "hold"
    assert any("latency_ms" in reason and "of requests over 900, 0.1 allowed" in reason for reason in both.reasons)
    alone = look(traffic(**BETTER, slow={"canary": 0.4}))
    assert alone.decision == "rollback"
    assert "latency_ms" in alone.reasons[0]


def test_slower_than_stable_but_within_the_budget_is_no_harm() -> None:
    assert look(traffic(6_000, **BETTER, slow={"canary": 0.05}), after_s=5_990).decision == "promote"


def test_failed_requests_count_as_over_the_budget() -> None:
    rows = traffic(**BETTER)
    rows["status"] = np.where((rows["arm"] == "canary") & (rows.index % 3 == 0), 500, 200)
    assert look(rows).decision == "rollback"


def test_a_first_release_is_held_to_budgets() -> None:
    plan = plan_of(metrics={**METRICS, "wer": METRICS["wer"] | {"budget": 0.2}})
    rows = traffic(canary_wer=0.05).query("arm == 'canary'")
    assert look(rows, plan=plan, baseline=False).decision == "promote"
    rows = traffic(canary_wer=0.5).query("arm == 'canary'")
    assert look(rows, plan=plan, baseline=False).decision == "rollback"
    unheld = look(rows, baseline=False)
    assert unheld.decision == "continue"
    assert any("a first release is held to the metric's budget" in reason for reason in unheld.reasons)


def test_a_stage_before_the_last_asks_the_whole_alone_and_still_stops_for_a_slice() -> None:
    rows = traffic(160, **BETTER)
    wide = look(rows, after_s=195, stage="wide")
    cohort = look(rows, after_s=195, stage="cohort")
    assert (cohort.decision, wide.decision) == ("promote", "continue")
    assert look(traffic(canary_wer=WORSE_SCOTS), stage="shadow").decision == "rollback"
    assert cohort.worse_at == pytest.approx(3 * look(rows, after_s=195).worse_at)


def test_sessions_that_both_arms_heard_are_pairs_and_settle_sooner() -> None:
    generator = np.random.default_rng(5)
    heard = traffic(400, share=0.0)
    hard = np.repeat(generator.beta(0.5, 3, 400), 3)
    heard["errors"] = generator.binomial(10, hard).astype(float)
    heard["request_id"] = [f"r{number}" for number in range(len(heard))]
    copies = heard.assign(arm="canary")
    paired = look(pd.concat([heard, copies]), after_s=430)
    others = copies.assign(session_id="c" + copies["session_id"], errors=np.roll(copies["errors"], 3 * 7))
    apart = look(pd.concat([heard, others]), after_s=430)
    settled, unsettled = (
        {row.slice: row.e_fine for row in found.evidence if row.metric == "wer"} for found in (paired, apart)
    )
    assert paired.canary_sessions == paired.stable_sessions == 400
    assert all((settled[name] or 0.0) > 5 * (unsettled[name] or 0.0) for name in settled)


def test_requests_whose_copy_was_dropped_do_not_count_in_a_pair() -> None:
    heard = traffic(60, share=0.0).assign(request_id=lambda rows: "r" + rows.index.astype(str))
    copies = heard[heard.index % 3 != 1].assign(arm="canary")
    rows = pd.concat([heard, copies])
    row = next(row for row in look(rows, after_s=90).evidence if row.slice == "overall" and row.metric == "wer")
    assert row.estimate == 0.0


def test_relative_margins_and_higher_is_better_read_as_they_are_written() -> None:
    rows = traffic(3_000, stable_wer=0.1, canary_wer=0.1)
    right = {
        "wer": {
            "kind": "ratio",
            "numerator": "right",
            "denominator": "words",
            "better": "higher",
            "margin": 0.05,
            "relative": True,
        }
    }
    rows["right"] = rows["words"] - rows["errors"]
    assert look(rows, after_s=2_990, plan=plan_of(metrics=right)).decision == "promote"
    worse = traffic(3_000, canary_wer=0.3)
    worse["right"] = worse["words"] - worse["errors"]
    judgement = look(worse, after_s=2_990, plan=plan_of(metrics=right))
    assert judgement.decision == "rollback"
    assert "margin 0.045: worse" in judgement.reasons[0]


def test_a_cost_without_natural_bound_is_judged_by_its_own_scale() -> None:
    cost = {
        "cost": {"kind": "ratio", "numerator": "cost_usd", "denominator": "audio_s", "margin": 0.15, "relative": True}
    }
    rows = traffic(2_000)
    generator = np.random.default_rng(1)
    rows["audio_s"] = 3.0
    rows["cost_usd"] = 3e-5 * generator.lognormal(0, 0.3, len(rows))
    assert look(rows, after_s=2_030, plan=plan_of(metrics=cost)).decision == "promote"
    rows.loc[rows["arm"] == "canary", "cost_usd"] *= 2
    assert look(rows, after_s=2_030, plan=plan_of(metrics=cost)).decision == "rollback"


def test_a_metric_s_own_slices_stand_for_the_plan_s() -> None:
    plan = plan_of(metrics={**METRICS, "latency_ms": METRICS["latency_ms"] | {"slices": []}})
    pairs = states(look(traffic(**BETTER), plan=plan))
    assert ("overall", "latency_ms") in pairs
    assert ("accent=us", "latency_ms") not in pairs


@pytest.mark.parametrize(
    ("metric", "lacking"),
    [({"kind": "ratio", "numerator": "errors"}, "denominator"), ({"kind": "quantile"}, "budget")],
)
def test_a_plan_that_cannot_be_judged_is_a_wrong_call(metric: dict[str, Any], lacking: str) -> None:
    with pytest.raises(WrongCall, match=f"a {metric['kind']} metric lacks {lacking}"):
        look(traffic(4), plan=plan_of(metrics={"m": metric}))
