"""R7 as a step: stages, restarts (fault 45), what ends a canary at once, slices that go back, its progress."""

from __future__ import annotations

import json
import os
from contextlib import AbstractContextManager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import serving.telemetry
from contracts.errors import Refused
from contracts.routing import SliceRule
from monitoring.canary import Judgement
from operations import canary, canary_watch, pointer
from operations.named import unread
from registry.store.memory import Crash, FaultKind
from tests.operations.canary_world import BUNDLE, FAMILY, PROMOTE, STABLE, Killed, World, after, say, stop_now
from tests.servers.loopback import Handler, listening


def status_server(answer: dict[str, Any]) -> AbstractContextManager[str]:
    """A gateway that answers `/v1/status` with this."""

    class Status(Handler):
        def respond(self) -> None:
            self.answer(200, json.dumps(answer).encode())

    return listening(Status)


# ---- the way through ------------------------------------------------------------------------------------------------
def test_each_stage_is_one_move_and_a_canary_that_held_stays_routed(world: World) -> None:
    world.answer = after(2, PROMOTE)
    report = world.canary()
    assert [(stage.stage, stage.decision) for stage in report.stages] == [
        ("shadow", "promote"), ("cohort", "promote"), ("wide", "promote"),
    ]  # fmt: skip
    assert [stage.route_version for stage in report.stages] == [2, 3, 4]
    assert (report.decision, report.verdict.value.value) == ("promote", "pass")
    assert world.table is not None
    assert world.table.canary is not None
    assert (world.table.version, world.table.canary.stage) == (4, "wide")
    assert all(table.warm == ("9" * 64,) for table in world.tables), "R7.5: what is warm stays warm"


def test_a_first_release_is_probed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path, monkeypatch, first=True)
    world.answer = after(1, PROMOTE)
    assert [stage.stage for stage in world.canary().stages] == ["probe"]


def test_a_good_candidate_is_promoted_on_real_telemetry(world: World) -> None:
    world.sessions, world.step_s = 12, 5
    report = world.canary()
    assert report.decision == "promote", report.verdict
    assert all(stage.canary_sessions >= 12 for stage in report.stages)


def test_the_cohort_is_compared_with_its_own_stable_traffic(world: World) -> None:
    world.answer, world.sessions = after(2, PROMOTE), 24
    world.canary()
    cohort = [rows for rows in world.asked if set(rows["route_version"]) == {3}][-1]
    assert set(cohort["tenant"]) == {"internal"}
    assert set(cohort["arm"]) == {"stable", "canary"}
    wide = world.asked[-1]
    assert set(wide["tenant"]) == {"internal", "acme", "globex"}


def test_shadow_copies_stand_for_the_canary_on_the_same_audio(world: World) -> None:
    world.answer = after(3, PROMOTE)
    world.canary()
    shadow = [rows for rows in world.asked if set(rows["route_version"]) == {2}][-1]
    arms = {arm: set(part["request_id"]) for arm, part in shadow.groupby("arm")}
    assert arms["canary"] == arms["stable"]


# ---- restarts -------------------------------------------------------------------------------------------------------
def test_fault_45_a_controller_that_was_restarted_goes_on_with_its_stage(world: World) -> None:
    """Its deadline counts from the first move, its sessions count, and no stage is moved to twice."""
    world.answer = after(2, PROMOTE)
    world.script[4] = stop_now
    with pytest.raises(Killed):
        world.canary()
    assert world.table is not None
    began, version = world.events("canary_stage")[-1].at, world.table.version
    world.now += timedelta(seconds=60)
    world.restart()
    report = world.canary()
    assert [stage.route_version for stage in report.stages] == [2, 3, 4]
    assert report.stages[1].started_at == began
    assert report.stages[1].duration_s > 60
    assert min(look.at_s for look in report.stages[1].looks) < 60, "what was seen before is not forgotten"
    assert version == 3
    assert [table.version for table in world.tables] == sorted({table.version for table in world.tables})


def test_fault_45_killed_at_any_call_of_the_store_the_rerun_converges(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def whole(world: World) -> World:
        world.answer, world.sessions = after(0, PROMOTE), 0
        return world

    nothing = serving.telemetry.read(tmp_path, FAMILY)
    monkeypatch.setattr(serving.telemetry, "read", lambda *_: nothing)
    clean = whole(World(tmp_path / "clean", monkeypatch))
    before = clean.store.calls
    wanted = clean.canary()
    for call in range(1, clean.store.calls - before + 1):
        kind = (FaultKind.CRASH_BEFORE, FaultKind.CRASH_AFTER)[call % 2]
        world = whole(World(tmp_path / str(call), monkeypatch))
        world.store.inject(call, kind)
        with suppress(Crash):
            world.canary()
        world.restart()
        report = world.canary()
        assert [stage.route_version for stage in report.stages] == [2, 3, 4], (call, kind)
        assert report.decision == wanted.decision == "promote"
        assert world.table is not None
        assert world.table.version == 4, (call, kind)
        assert len([event for event in world.events("canary") if event.outcome == "complete"]) == 1


def test_a_rollback_that_died_before_its_move_is_made_by_the_rerun(world: World) -> None:
    """What is decided stands in the ledger before anything is done: no rerun exposes users again."""
    world.answer = after(1, say("rollback", worse=("overall",)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("operations.canary.withdraw", stop_now)
        with pytest.raises(Killed):
            world.canary()
    assert world.table is not None
    assert world.table.canary is not None
    world.restart()
    looks = len(world.asked)
    assert world.canary().decision == "rollback"
    assert len(world.asked) == looks, "nothing was judged again"
    assert world.is_as_before()


def test_a_stage_that_was_held_goes_on_with_the_sessions_it_had(world: World) -> None:
    """One evidence process over all restarts (U6); stages that held are not run again."""
    world.answer = lambda world, stage: (
        PROMOTE if stage == "shadow" else say("hold") if world.sleeps > 6 else say("continue")
    )
    assert world.canary().decision == "hold"
    assert world.is_as_before()
    held = set(world.asked[-1]["session_id"])
    assert held
    world.now += timedelta(hours=2)
    world.restart()
    world.answer = after(2, PROMOTE)
    report = world.canary()
    assert report.decision == "promote"
    again = [rows for rows in world.asked if held <= set(rows["session_id"])]
    assert len(again) > 1, "the sessions of the first attempt are evidence of the second"
    assert report.stages[0].route_version == 2, "shadow was not run again"
    assert [event.outcome for event in world.events("canary")] == ["fail", "complete"]


# ---- at once --------------------------------------------------------------------------------------------------------
def test_a_privacy_error_rolls_back_at_once_and_closes_streams(world: World) -> None:
    """R7.6: no judge is asked."""
    world.change = lambda row: row | ({"privacy_errors": 1} if row["arm"] == "canary" else {})
    world.answer = lambda _, stage: PROMOTE if stage == "shadow" else say("continue")
    report = world.canary()
    assert report.decision == "rollback"
    assert "privacy error" in report.verdict.reasons[0]
    assert report.stages[-1].stage == "cohort"
    assert report.stages[-1].duration_s <= 3
    assert world.table is not None
    assert world.table.closed == (BUNDLE,)
    assert world.is_as_before()


def test_fault_43_a_worker_that_dies_rolls_back_at_once_and_its_streams_drain(world: World) -> None:
    """R7.6."""
    world.change = lambda row: row | ({"worker_died": 1} if row["arm"] == "shadow" else {})
    world.answer = after(50, PROMOTE)
    report = world.canary()
    assert (report.decision, report.stages[-1].stage) == ("rollback", "shadow")
    assert "workers of the canary died over its requests" in report.verdict.reasons[0]
    assert world.table is not None
    assert world.table.closed == ()
    assert world.is_as_before()


def test_fault_43_a_crash_loop_that_no_request_sees_is_known_from_the_gateway(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with status_server({"families": {FAMILY: {"workers": {BUNDLE: {"restarts": 3}, STABLE: {"restarts": 0}}}}}) as url:
        living = {os.getpid(): {"pid": os.getpid(), "url": url, "families": {FAMILY: {"version": 9}}}}
        monkeypatch.setattr(canary_watch, "gateways", lambda _: living)
        world.answer = after(50, PROMOTE)
        report = world.canary()
    assert report.decision == "rollback"
    assert report.verdict.reasons == ("workers of the canary died 3 times, as gateways say",)


def test_a_death_of_stable_s_worker_is_not_the_canary_s(world: World) -> None:
    world.change = lambda row: row | ({"worker_died": 1} if row["arm"] == "stable" else {})
    world.answer = after(1, PROMOTE)
    assert world.canary().decision == "promote"


# ---- partial rollback -----------------------------------------------------------------------------------------------
def test_a_failing_slice_goes_back_to_stable_and_the_canary_goes_on_elsewhere(world: World) -> None:
    """R7.4."""

    def answer(world: World, stage: str) -> Judgement:
        if stage == "cohort" and "phone" in set(world.asked[-1]["device"]):
            return say("partial_rollback", "device=phone wer: worse", worse=("device=phone",))
        return say("promote", "fine elsewhere") if len(world.asked[-1]) > 20 else say("continue")

    world.answer, world.sessions = answer, 24
    report = world.canary()
    assert [stage.decision for stage in report.stages] == ["promote", "partial_rollback", "promote"]
    assert report.decision == "partial_rollback"
    assert report.verdict.reasons == ("device=phone wer: worse", "fine elsewhere")
    assert [row.slice for row in report.stages[1].evidence] == ["device=phone"]
    rules = {tuple((rule.label, rule.value, rule.bundle) for rule in table.slice_rules) for table in world.tables}
    assert rules == {(), (("device", "phone", STABLE),)}
    phones = [table for table in world.tables if table.slice_rules]
    assert {table.canary.stage for table in phones if table.canary} == {"cohort", "wide"}
    assert set(world.asked[-1]["device"]) == {"laptop"}
    assert world.is_as_before(), "failed evidence never passes: in the end stable serves all"


@pytest.mark.parametrize(
    ("failing", "routable"),
    [
        (("device=phone", "tenant=acme", "language=en"), ["device", "tenant", "language"]),
        (("accent=scottish",), ["device"]),
    ],
    ids=["more than two", "not known at request time"],
)
def test_what_cannot_be_routed_alone_is_a_whole_rollback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: tuple[str, ...], routable: list[str]
) -> None:
    world = World(tmp_path, monkeypatch, routable=routable)
    world.answer = after(1, say("partial_rollback", worse=failing))
    report = world.canary()
    assert (report.decision, report.stages[-1].stage) == ("rollback", "shadow")
    assert not any(table.slice_rules for table in world.tables)
    assert world.is_as_before()


def test_slices_of_two_stages_count_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path, monkeypatch, routable=["device", "tenant"])
    script = iter([("device=phone",), ("tenant=acme",), ("tenant=globex",)])
    world.answer = lambda *_: say("partial_rollback", worse=next(script))
    assert world.canary().decision == "rollback"
    assert max(len(table.slice_rules) for table in world.tables) == 2


def test_a_person_s_slice_rule_stays_and_its_traffic_is_in_neither_arm(world: World) -> None:
    """B6."""
    seen = pointer.current(world.context, FAMILY)
    rule = SliceRule(label="tenant", value="acme", bundle="8" * 64)
    pointer.move(
        world.context, FAMILY, seen, stable=STABLE, slice_rules=(rule,), warm=("9" * 64,), actor="p", reason="slice"
    )
    world.answer, world.sessions = after(2, PROMOTE), 12
    world.canary()
    assert all("acme" not in set(rows["tenant"]) for rows in world.asked)
    assert world.table is not None
    assert world.table.slice_rules == (rule,)


def test_an_abort_ends_the_canary_and_the_same_command_may_try_again(world: World) -> None:
    """B7."""
    world.answer = after(50, PROMOTE)
    world.script[3] = lambda: world.announced.append(canary.abort(world.open(world.folder), FAMILY, actor="bert"))
    report = world.canary()
    assert report.decision == "hold"
    assert report.verdict.reasons == ("the canary was taken off: aborted by bert, by bert",)
    assert world.announced[-1] == "stopped"
    assert world.is_as_before()


def test_an_abort_while_approval_is_awaited_wins_over_promote(world: World) -> None:
    """B7: what had held is not promoted, and the same command begins its canary anew."""
    world.answer = after(1, PROMOTE)
    assert world.canary().decision == "promote"
    found = canary.find(world.context, FAMILY, world.captured["release"])
    canary.require_routed(world.context, found)
    canary.abort(world.context, FAMILY, actor="bert")
    with pytest.raises(Refused, match="taken off while its approval was awaited") as refused:
        canary.require_routed(world.context, found)
    assert refused.value.got == "aborted by bert, by bert"
    world.answer = after(1, PROMOTE)
    again = world.canary()
    assert [stage.route_version for stage in again.stages] == [6, 7, 8]
    canary.require_routed(world.context, canary.find(world.context, FAMILY, world.captured["release"]))
    mine = [event for event in world.context.ledger(FAMILY).events() if event.step.startswith("canary")]
    named = {one.digest for one in unread(world.store, mine, checked=())}
    assert named <= {BUNDLE, STABLE}, "all else that a canary names can be read (`soundcheck verify`)"


# ---- what can be seen -----------------------------------------------------------------------------------------------
def test_the_progress_is_a_document_that_is_replaced_at_each_look(world: World) -> None:
    told: list[str] = []
    world.answer = after(2, PROMOTE)
    found = canary.find(world.context, FAMILY, world.captured["release"])
    canary.run_stage(world.context, found, "shadow", lambda progress: told.append(progress.decision))
    assert told == ["continue", "continue", "promote"]
    shown = world.shown
    assert (shown.stage, shown.stages, shown.decision) == ("shadow", ("shadow", "cohort", "wide"), "promote")
    assert (shown.bundle, shown.stable, shown.version, shown.weight) == (BUNDLE, STABLE, "v2", 1.0)
    assert world.progress[-1] == ("canary shadow, % of evidence", 100, 100)
    assert [path.name for path in (world.context.home / "run" / "canary").iterdir()] == [f"{FAMILY}.json"]


def test_a_canary_that_has_not_come_so_far_says_what_is_missing(world: World) -> None:
    with pytest.raises(Refused, match="the release has not come to its canary") as refused:
        canary.find(world.context, FAMILY, "f" * 64)
    assert refused.value.got == "not done: capture, package, stage"
    with pytest.raises(Refused, match="no canary is running"):
        canary.running(world.context, FAMILY)
