"""How the incident flow is wired: it fails where there is something to do, and says what; an error is its state."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from contracts.errors import Corrupt
from flows import incident as incident_flow
from flows.parameters import Family
from tasks import incident as tasks
from tests.operations.test_telemetry import ROOT
from tests.pages.test_incident_page import example

FAMILY = "asr-commands"


def run(monkeypatch: pytest.MonkeyPatch, opened: Any) -> Any:
    monkeypatch.setattr(incident_flow, "open_context", lambda: None)
    monkeypatch.setattr(tasks, "opened", opened)
    return incident_flow.incident.fn(Family(FAMILY), 45)


@pytest.mark.parametrize(("action", "state"), [("rollback", "FAILED"), ("pause", "FAILED"), ("continue", "COMPLETED")])
def test_the_flow_ends_as_the_first_action_says(monkeypatch: pytest.MonkeyPatch, action: str, state: str) -> None:
    said = example().recommendation.model_copy(update={"action": action, "reason": "because"})
    asked: list[float] = []

    def opened(_context: None, family: str, since_s: float, update_open: bool) -> Any:
        asked.append(since_s)
        assert (family, update_open) == (FAMILY, False)
        return example(recommendation=said)

    ended = run(monkeypatch, opened)
    assert (ended.type.value, asked) == (state, [2700.0])
    assert ended.message == f"20261120-140231-3f9a0c11: {action}: because"


def test_telemetry_that_cannot_be_read_fails_the_flow(monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(*_: Any) -> Any:
        raise Corrupt("a telemetry segment cannot be read")

    ended = run(monkeypatch, opened)
    assert (ended.type.value, ended.message) == ("FAILED", "a telemetry segment cannot be read")


NOW = datetime(2026, 11, 20, 15, 0, tzinfo=UTC)
OPEN = {
    "none is there": ([], "opened"),
    "one of this morning": ([{"opened_at": "2026-11-20T08:00:00Z"}], "looked at again"),
    "it is closed": ([{"opened_at": "2026-11-20T08:00:00Z", "state": "closed"}], "opened"),
    "it is of another family": ([{"opened_at": "2026-11-20T08:00:00Z", "family": "asr-en"}], "opened"),
    "it was forgotten": ([{"opened_at": "2026-11-18T08:00:00Z"}], "opened"),
    "a closed one is newer": (
        [{"opened_at": "2026-11-20T14:00:00Z", "state": "closed"}, {"opened_at": "2026-11-20T08:00:00Z"}],
        "looked at again",
    ),
}


@pytest.mark.parametrize("name", OPEN)
@pytest.mark.parametrize("update_open", [True, False])
def test_an_automation_looks_at_the_open_incident_again(
    monkeypatch: pytest.MonkeyPatch, name: str, update_open: bool
) -> None:
    changes, said = OPEN[name]
    known = [example().model_copy(update={"family": FAMILY, **change}) for change in changes]
    done: list[str] = []

    def opens(_context: Any, family: str, *, since_s: float) -> Any:
        assert (family, since_s) == (FAMILY, 3600.0)
        done.append("opened")
        return SimpleNamespace(incident=example())

    def updates(_context: Any, incident: str) -> Any:
        assert incident == known[-1].incident
        done.append("looked at again")
        return SimpleNamespace(incident=example())

    monkeypatch.setattr(tasks, "incidents", lambda _context: known)
    monkeypatch.setattr(tasks, "open_incident", opens)
    monkeypatch.setattr(tasks, "update", updates)
    monkeypatch.setattr(tasks, "create_markdown_artifact", lambda **_: None)
    tasks.opened.fn(SimpleNamespace(now=lambda: NOW), FAMILY, 3600.0, update_open)
    assert done == [said if update_open else "opened"]


def test_it_is_deployed_and_never_scheduled() -> None:
    entries = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    (entry,) = [one for one in entries if one["entrypoint"] == "flows/incident.py:incident"]
    assert "schedule" not in entry
