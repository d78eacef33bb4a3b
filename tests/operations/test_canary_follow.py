"""A long stage is judged in parts: what that may change (nothing), and who ends a stage (the judge of all rows)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.reports import CanaryReport
from monitoring.canary import Judge, Judgement, judge
from operations import canary_follow
from operations.canary_follow import SETTLE_S, WHOLE_S, Follower
from tests.monitoring.telemetry import START_S, plan_of, traffic
from tests.operations.canary_world import World

PLAN = plan_of(min_sessions=5)


def follower() -> Follower:
    return Follower(lambda: Judge(PLAN, started_s=START_S), START_S)


def until(rows: pd.DataFrame, end_s: float) -> pd.DataFrame:
    return rows[rows["timestamp"] <= end_s]


def same(parts: Judgement, at_once: Judgement) -> None:
    assert (parts.decision, parts.at_s, parts.slices) == (at_once.decision, at_once.at_s, at_once.slices)
    assert (parts.faults, parts.stable_sessions) == (at_once.faults, at_once.stable_sessions)
    assert parts.canary_sessions == at_once.canary_sessions
    for part, one in zip(parts.evidence, at_once.evidence, strict=True):
        assert (part.slice, part.metric, part.state) == (one.slice, one.metric, one.state)
        assert part.e_worse == pytest.approx(one.e_worse, rel=1e-6)
        assert part.e_fine == pytest.approx(one.e_fine, rel=1e-6)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 99),
    canary_wer=st.sampled_from([0.02, 0.1, 0.3]),
    whole_s=st.floats(SETTLE_S + 1, 200),
    later_s=st.floats(0, WHOLE_S - 1),
)
def test_law_a_look_at_what_is_new_says_what_the_judge_says_of_all_rows(
    seed: int, canary_wer: float, whole_s: float, later_s: float
) -> None:
    rows = traffic(230, canary_wer={"us": 0.1, "scottish": canary_wer}, seed=seed)
    follows, now_s = follower(), START_S + whole_s + later_s
    first = until(rows, START_S + whole_s)
    taken = follows.take(first, START_S + whole_s, "all")
    same(taken, judge(first, PLAN, now_s=START_S + whole_s, started_s=START_S))
    since_s = follows.since_s(now_s, "all")
    assert since_s == START_S + whole_s - SETTLE_S
    seen = until(rows, now_s)
    for _ in range(2):  # a look changes nothing for the next
        parts = follows.look(seen[seen["timestamp"] > since_s], now_s)
        at_once = judge(seen, PLAN, now_s=now_s, started_s=START_S)
        same(parts, at_once)


@pytest.mark.parametrize(
    ("later_s", "of"), [(WHOLE_S, "all"), (-1.0, "all"), (1.0, "without a slice")],
    ids=["a minute later", "the clock went back", "of other traffic"],
)  # fmt: skip
def test_all_rows_are_judged_anew_where_the_old_ones_may_not_be_what_they_were(later_s: float, of: str) -> None:
    follows = follower()
    assert follows.since_s(START_S + 100, "all") is None, "nothing was judged yet"
    follows.take(traffic(100), START_S + 100, "all")
    assert follows.since_s(START_S + 100 + later_s, of) is None


@pytest.mark.parametrize(("rows", "at_s"), [(canary_follow.LEAST_ROWS - 1, 100.0), (canary_follow.LEAST_ROWS, 59.0)])
def test_a_short_stage_and_a_young_one_are_judged_whole(rows: int, at_s: float) -> None:
    assert not follower().is_for(pd.DataFrame({"timestamp": [START_S] * rows}), START_S + at_s)
    assert follower().is_for(pd.DataFrame({"timestamp": [START_S] * canary_follow.LEAST_ROWS}), START_S + 100)


def watched(
    folder: Path, monkeypatch: pytest.MonkeyPatch, least_rows: int, *, harm: bool
) -> tuple[World, CanaryReport]:
    """A canary on real telemetry, whose stages are long from so many rows on."""
    monkeypatch.setattr(canary_follow, "LEAST_ROWS", least_rows)
    monkeypatch.setattr(canary_follow, "SETTLE_S", 10.0)
    world = World(folder, monkeypatch)

    def worse(row: dict[str, Any]) -> dict[str, Any]:
        wide = row["arm"] == "canary" and row["route_version"] >= 4
        return row | ({"errors": 8} if harm and wide else {})

    world.change = worse
    world.sessions, world.step_s = 4, 6
    return world, world.canary()


@pytest.mark.parametrize("harm", [False, True], ids=["good", "worse"])
def test_a_long_stage_ends_when_and_as_one_that_is_judged_whole_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harm: bool
) -> None:
    with monkeypatch.context() as patched:
        whole, expected = watched(tmp_path / "whole", patched, 10**9, harm=harm)
    world, report = watched(tmp_path / "long", monkeypatch, 1, harm=harm)
    assert [(one.stage, one.decision, one.reasons, one.duration_s) for one in report.stages] == [
        (one.stage, one.decision, one.reasons, one.duration_s) for one in expected.stages
    ]
    assert report.decision == ("rollback" if harm else "promote")
    assert len(world.asked) < len(whole.asked), "some looks were at what is new"
    assert len(world.asked[-1]) == len(whole.asked[-1]), "the last look, which decides, was at all rows"


def test_a_row_that_comes_late_is_seen_within_a_minute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dated before what a look reads, it says that the canary broke a promise: all rows are judged, and it ends."""
    monkeypatch.setattr(canary_follow, "LEAST_ROWS", 1)
    world = World(tmp_path, monkeypatch, metrics={}, stages=["wide"], deadline_s=500)
    told = []

    def late() -> None:
        assert world.table is not None
        row = world.row(world.table, 10**6, "c" * 64, "canary", {"tenant": "acme", "device": "phone", "probe": "yes"})
        world.write([row | {"timestamp": world.now.timestamp() - 70, "privacy_errors": 1}])
        told.append(world.now)

    world.sessions, world.step_s = 1, 5
    world.script[30] = late
    assert world.canary().decision == "rollback"
    assert 0 <= (world.now - told[0]).total_seconds() <= WHOLE_S + 2 * world.step_s
