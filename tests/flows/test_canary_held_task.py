"""The watch of a canary that held, beside a flow that waits for people: what it tells, and how it ends that wait."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from prefect.exceptions import NotPausedError

from contracts.errors import DependencyFailed, Refused
from contracts.policy import Approvals
from contracts.verdict import Value, Verdict
from operations.gate import Stopped
from tasks import approve as approve_task
from tasks import canary as task

RUN = uuid4()
CANARY: Any = SimpleNamespace(
    family="asr-commands", version="v2", release="r",
    policy=SimpleNamespace(approvals=Approvals(mode="ui", quorum=1, timeout_s=0.05)),
)  # fmt: skip
CONTEXT: Any = SimpleNamespace(settings=None, store=None, now=None, mirror=None, appended=None, home=None)
HARM = Stopped(
    "canary", Verdict(value=Value.FAIL, reasons=("worse",)), family="asr-commands", version="v2", release="r",
    next_step="",
)  # fmt: skip


class Beside:
    """What the watch did; `finds` is what it comes to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.routed, self.asked = True, False
        self.settled = 0
        self.left: list[str] = []
        self.woken: list[UUID] = []
        self.paused = threading.Event()
        self.ended = threading.Event()
        self.finds: Callable[[Callable[[], bool]], Stopped | None] = self.holds
        monkeypatch.setattr(task, "canary_held", self)
        monkeypatch.setattr(task, "addresses", lambda _: SimpleNamespace(gateway=None))
        monkeypatch.setattr(task, "Context", lambda *_, **__: CONTEXT)
        monkeypatch.setattr(task, "publish", lambda *_: None)
        monkeypatch.setattr(task, "flow_run", SimpleNamespace(id=str(RUN)))
        monkeypatch.setattr(task, "resume_flow_run", self.resume)
        monkeypatch.setattr("tasks.events.canary_settled", lambda *_: setattr(self, "settled", self.settled + 1))

    def holds(self, over: Callable[[], bool]) -> None:
        while not over():
            self.ended.wait(0.001)

    def harms(self, _: object) -> Stopped:
        self.routed = False
        return HARM

    def hold(self, _context: object, _canary: object, over: Callable[[], bool], _live: object) -> Stopped | None:
        return self.finds(over)

    def is_routed(self, *_: object) -> bool:
        return self.routed

    def is_asked_about(self, *_: object) -> bool:
        return self.asked

    def leave(self, _context: object, _canary: object, why: Refused) -> None:
        self.left.append(why.what)
        self.routed = False

    def resume(self, run: UUID, run_input: dict[str, str]) -> None:
        assert set(run_input) == set(approve_task.ApprovalForm.model_fields)
        if not self.paused.wait(0.01):
            raise NotPausedError
        self.woken.append(run)
        self.ended.set()


@pytest.fixture
def beside(monkeypatch: pytest.MonkeyPatch) -> Beside:
    return Beside(monkeypatch)


def test_it_looks_until_the_block_ends_and_then_nobody_has_to(beside: Beside) -> None:
    with task.held(CONTEXT, CANARY) as check:
        check()
        assert beside.settled == 0
        beside.routed = False  # promoted
    assert (beside.settled, beside.left, beside.woken) == (1, [], [])


def test_harm_wakes_the_flow_that_waits_and_stops_it(beside: Beside) -> None:
    beside.finds = beside.harms

    def waits_for_people() -> None:
        with task.held(CONTEXT, CANARY) as check:
            beside.paused.set()
            assert beside.ended.wait(5)
            check()

    with pytest.raises(Stopped) as stop:
        waits_for_people()
    assert stop.value is HARM
    assert (beside.woken, beside.settled) == ([RUN], 1)


def test_a_promotion_that_is_refused_because_of_it_says_what_stopped_the_canary(beside: Beside) -> None:
    beside.finds = beside.harms

    def promotes() -> None:
        with task.held(CONTEXT, CANARY):
            raise Refused("the canary was stopped while its approval was awaited")

    with pytest.raises(Stopped) as stop:
        promotes()
    assert stop.value is HARM


def test_an_approval_that_ended_takes_it_off(beside: Beside) -> None:
    def waits_for_people() -> None:
        with task.held(CONTEXT, CANARY):
            raise Refused("nobody answered")

    with pytest.raises(Refused, match="nobody answered"):
        waits_for_people()
    assert (beside.left, beside.settled) == (["nobody answered"], 1)


def test_what_failed_outside_leaves_it_routed_and_unsettled(beside: Beside) -> None:
    """The same command goes on; where it does not, heartbeats end and the automation takes the canary off."""

    def promotes() -> None:
        with task.held(CONTEXT, CANARY):
            raise DependencyFailed("the store is away")

    with pytest.raises(DependencyFailed):
        promotes()
    assert (beside.left, beside.settled) == ([], 0)


def test_a_store_that_is_away_for_a_moment_ends_no_watch(beside: Beside, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([DependencyFailed("the store is away"), None])
    again = threading.Event()

    def finds(over: Callable[[], bool]) -> None:
        if error := next(answers, None):
            raise error
        again.set()
        beside.holds(over)

    monkeypatch.setattr(threading.Event, "wait", _short_wait)
    beside.finds = finds
    with task.held(CONTEXT, CANARY):
        assert again.wait(5)


_wait = threading.Event.wait


def _short_wait(self: threading.Event, timeout: float | None = None) -> bool:
    return _wait(self, 0.001 if timeout == 1 else timeout)


@pytest.mark.parametrize("asked", [True, False], ids=["a release goes on", "nobody goes on"])
def test_a_canary_without_its_release_is_watched_until_one_asks(beside: Beside, asked: bool) -> None:
    beside.asked = asked
    task.kept(CONTEXT, CANARY)
    assert beside.left == ([] if asked else ["nobody went on with its release"])
    assert beside.settled == (0 if asked else 1)


def test_a_canary_without_its_release_is_stopped_by_harm(beside: Beside) -> None:
    beside.finds = beside.harms
    with pytest.raises(Stopped):
        task.kept(CONTEXT, CANARY)
    assert (beside.left, beside.settled) == ([], 1)


def test_what_the_form_says_is_not_recorded_once_the_canary_was_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def check() -> None:
        if asked:
            raise HARM

    def ask(*_: object) -> dict[str, str]:
        asked.append("form")
        return {"decision": "promote"}

    monkeypatch.setattr("operations.approve.outcome", lambda *_: None)
    monkeypatch.setattr("operations.approve.decisions", lambda *_: [])
    monkeypatch.setattr(approve_task, "_ask", ask)
    monkeypatch.setattr(approve_task, "record", lambda *_: pytest.fail("it was recorded"))
    with pytest.raises(Stopped):
        approve_task.wait(CONTEXT, CANARY.policy, "r", "e" * 64, check)
