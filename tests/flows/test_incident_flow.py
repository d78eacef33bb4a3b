"""How the incident flow is wired: it fails where there is something to do, and says what; an error is its state."""

from __future__ import annotations

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


def test_it_is_deployed_and_never_scheduled() -> None:
    entries = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    (entry,) = [one for one in entries if one["entrypoint"] == "flows/incident.py:incident"]
    assert "schedule" not in entry
