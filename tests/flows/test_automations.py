"""What automations.yaml says, what the product tells Prefect, and that the two fit; no server runs here."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, get_args

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from prefect.events import Event
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.settings import PREFECT_API_URL, temporary_settings

from contracts.drift import Outcome
from contracts.errors import DependencyFailed, NotFound, Refused, WrongCall
from contracts.verdict import Value, Verdict
from flows import abort as abort_flow
from flows import automations
from flows import burn as burn_flow
from flows import canary as canary_flow
from flows.parameters import Family
from operations.burning import Burning
from operations.gate import Stopped
from operations.unwatched import Unwatched
from tasks import burn as burn_task
from tasks import canary as canary_task
from tasks import drift as drift_task
from tasks import events
from tests.flows.release_project import REPOSITORY
from tests.pages import drift_examples as examples

FAMILY = "asr-commands"
DEFINED = automations.definitions(REPOSITORY)
PAGE = Burning(FAMILY, "latency", "page", 19.96, 14.4, 300, 3600, 2)
TOLD = {
    events.CANARY_LOOK, events.CANARY_SETTLED, events.DRIFT_TAKES_BACK,
    *(f"{events.BUDGET}{action}" for action in ("page", "ticket")),
    *(f"{events.DRIFT}{outcome}" for outcome in get_args(Outcome)),
}  # fmt: skip


# ---- the file -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("definition", DEFINED, ids=lambda one: one.name)
def test_an_automation_waits_for_what_is_told_and_runs_what_is_deployed(definition: automations.Definition) -> None:
    trigger = definition.trigger_on_server()
    assert trigger.expect | trigger.after <= TOLD
    flow, name = definition.run.deployment.split("/")
    (entry,) = [
        one for one in yaml.safe_load((REPOSITORY / "prefect.yaml").read_text())["deployments"] if one["name"] == name
    ]
    path, function = entry["entrypoint"].split(":")
    runs = getattr(importlib.import_module(path.removesuffix(".py").replace("/", ".")), function)
    assert runs.name == flow
    assert set(definition.run.parameters) <= set(inspect.signature(runs.fn).parameters)


def test_a_canary_is_waited_for_longer_than_its_looks_are_apart() -> None:
    (definition,) = [one for one in DEFINED if one.name == "canary-unwatched"]
    within_s = definition.trigger_on_server().within.total_seconds()
    assert within_s >= 3 * canary_task.HEARTBEAT_S
    assert definition.run.parameters["unwatched_s"] <= within_s


ENTRY: dict[str, Any] = {
    "name": "one", "description": "says so", "trigger": {"posture": "Reactive", "expect": ["a"], "within": 60},
    "run": {"deployment": "incident/incident"}, "notify": "page",
}  # fmt: skip
WRONG: dict[str, tuple[dict[str, Any], str, str]] = {
    "a key is missing": ({"run": None}, "automations.yaml: one: run", "valid dictionary"),
    "a key is unknown": ({"color": "red"}, "automations.yaml: one: color", "Extra inputs are not permitted"),
    "nobody of that name is called": ({"notify": "boss"}, "automations.yaml: one: notify", "'page' or 'ticket'"),
    "there is no such posture": (
        {"trigger": {"posture": "Sitting"}}, "automations.yaml: one: posture", "Posture.Reactive",
    ),
    "a watch that is too short": (
        {"trigger": {"posture": "Proactive", "expect": ["a"], "within": 5}}, "automations.yaml: one",
        "greater than or equal to 10 seconds",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_entry_is_named(tmp_path: Path, name: str) -> None:
    changes, where, got = WRONG[name]
    (tmp_path / "automations.yaml").write_text(yaml.safe_dump({"automations": [ENTRY | changes]}))
    with pytest.raises(WrongCall, match="an automation cannot be read") as raised:
        automations.definitions(tmp_path)
    assert str(raised.value.where).startswith(where)
    assert got in str(raised.value.got)


@pytest.mark.parametrize(
    ("text", "where", "got"),
    [
        ("automations: [", "automations.yaml: the file", "while parsing"),
        ("[]", "automations.yaml: the file", "1 validation error"),
        ("automations: [one]", "automations.yaml: the file", "1 validation error"),
        (yaml.safe_dump({"automations": [ENTRY, ENTRY]}), "automations.yaml: one", "a second entry of this name"),
    ],
)
def test_a_file_that_is_none_is_said(tmp_path: Path, text: str, where: str, got: str) -> None:
    (tmp_path / "automations.yaml").write_text(text)
    with pytest.raises(WrongCall, match="an automation cannot be read") as raised:
        automations.definitions(tmp_path)
    assert (raised.value.where, str(raised.value.got)[: len(got)]) == (where, got)


def test_without_the_file_the_next_step_is_said(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"there is no automations\.yaml"):
        automations.definitions(tmp_path)


@pytest.mark.parametrize(
    ("trigger", "said"),
    [
        ({"posture": "Reactive", "expect": ["b", "a"], "within": 60}, "a or b, once in 60 s"),
        ({"posture": "Proactive", "after": ["a"], "expect": ["b"], "within": 10}, "no b within 10 s after a"),
    ],
)
def test_a_trigger_in_words(trigger: dict[str, Any], said: str) -> None:
    assert automations.when(automations.Definition.model_validate(ENTRY | {"trigger": trigger})) == said


# ---- what is told ---------------------------------------------------------------------------------------------------
@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Events as Prefect gets them."""
    found: list[tuple[str, dict[str, Any], dict[str, Any]]] = []

    def emit(event: str, resource: dict[str, str], payload: dict[str, Any], follows: Event | None) -> Event:
        found.append((event, resource, payload))
        return Event(event=event, resource=resource, follows=follows.id if follows else None)

    monkeypatch.setattr(events, "emit_event", emit)
    monkeypatch.setattr(events, "_told", {})
    return found


@pytest.fixture
def names(told: list[tuple[str, dict[str, Any], dict[str, Any]]], request: pytest.FixtureRequest) -> Any:
    """Their names alone, in an installation with a Prefect server."""
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}):
        yield lambda: [event for event, _, _ in told]


def test_an_event_has_counts_and_rates_and_no_label(told: list[Any], names: Callable[[], list[str]]) -> None:
    events.budget_burns(PAGE)
    (event,) = told
    assert event == (
        "soundcheck.budget.page",
        {"prefect.resource.id": f"soundcheck.family.{FAMILY}", "prefect.resource.name": FAMILY,
         "soundcheck.family": FAMILY},
        {"objective": "latency", "rate": 19.96, "due_from": 14.4, "short_s": 300, "long_s": 3600, "slices": 2},
    )  # fmt: skip


def test_what_is_told_of_a_family_is_read_in_order(names: Callable[[], list[str]]) -> None:
    """Prefect reads two events at a time: a look that is read after its `settled` would have the canary stopped."""
    events.canary_look(FAMILY, "v2", "wide")
    look = events._told[FAMILY]
    events.canary_look("asr-en", "v2", "wide")
    events.canary_settled(FAMILY, "v2")
    assert (look.follows, events._told["asr-en"].follows, events._told[FAMILY].follows) == (None, None, look.id)


@given(st.lists(st.text("ab", min_size=1, max_size=3), min_size=2, max_size=6, unique=True), st.randoms())
def test_the_order_of_what_a_trigger_expects_says_nothing(expected: list[str], chance: Random) -> None:
    """An automation that came back from the server with its sets in another order is unchanged."""
    shuffled = chance.sample(expected, len(expected))
    cores = [
        AutomationCore(
            name="one", description="", actions=[],
            trigger=EventTrigger(posture=Posture.Reactive, expect=set(names), within=timedelta(seconds=60)),
        )
        for names in (expected, shuffled)
    ]  # fmt: skip
    assert automations._essence(cores[0]) == automations._essence(cores[1])


def test_without_a_server_nothing_is_told(told: list[Any]) -> None:
    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        events.canary_look(FAMILY, "v2", "wide")
    assert told == []


def test_a_heartbeat_is_told_at_the_first_look_and_then_every_ten_seconds(
    monkeypatch: pytest.MonkeyPatch, names: Callable[[], list[str]], tmp_path: Path
) -> None:
    clock = iter([0.0, 1.0, 9.9, 10.0, 11.0, 20.5])
    monkeypatch.setattr("tasks.canary.time.monotonic", lambda: next(clock))
    monkeypatch.setattr(canary_task.Live, "_show", lambda *_: None)
    live = canary_task.Live(SimpleNamespace(home=tmp_path), FAMILY)  # type: ignore[arg-type]
    monkeypatch.setattr(canary_task, "markdown", lambda *_, **__: "")
    progress: Any = SimpleNamespace(version="v2", stage="wide", decision="continue")
    counts = []
    for _ in range(6):
        live(progress)
        counts.append(len(names()))
    assert counts == [1, 1, 1, 2, 2, 3]
    assert set(names()) == {events.CANARY_LOOK}


WORSE = Verdict(value=Value.FAIL, reasons=("worse",))
STOP = Stopped("canary", WORSE, family=FAMILY, version="v2", release="r", next_step="")


@pytest.mark.parametrize(
    ("ends", "told_so"),
    [(None, []), (STOP, [events.CANARY_SETTLED]), (DependencyFailed("the store is away"), [])],
    ids=["held, it has traffic", "taken off", "the store is away: it may still have traffic"],
)
def test_a_canary_is_settled_once_it_needs_no_watch(
    monkeypatch: pytest.MonkeyPatch, names: Callable[[], list[str]], ends: Exception | None, told_so: list[str]
) -> None:
    def conclude(*_: Any) -> dict[str, str]:
        if ends:
            raise ends
        return {"canary_report": "d"}

    monkeypatch.setattr("operations.canary.conclude", conclude)
    monkeypatch.setattr(canary_task, "publish", lambda *_: None)
    canary: Any = SimpleNamespace(family=FAMILY, version="v2", release="r")
    with pytest.raises(type(ends)) if ends else nullcontext():
        canary_task.conclude.fn(None, canary, "d")
    assert names() == told_so


@pytest.mark.parametrize(("shadow_only", "told_so"), [(True, [events.CANARY_SETTLED]), (False, [])])
def test_a_shadow_that_waits_for_people_needs_no_watch(
    monkeypatch: pytest.MonkeyPatch, names: Callable[[], list[str]], shadow_only: bool, told_so: list[str]
) -> None:
    monkeypatch.setattr(canary_flow, "find", lambda *_: SimpleNamespace(stages=("shadow",), version="v2"))
    monkeypatch.setattr(canary_flow, "goes_on", lambda *_: True)
    tasks = SimpleNamespace(stage=lambda *_: "d", conclude=lambda *_: {"canary_report": "d"})
    monkeypatch.setattr(canary_flow, "tasks", tasks)
    context: Any = None
    assert canary_flow._run(context, FAMILY, "r", shadow_only) == "d"
    assert names() == told_so


@pytest.mark.parametrize(
    ("example", "more"),
    [
        (examples.quiet, []), (examples.firmware, []), (examples.own_doing, []),
        (examples.started, ["soundcheck.drift.start_rollback"]),
    ],
    ids=["nothing", "page", "a rollback is recommended", "and started"],
)  # fmt: skip
def test_drift_tells_its_outcome(
    monkeypatch: pytest.MonkeyPatch, names: Callable[[], list[str]], tmp_path: Path, example: Callable[[], Any],
    more: list[str],
) -> None:  # fmt: skip
    monkeypatch.setattr("operations.drift.drift", lambda *_: example())
    monkeypatch.setattr(drift_task, "create_markdown_artifact", lambda **_: None)
    monkeypatch.setattr(drift_task, "create_link_artifact", lambda **_: None)
    drift_task.evaluate.fn(SimpleNamespace(home=tmp_path), FAMILY)
    assert names() == [f"soundcheck.drift.{example().outcome}", *more]


# ---- the flows that watch and act -----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("found", "state", "message"),
    [
        ([], "COMPLETED", "no error budget burns too fast"),
        ([PAGE], "FAILED",
         "page: asr-commands latency burns 20.0 times too fast over 5 and 60 minutes (due from 14.4)"),
        (DependencyFailed("no gateway lives"), "FAILED", "no gateway lives"),
    ],
)  # fmt: skip
def test_the_burn_watch_fails_where_somebody_is_due(
    monkeypatch: pytest.MonkeyPatch, found: list[Burning] | Exception, state: str, message: str
) -> None:
    def look(_home: Path) -> list[Burning]:
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(burn_task, "look", look)
    ended = burn_flow.watch.fn()
    assert (ended.type.value, ended.message) == (state, message)


def test_each_budget_that_burns_is_told(monkeypatch: pytest.MonkeyPatch, names: Callable[[], list[str]]) -> None:
    found = [PAGE, PAGE._replace(action="ticket", objective="availability")]
    monkeypatch.setattr("operations.burning.burning", lambda _home: found)
    assert burn_task.look.fn(Path()) == found
    assert names() == ["soundcheck.budget.page", "soundcheck.budget.ticket"]


@pytest.mark.parametrize(
    ("done", "state", "message"),
    [
        (Unwatched(True, "stopped"), "FAILED", "asr-commands: stopped"),
        (Unwatched(False, "it goes on"), "COMPLETED", "asr-commands: it goes on"),
        (Refused("the pointer is torn"), "FAILED", "the pointer is torn"),
    ],
)
def test_an_abort_fails_where_a_canary_was_stopped(
    monkeypatch: pytest.MonkeyPatch, done: Unwatched | Exception, state: str, message: str
) -> None:
    def abort_unwatched(_context: None, family: str, *, unwatched_s: float) -> Unwatched:
        assert (family, unwatched_s) == (FAMILY, 45.0)
        if isinstance(done, Exception):
            raise done
        return done

    monkeypatch.setattr(abort_flow, "open_context", lambda: None)
    monkeypatch.setattr(abort_flow, "abort_unwatched", abort_unwatched)
    ended = abort_flow.abort.fn(Family(FAMILY), 45.0)
    assert (ended.type.value, ended.message) == (state, message)
