"""R7.3: what telemetry, a judge, a store or a gateway that fails leads to (faults 37 to 42): never to a promotion."""

from __future__ import annotations

import math
import threading
from pathlib import Path
from typing import Any

import pytest

import serving.telemetry
from contracts.errors import DependencyFailed, WrongCall
from monitoring.canary import Judgement
from operations import canary_watch
from operations.canary_judge import Judge
from registry.store.memory import FaultKind
from tests.operations.canary_world import PROMOTE, World, after, away, say


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda row: row | {"latency_ms": math.inf}, "infinite"),
        (lambda row: row | {"timestamp": row["timestamp"] + 86_400}, "future"),
        (lambda row: row | ({"bundle": "0" * 64} if row["arm"] != "stable" else {}), ""),
        (lambda row: row | {"latency_ms": math.nan}, ""),
    ],
    ids=["infinite", "future-dated", "mislabelled", "NaN"],
)
def test_fault_37_telemetry_that_cannot_be_trusted_never_promotes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Any, said: str
) -> None:
    world = World(tmp_path, monkeypatch, deadline_s=60)
    world.change, world.step_s = change, 5
    report = world.canary()
    assert report.decision in ("hold", "rollback")
    assert said in "; ".join(report.verdict.reasons)
    assert report.stages[-1].duration_s >= 60
    assert world.is_as_before()


def test_fault_38_traffic_that_stops_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path, monkeypatch, deadline_s=90)
    world.step_s = 5
    world.script[2] = lambda: setattr(world, "sessions", 0.0)
    report = world.canary()
    assert (report.decision, report.stages[-1].stage) == ("hold", "shadow")
    assert report.stages[-1].duration_s >= 90
    assert world.is_as_before()


def test_fault_40_telemetry_that_never_came_rolls_back_and_says_that_no_gateway_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path, monkeypatch, deadline_s=40)
    world.sessions, world.step_s = 0.0, 5
    report = world.canary()
    assert report.decision == "rollback"
    assert report.verdict.reasons[-1] == "no gateway lives"


@pytest.mark.parametrize(("since", "decision"), [(0, "rollback"), (3, "hold")])
def test_fault_40_telemetry_that_cannot_be_read_never_promotes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, since: int, decision: str
) -> None:
    """From the start it is telemetry that never came; later, evidence that has not settled (R7.3)."""
    world = World(tmp_path, monkeypatch, deadline_s=40)
    world.answer = after(100, PROMOTE)
    world.step_s = 5
    real = serving.telemetry.read

    def read(*args: Any) -> Any:
        if world.sleeps >= since:
            raise OSError("the disk is away")
        return real(*args)

    monkeypatch.setattr(serving.telemetry, "read", read)
    report = world.canary()
    assert report.decision == decision
    assert report.verdict.reasons == ("telemetry cannot be read: OSError",)
    assert world.is_as_before()


def test_fault_42_a_judge_that_crashes_never_promotes_and_one_that_recovers_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path, monkeypatch, deadline_s=30)
    world.step_s = 5

    def crash(*_: Any) -> Judgement:
        raise ZeroDivisionError("private text")

    world.answer = crash
    report = world.canary()
    assert report.decision == "rollback"
    assert report.verdict.reasons == ("the judge failed: ZeroDivisionError",)
    assert world.is_as_before()
    other = World(tmp_path / "other", monkeypatch, deadline_s=30)
    other.answer = lambda world, _: crash() if world.sleeps < 3 else PROMOTE
    assert other.canary().decision == "promote"


def test_fault_42_a_judge_that_hangs_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canary_watch, "Judge", lambda function: Judge(function, answer_s=0.05))
    world = World(tmp_path, monkeypatch, deadline_s=30)
    world.step_s = 5
    over = threading.Event()

    def hang(*_: Any) -> Judgement:
        over.wait(60)
        return PROMOTE

    world.answer = hang
    report = world.canary()
    over.set()
    assert report.decision == "rollback"
    assert "the judge" in report.verdict.reasons[0]
    assert "answer" in report.verdict.reasons[0]
    assert len(world.asked) == 1, "one judge at a time"
    assert world.is_as_before()


def test_a_plan_that_cannot_be_judged_holds_at_once(world: World) -> None:
    def refuse(*_: Any) -> Judgement:
        raise WrongCall("a ratio has no denominator", expected="a column")

    world.answer = refuse
    report = world.canary()
    assert (report.decision, report.stages[-1].stage) == ("hold", "shadow")
    assert report.verdict.reasons == ("the plan cannot be judged: a ratio has no denominator",)


def test_a_store_that_is_away_while_a_stage_is_watched_stops_no_canary(world: World) -> None:
    world.answer = after(6, PROMOTE)
    world.script[2] = lambda: world.store.inject(1, FaultKind.FAIL)
    assert world.canary().decision == "promote"


def test_a_store_that_is_away_when_the_canary_must_end_is_a_failure_that_can_be_resumed(world: World) -> None:
    world.answer = after(1, say("rollback", worse=("overall",)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("operations.canary.withdraw", away)
        with pytest.raises(DependencyFailed):
            world.canary()
    assert world.canary().decision == "rollback"
    assert world.is_as_before()


def test_a_gateway_that_does_not_follow_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path, monkeypatch)
    world.sessions, world.step_s = 0.0, 20
    monkeypatch.setattr(canary_watch, "worker_deaths", lambda *_: 0)
    monkeypatch.setattr(canary_watch, "wait_for_version", away)
    report = world.canary()
    assert report.decision == "hold"
    assert report.verdict.reasons[-1].startswith("a gateway does not serve the stage yet")
    assert world.is_as_before()


def test_each_stage_has_a_deadline_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """R7.1."""
    world = World(tmp_path, monkeypatch, deadline_s=40, deadlines={"cohort": 15})
    world.step_s = 5
    world.answer = lambda world, stage: (
        PROMOTE
        if stage == "shadow"
        else world.real_judge(world.asked[-1][:0], *world.arguments[0], **world.arguments[1])
    )
    report = world.canary()
    assert (report.decision, report.stages[-1].stage) == ("rollback", "cohort")
    assert 15 <= report.stages[-1].duration_s <= 20
