"""A canary that held and waits for approval: who looks, what takes it off, and what becomes of the approval."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from contracts.approval import Evidence
from contracts.digest import Digest
from contracts.errors import Refused, SoundcheckError
from contracts.reports import CanaryReport
from contracts.verdict import Value, Verdict
from operations import approve, canary, pointer
from operations.canary_held import ended, hold, is_asked_about, is_routed, leave
from operations.canary_route import Canary
from operations.context import put
from operations.gate import Stopped
from operations.promote import promote
from registry.documents import get_document
from tests.operations.canary_world import BUNDLE, FAMILY, PROMOTE, RELEASE, World, after, away, say

HARM = say("rollback", "wer on overall is worse", worse=("overall",))


@pytest.fixture
def waiting(world: World) -> World:
    """Its canary has held; people are asked."""
    world.answer = after(1, PROMOTE)
    assert world.canary().decision == "promote"
    world.answer = lambda *_: PROMOTE._replace(evidence=HARM.evidence)
    return world


def found(world: World) -> Canary:
    return canary.find(world.context, FAMILY, RELEASE)


def looks(world: World, number: int) -> Callable[[], bool]:
    """Over after so many looks."""
    left = iter(range(number))
    return lambda: next(left, None) is None


def ask(world: World) -> Digest:
    """Evidence with the canary's report, which waits for approval."""
    none = "0" * 64
    reports: dict[str, Any] = dict.fromkeys(
        ("score_report", "timing_report", "safety_report", "gate_report", "replay_report"), none
    )
    report = world.events("canary")[-1].outputs["canary_report"]
    (digest,) = put(
        world.context,
        Evidence(
            family=FAMILY, version="v2", bundle=BUNDLE, canary_report=report, policy=world.captured["policy"],
            previous_policy=None, rollback_target=None, **reports,
        ),
    )  # fmt: skip
    world.context.ledger(FAMILY).append(
        "request_approval", "complete", at=world.context.timestamp(), release=RELEASE, outputs={"evidence": digest}
    )
    return digest


def test_a_canary_that_goes_on_holding_stays_routed_and_is_seen(waiting: World) -> None:
    before = waiting.table
    shown_s = waiting.now
    told: list[str] = []
    assert hold(waiting.context, found(waiting), looks(waiting, 5), lambda one: told.append(one.looked_at)) is None
    assert waiting.table == before
    assert len(told) == 5
    assert waiting.shown.looked_at == told[-1] > shown_s.isoformat()[:23]
    assert [event.data["decision"] for event in waiting.events("canary")] == ["promote"]


@pytest.mark.parametrize("said", ["hold", "continue"])
def test_what_is_stale_or_unsettled_stops_nobody_while_people_are_asked(waiting: World, said: str) -> None:
    """R7.3 holds for a person: one is asked already."""
    waiting.answer = lambda *_: say(said)._replace(evidence=HARM.evidence)
    waiting.now += timedelta(seconds=5_000)
    assert hold(waiting.context, found(waiting), looks(waiting, 5)) is None
    assert is_routed(waiting.context, found(waiting))


def test_harm_takes_it_off_and_the_ledger_says_why(waiting: World) -> None:
    evidence = ask(waiting)
    waiting.answer = after(3, HARM)
    stop = hold(waiting.context, found(waiting), lambda: False)
    assert isinstance(stop, Stopped)
    reason = "while its approval was awaited: wer on overall is worse"
    assert (stop.step, stop.verdict.value, stop.verdict.reasons) == ("canary", Value.FAIL, (reason,))
    assert waiting.is_as_before()
    report = waiting.report
    assert [(stage.stage, stage.decision) for stage in report.stages] == [
        ("shadow", "promote"), ("cohort", "promote"), ("wide", "rollback"),
    ]  # fmt: skip
    assert (report.decision, report.stages[-1].reasons) == ("rollback", (reason,))
    approved = get_document(waiting.store, Evidence, evidence).canary_report
    assert get_document(waiting.store, CanaryReport, approved).decision == "promote", "what was shown stays what it was"


@pytest.mark.parametrize("failing", [("device=phone",), ("device=phone", "device=laptop")])
def test_slices_are_not_routed_back_beside_evidence_that_people_read(waiting: World, failing: tuple[str, ...]) -> None:
    waiting.answer = lambda *_: say("partial_rollback", worse=failing)
    assert hold(waiting.context, found(waiting), lambda: False) is not None
    assert waiting.report.decision == "rollback"
    assert waiting.is_as_before()


def test_a_privacy_error_closes_its_streams(waiting: World) -> None:
    """R7.6: no judge is asked."""
    waiting.change = lambda row: row | {"privacy_errors": int(row["arm"] == "canary")}
    waiting.answer = lambda *_: PROMOTE._replace(evidence=HARM.evidence)
    assert hold(waiting.context, found(waiting), lambda: False) is not None
    assert waiting.table is not None
    assert waiting.table.closed == (BUNDLE,)
    assert "have a privacy error" in waiting.report.verdict.reasons[0]


def test_nobody_who_can_judge_is_nobody_who_watches(waiting: World) -> None:
    def crash(*_: object) -> Any:
        raise ZeroDivisionError

    waiting.answer, waiting.step_s, waiting.sessions = crash, 5, 1
    began = waiting.now
    stop = hold(waiting.context, found(waiting), lambda: False)
    assert stop is not None
    assert stop.verdict.reasons == (
        "while its approval was awaited: nobody could judge the canary for 120 s",
        "while its approval was awaited: the judge failed: ZeroDivisionError",
    )
    assert timedelta(seconds=120) < waiting.now - began < timedelta(seconds=130)


def test_a_stop_that_died_before_its_move_is_finished_by_the_next_process(
    waiting: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting.answer = lambda *_: HARM
    with monkeypatch.context() as patched:
        patched.setattr("operations.canary.withdraw", away)
        with pytest.raises(SoundcheckError, match="it is away"):
            hold(waiting.context, found(waiting), lambda: False)
    assert is_routed(waiting.context, found(waiting))
    waiting.restart()
    waiting.answer = lambda *_: PROMOTE
    asked = len(waiting.asked)
    assert hold(waiting.context, found(waiting), lambda: False) is not None
    assert len(waiting.asked) == asked, "what is in the ledger is not judged again"
    assert waiting.is_as_before()
    assert [event.data["decision"] for event in waiting.events("canary")] == ["promote", "rollback"]


def test_the_same_release_stays_stopped(waiting: World) -> None:
    waiting.answer = lambda *_: HARM
    hold(waiting.context, found(waiting), lambda: False)
    waiting.restart()
    waiting.answer = lambda *_: PROMOTE
    with pytest.raises(Stopped, match="stopped at the canary step: fail"):
        canary.canary(waiting.context, FAMILY, waiting.captured, waiting.packaged, waiting.staged)
    assert waiting.is_as_before()


@pytest.mark.parametrize("before", [True, False], ids=["yes before the stop", "yes after the stop"])
def test_evidence_of_a_canary_that_was_stopped_is_not_approved(waiting: World, before: bool) -> None:
    evidence = ask(waiting)
    asked = approve.waiting_evidence(waiting.context, FAMILY)
    if before:
        approve.record(waiting.context, FAMILY, evidence, decision="promote", approver="anna")
    waiting.answer = lambda *_: HARM
    hold(waiting.context, found(waiting), lambda: False)
    assert (asked, approve.waiting_evidence(waiting.context, FAMILY)) == (evidence, None)

    def say_yes() -> object:
        if before:
            return promote(waiting.context, FAMILY, waiting.captured, evidence)
        return approve.record(waiting.context, FAMILY, evidence, decision="promote", approver="anna")

    with pytest.raises(Refused, match="the canary was stopped while its approval was awaited") as refusal:
        say_yes()
    assert refusal.value.got == "while its approval was awaited: wer on overall is worse"
    assert "release another candidate" in refusal.value.next_step
    assert waiting.is_as_before()


def test_somebody_elses_move_ends_the_watch(waiting: World) -> None:
    """B7."""
    waiting.script[waiting.sleeps + 3] = lambda: waiting.announced.append(
        canary.abort(waiting.open(waiting.folder), FAMILY, actor="bert")
    )
    assert hold(waiting.context, found(waiting), lambda: False) is None
    assert ended(waiting.context, found(waiting)) is None
    assert waiting.is_as_before()


def test_a_promotion_ends_the_watch_and_what_comes_after_is_not_its_business(waiting: World) -> None:
    def promoted() -> None:
        seen = pointer.current(waiting.context, FAMILY)
        pointer.move(waiting.context, FAMILY, seen, stable=BUNDLE, actor="anna", reason="release")
        waiting.answer = lambda *_: HARM

    waiting.script[waiting.sleeps + 2] = promoted
    assert hold(waiting.context, found(waiting), lambda: False) is None
    assert [event.data["decision"] for event in waiting.events("canary")] == ["promote"]


REJECTED = Stopped("approve", Verdict(value=Value.FAIL), family=FAMILY, version="v2", release=RELEASE, next_step="")
UNREAD = Stopped(
    "approve", Verdict(value=Value.INCONCLUSIVE), family=FAMILY, version="v2", release=RELEASE, next_step=""
)


@pytest.mark.parametrize(
    ("why", "anew"),
    [(REJECTED, False), (UNREAD, True), (Refused("nobody answered"), True)],
    ids=["rejected", "unread", "no answer"],
)
def test_an_approval_that_ended_leaves_no_traffic_that_nobody_watches(
    waiting: World, why: SoundcheckError, anew: bool
) -> None:
    """A rejection is final for its evidence; after anything else the canary begins anew, and with it the evidence."""
    leave(waiting.context, found(waiting), why)
    assert waiting.is_as_before()
    moved = waiting.table
    leave(waiting.context, found(waiting), why)
    assert waiting.table == moved
    again = waiting.canary()
    assert again.decision == "promote"
    assert (again.stages[0].route_version > 2) == anew


def test_who_asked_for_approval_since_it_held_watches_it(waiting: World) -> None:
    assert not is_asked_about(waiting.context, found(waiting))
    ask(waiting)
    assert is_asked_about(waiting.context, found(waiting))


def test_law_looks_after_the_pass_are_those_of_one_process(world: World) -> None:
    """U6: one process over all sessions of the stage, at the alpha it had; what settled is not asked again."""
    world.sessions, world.step_s = 12, 5
    assert world.canary().decision == "promote"
    passed = world.report.stages[-1]
    hold(world.context, found(world), looks(world, 3))
    (rows, kwargs) = world.asked[-1], world.arguments[1]
    at_once = world.real_judge(rows, *world.arguments[0], **kwargs)
    assert kwargs["stage"] == "wide"
    assert at_once.canary_sessions > passed.canary_sessions
    assert {row.worse_at for row in at_once.evidence} == {row.worse_at for row in passed.evidence}
    assert at_once.decision == "promote"
