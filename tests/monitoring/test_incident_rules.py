"""The rules of an incident as tables: ranking, saturation, stages, cost, candidates, the first action, names."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.incident import (
    Cost,
    Factor,
    Impact,
    Localised,
    Regression,
    SaturatedMinute,
    Saturation,
    SliceImpact,
    StageShift,
)
from contracts.incident_settings import MetricBudget
from monitoring.incident.action import Situation, recommend
from monitoring.incident.candidates import weigh_candidates
from monitoring.incident.cost import CAUSES, diagnose, rank_routes
from monitoring.incident.localise import localise
from monitoring.incident.naming import Names
from monitoring.incident.ranking import rank as rank_all
from monitoring.incident.saturation import Minute, detect
from monitoring.incident.tallies import Tally, small_groups

WER = {"wer": MetricBudget(allowed=0.02)}
SUCCESS = {"success": MetricBudget(better="higher", allowed=0.02)}


rank = partial(rank_all, alpha=0.05, fewest_sessions=10)


def tally(rate: float, *, sessions: int = 400, error: float = 0.002) -> Tally:
    return Tally(rate * 1000, 1000, error**2, sessions)


# ---- ranking (lab 1 of the incident drills) -------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("budgets", "before", "now", "found"),
    [
        (WER, 0.10, 0.20, "over_budget"),
        (WER, 0.10, 0.12, None),  # exactly on budget
        (WER, 0.10, 0.05, None),  # a gain
        (SUCCESS, 0.90, 0.80, "over_budget"),
        (SUCCESS, 0.90, 0.88, None),
        (SUCCESS, 0.90, 0.99, None),
        ({"wer": MetricBudget(allowed=0.3, relative=True)}, 0.10, 0.13, None),
        ({"wer": MetricBudget(allowed=0.3, relative=True)}, 0.10, 0.14, "over_budget"),
    ],
)
def test_a_metric_is_held_to_its_direction_and_budget(
    budgets: dict[str, MetricBudget], before: float, now: float, found: str | None
) -> None:
    (metric,) = budgets
    ranked = rank({"overall": {metric: tally(before)}}, {"overall": {metric: tally(now)}}, budgets)
    assert [one.problem for one in ranked] == ([found] if found else [])
    assert all(one.confirmed for one in ranked)


def test_what_cannot_be_compared_ranks_first_and_then_severity() -> None:
    before = {name: {"wer": tally(0.1)} for name in ("overall", "device=phone", "device=web")}
    now = {
        "overall": {"wer": tally(0.2)},
        "device=phone": {"wer": tally(0.5)},
        "device=web": {"wer": Tally(0, 0, 0, 40)},
        "device=tv": {"wer": tally(0.1)},
    }
    ranked = rank(before, now, WER)
    assert [(one.slice, one.problem) for one in ranked] == [
        ("device=tv", "missing_baseline"),
        ("device=web", "missing_metric"),
        ("device=phone", "over_budget"),
        ("overall", "over_budget"),
    ]
    assert [one.severity for one in ranked[:2]] == [None, None]
    assert ranked[2].severity == pytest.approx((0.4 - 0.02) / 0.02)


def test_few_sessions_or_wide_bounds_are_a_suspicion() -> None:
    few = rank({"overall": {"wer": tally(0.1, sessions=9)}}, {"overall": {"wer": tally(0.4)}}, WER)
    assert [one.confirmed for one in few] == [False]
    slices = {f"device=d{n}": {"wer": tally(0.1, error=0.02)} for n in range(40)}
    worse = slices | {"device=d0": {"wer": tally(0.17, error=0.02)}}
    (alone,) = rank({"device=d0": slices["device=d0"]}, {"device=d0": worse["device=d0"]}, WER)
    (among,) = rank(slices, worse, WER)
    assert (alone.confirmed, among.confirmed) == (True, False), "bounds are simultaneous"


# ---- saturation (lab 1 of the serving runbook) ----------------------------------------------------------------------
@pytest.mark.parametrize(
    ("points", "alerts", "missing"),
    [
        ([(0, 30, 2000), (1, 30, 2000), (2, 30, 2000)], [], 0),  # flat queue, high latency
        ([(0, 0, 100), (1, 30, 100), (2, 60, 100)], [], 0),  # rising queue, low latency
        ([(0, 0, 100), (1, 0, 2000), (2, 1, 2000)], [], 0),  # high latency without growth
        ([(0, 0, 100), (1, 30, 2000)], [1], 0),  # both
        ([(0, 0, 100), (1, 30, 2000), (2, 31, 2000), (3, 2, 2000)], [1, 2], 0),  # until it has drained
        ([(0, 0, 100), (1, 30, 2000), (2, 31, 100), (3, 31, 2000)], [1], 0),  # until the tail is fast
        ([(0, 0, 100), (2, 30, 2000)], [], 1),  # growth is not measured across a gap
        ([(0, 30, 2000)], [], 0),
        ([], [], 0),
    ],
)
def test_overload_is_a_joint_signal(points: list[tuple[int, float, float]], alerts: list[int], missing: int) -> None:
    minutes = [Minute(60.0 * at, depth, p95) for at, depth, p95 in points]
    found = detect(minutes, growth_threshold=25, p95_threshold_ms=1200)
    assert [one.minute_s / 60 for one in found.minutes] == alerts
    assert found.missing == missing


def test_how_much_of_the_waiting_was_batch_work_is_that_of_saturated_minutes() -> None:
    minutes = [Minute(0, 1, 100, 1), Minute(60, 30, 2000, 10), Minute(120, 30, 2000, 20), Minute(180, 1, 100, 1)]
    found = detect(minutes, growth_threshold=25, p95_threshold_ms=1200)
    assert found.batch_share == pytest.approx(0.5)
    assert detect(minutes[:1], growth_threshold=25, p95_threshold_ms=1200).batch_share == 0.0


# ---- stages ---------------------------------------------------------------------------------------------------------
STAGES = {"queue": 10.0, "preprocess": 5.0, "inference": 100.0, "postprocess": 2.0, "gateway": 20.0}


def path(rates: dict[str, float] | None = None, **changes: float) -> dict[str, Tally]:
    stages = {f"stage.{name}": tally(ms, error=1.0) for name, ms in (STAGES | changes).items()}
    return stages | {name: tally(rate) for name, rate in (rates or {}).items()}


@pytest.mark.parametrize(
    ("now", "stage"),
    [
        (path(queue=400.0), "queue"),
        (path(inference=160.0), "inference"),
        (path(postprocess=40.0), "postprocess"),
        (path(), None),
        (path(queue=13.0), None),  # less than is looked for
        (path(queue=40.0, inference=130.0, gateway=50.0), None),  # spread
        (path({"underrun_rate": 0.2}), "client"),
        (path({"underrun_rate": 0.2}, queue=300.0), "queue"),
        ({}, None),
    ],
)
def test_the_stage_with_most_of_the_growth_is_named(now: dict[str, Tally], stage: str | None) -> None:
    assert localise(path({"underrun_rate": 0.01}), now).stage == stage


# ---- cost (lab 2) ---------------------------------------------------------------------------------------------------
def test_a_route_without_success_ranks_first_and_dear_without_gain_is_flagged() -> None:
    routes = rank_routes(
        {"none": (50, 0, 1.0), "dear": (100, 90, 9.0), "cheap": (100, 90, 1.0), "better": (100, 99, 9.9)},
        dearer=1.3,
    )
    assert [(one.route, one.flagged) for one in routes] == [
        ("none", True), ("better", False), ("dear", True), ("cheap", False),
    ]  # fmt: skip
    assert routes[0].usd_per_success is None


def turns(
    *, count: int = 100, successes: int = 90, attempts: float = 1.0, audio_s: float = 2.0, usd: float = 1.0
) -> Any:
    def of(total: float) -> Tally:
        return Tally(total, count, 0.0, 50)

    return {"cost_usd": of(usd), "success_rate": of(successes), "attempts": of(attempts * count),
            "audio_s": of(audio_s * count)}  # fmt: skip


@pytest.mark.parametrize(
    ("now", "factor"),
    [
        (turns(usd=2.0), "usd_per_audio_s"),
        (turns(usd=2.0, attempts=2.0), "attempts_per_turn"),
        (turns(usd=2.0, audio_s=4.0), "audio_s_per_turn"),
        (turns(successes=45), "turns_per_success"),
    ],
)
def test_the_cause_of_a_cost_is_its_largest_factor(now: dict[str, Tally], factor: Factor) -> None:
    found = diagnose(turns(), now, changed=1.15)
    assert found.driver == factor
    assert found.cause == CAUSES[factor]
    assert found.times == pytest.approx(2.0)
    assert math.prod(one.times for one in found.factors) == pytest.approx(found.times)


def test_no_cause_is_named_where_nothing_changed_or_nothing_is_known() -> None:
    assert diagnose(turns(), turns(usd=1.1), changed=1.15).cause == ""
    assert diagnose(turns(), turns(successes=0), changed=1.15).cause == "there is no cost to compare with"
    assert diagnose(None, turns(), changed=1.15).times is None


# ---- candidates (lab 3) ---------------------------------------------------------------------------------------------
def regression(
    slice_name: str = "overall",
    *,
    severity: float | None = 1.0,
    confirmed: bool = True,
    bundle: str = "a",
    metric: str = "wer",
) -> Regression:
    missing = severity is None
    return Regression(
        bundle=bundle * 64, against="before", slice=slice_name, metric=metric, sessions=50, severity=severity,
        problem="missing_baseline" if missing else "over_budget", confirmed=confirmed and not missing,
    )  # fmt: skip


def test_a_critical_slice_outweighs_a_larger_regression_elsewhere() -> None:
    found = weigh_candidates(
        [regression("device=web", severity=4.0, bundle="a"), regression("device=phone", severity=1.0, bundle="b"),
         regression("device=tv", severity=99.0, confirmed=False, bundle="a"), regression("device=car", severity=None)],
        {"device=phone": 10.0}, {"b" * 64: "v2"},
    )  # fmt: skip
    assert [(one.bundle[0], one.version, one.harm) for one in found] == [("b", "v2", 20.0), ("a", "", 5.0)]
    assert weigh_candidates([regression(confirmed=False)], {}, {}) == ()


# ---- the first action (lab 2 of the incident drills) ----------------------------------------------------------------
WHOLE = SliceImpact(slice="overall", requests=100, sessions=50, harmed_requests=10, harmed_sessions=9)
CALM = Saturation(watched=30, growth_threshold=4, p95_threshold_ms=900)
WAITING = CALM.model_copy(
    update={"minutes": tuple(SaturatedMinute(minute_s=60.0 * n, depth=9, growth=5, p95_ms=950) for n in range(2))}
)
SLOWER = StageShift(
    stage="inference", before_ms=100, now_ms=300, growth_ms=200, lower_ms=150, share=1.0, confirmed=True
)  # fmt: skip
LONGER = Cost(driver="audio_s_per_turn", cause=CAUSES["audio_s_per_turn"])
NOWHERE = Localised(stage=None, because="no stage grew")


def situation(**changes: Any) -> Situation:
    base = Situation(
        impact=Impact(whole=WHOLE), regressions=(), saturation=CALM, localised=NOWHERE, cost=Cost(),
        is_canary=False, can_take_back=False, explaining=(), requests=100, many_suspicions=3, fewest_saturated=2,
    )  # fmt: skip
    return base._replace(**changes)


PHONE = (regression("device=phone"), regression())
SLOW_PHONE = (regression("device=phone"), regression("device=phone", metric="tail_rate"))
QUEUE = Localised(stage="queue", because="queue")


@pytest.mark.parametrize(
    ("changes", "action", "rule"),
    [
        ({"impact": Impact(whole=WHOLE, harms={"private": 1})}, "rollback", "A1"),
        ({"saturation": WAITING}, "degrade", "A2"),
        ({"saturation": WAITING, "regressions": PHONE}, "degrade", "A2"),
        ({"saturation": WAITING, "regressions": PHONE, "is_canary": True, "can_take_back": True}, "rollback", "A3"),
        (
            {"saturation": WAITING, "regressions": PHONE, "can_take_back": True,
             "localised": Localised(stage="queue", because="queue", stages=(SLOWER,))}, "rollback", "A3",
        ),
        ({"regressions": PHONE, "can_take_back": True, "explaining": ("device=phone",)}, "partial_rollback", "A3"),
        ({"regressions": PHONE, "can_take_back": True}, "rollback", "A3"),
        ({"regressions": (regression(),), "can_take_back": True}, "rollback", "A3"),
        ({"impact": Impact(whole=WHOLE, burn={"latency": 20.0}), "can_take_back": True}, "rollback", "A4"),
        ({"impact": Impact(whole=WHOLE, burn={"latency": 20.0})}, "pause", "A5"),
        ({"regressions": SLOW_PHONE, "localised": QUEUE}, "degrade", "A5"),
        ({"impact": Impact(whole=WHOLE, burn={"latency": 20.0}), "localised": QUEUE}, "degrade", "A5"),
        ({"regressions": PHONE, "localised": QUEUE}, "pause", "A5"),  # slower, but that is not what hurts
        ({"regressions": SLOW_PHONE, "cost": LONGER, "localised": QUEUE}, "pause", "A5"),
        ({"requests": 0}, "pause", "A6"),
        ({"saturation": CALM.model_copy(update={"missing": 3})}, "pause", "A6"),
        ({"regressions": (regression(severity=None),)}, "pause", "A6"),
        ({"regressions": (regression(confirmed=False),) * 3}, "pause", "A6"),
        ({"regressions": (regression(confirmed=False),) * 2}, "continue", "A7"),
        ({}, "continue", "A7"),
    ],
)  # fmt: skip
def test_the_first_rule_that_fits_says_what_to_do(changes: dict[str, Any], action: str, rule: str) -> None:
    advice = recommend(situation(**changes))
    assert (advice.action, advice.reason.partition(":")[0]) == (action, rule)
    assert advice.slices == (changes.get("explaining", ()) if action == "partial_rollback" else ())


@pytest.mark.parametrize(
    ("driver", "held_back_by"),
    [("audio_s_per_turn", "cap what a turn may send"), ("attempts_per_turn", "cap how often a key may ask")],
)
def test_what_callers_ask_for_is_held_back_at_the_callers(driver: Factor, held_back_by: str) -> None:
    said = recommend(situation(regressions=PHONE, cost=Cost(driver=driver, cause=CAUSES[driver])))
    assert CAUSES[driver] in said.reason
    assert held_back_by in said.reason


@pytest.mark.parametrize(("share", "said"), [(0.8, True), (0.5, True), (0.49, False), (0.0, False)])
def test_batch_work_that_mostly_waits_is_to_be_routed_apart(share: float, said: bool) -> None:
    advice = recommend(situation(saturation=WAITING.model_copy(update={"batch_share": share})))
    assert ("of the waiting is batch work: route it apart" in advice.reason) == said


@given(st.booleans(), st.booleans(), st.booleans(), st.floats(0, 100))
def test_user_harm_goes_over_everything_else(canary: bool, back: bool, waiting: bool, burn: float) -> None:
    hurt = Impact(whole=WHOLE, harms={"private": 1}, burn={"latency": burn})
    said = recommend(
        situation(impact=hurt, is_canary=canary, can_take_back=back, saturation=WAITING if waiting else CALM)
    )
    assert said.action == "rollback"


# ---- names and small groups -----------------------------------------------------------------------------------------
def test_only_declared_values_stand_in_a_name() -> None:
    names = Names({"tenant": ["acme", "Jane Roe", "a/b"]}, b"key")
    assert names.slice("tenant", "acme") == "tenant=acme"
    assert names.slice("device", "phone") == "device=phone"
    for value in ("Jane Roe", "a/b", "alice"):
        assert names.slice("tenant", value).startswith("tenant=#")
    assert names.slice("device", "acme").startswith("device=#"), "declared for another label"
    assert names.slice("tenant", "alice") == Names({}, b"key").slice("tenant", "alice")
    assert names.slice("tenant", "alice") != Names({}, b"other").slice("tenant", "alice")


@pytest.mark.parametrize(
    ("sessions", "left_out"),
    [([50, 60], set()), ([50, 9, 60], {0, 1}), ([50, 9, 3], {1, 2}), ([50, 0], set()), ([4], {0})],
)
def test_a_small_group_cannot_be_found_by_subtraction(sessions: list[int], left_out: set[int]) -> None:
    import numpy as np

    assert small_groups(np.array(sessions), 10) == left_out
