"""A candidate that the registry refuses: its page, its artifact and its terminal summary say what a gate's would."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from contracts.errors import DependencyFailed, Refused
from contracts.verdict import Value
from flows.release import _run
from flows.wiring import open_context
from operations.capture import capture
from operations.register import Unregistered, register
from operations.release import report_path
from operations.view import release_view
from pages.steps import artifact
from pages.terminal import release_summary
from tests.flows.release_project import FAMILY, commit

FIELDS = ("on_call", "owner", "retention_policy")
WHAT = "the registry entry lacks 3 required fields"


@pytest.fixture
def refused(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose family says too little for its registry entry (R2.1)."""
    monkeypatch.setenv("SOUNDCHECK_ROOT", str(project))
    params = yaml.safe_load((project / "params.yaml").read_text())
    for name in FIELDS:
        del params["families"][FAMILY]["registry"][name]
    (project / "params.yaml").write_text(yaml.safe_dump(params))
    commit(project)
    return project


def test_a_refused_registration_stops_the_release_with_a_page_as_a_gate_does(refused: Path) -> None:
    context = open_context()
    captured = capture(context, FAMILY, "v1")
    with pytest.raises(Unregistered) as stop:
        register(context, FAMILY, captured)
    assert (stop.value.step, stop.value.release, stop.value.exit_status) == ("register", captured["release"], 1)
    assert (stop.value.verdict.value, stop.value.verdict.reasons) == (Value.FAIL, (WHAT,))

    view = release_view(context, FAMILY, captured["release"])
    assert (view.outcome, view.stopped_at) == ("stopped", "register")
    answers = (
        f"register (exit status 1): {WHAT} ({FAMILY} v1)",
        "missing: on_call, owner, retention_policy",
        "every field of the registry contract (contracts/registry_entry.py)",
        "add them to candidate.yaml or to the family in params.yaml, then run the release again",
    )
    summary = " ".join(release_summary(view).split())
    table = artifact("register", view).replace("\\", "")
    for answer in answers:
        assert answer in summary
        assert answer in table
    assert str(refused) not in table


def test_the_flow_leaves_the_page_of_a_refused_registration(refused: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.release.capture", capture)
    monkeypatch.setattr("flows.release.register", register)
    context = open_context()
    with pytest.raises(Unregistered) as stop:
        _run(context, FAMILY, "v1")
    page = report_path(context.home, FAMILY, stop.value.release).read_text()
    for said in ("stopped at register", "exit status 1", WHAT, "missing: on_call, owner, retention_policy"):
        assert said in page


def test_a_refusal_is_asked_again_and_is_history_then(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise Refused("front end and feature contract disagree")

    monkeypatch.setenv("SOUNDCHECK_ROOT", str(project))
    context = open_context()
    captured = capture(context, FAMILY, "v1")
    with monkeypatch.context() as patched:
        patched.setattr("operations.register._check_agreement", refuse)
        with pytest.raises(Unregistered):
            register(context, FAMILY, captured)
    assert register(context, FAMILY, captured)["registry_entry"]
    events = [event.outcome for event in context.ledger(FAMILY).events() if event.step == "register"]
    assert events == ["fail", "complete"]
    assert release_view(context, FAMILY, captured["release"]).outcome == "waiting"


def test_a_store_that_is_away_refuses_nobody(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> None:
        raise DependencyFailed("the store did not answer")

    monkeypatch.setenv("SOUNDCHECK_ROOT", str(project))
    context = open_context()
    captured = capture(context, FAMILY, "v1")
    monkeypatch.setattr("operations.register.materialise", away)
    with pytest.raises(DependencyFailed, match="the store did not answer"):
        register(context, FAMILY, captured)
    assert [event.step for event in context.ledger(FAMILY).events()] == ["capture"]
