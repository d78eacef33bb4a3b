"""The drift flow and the command: which state, which exit status, what is printed and what Prefect is shown."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from contracts.drift import DriftEvaluation
from contracts.errors import Refused
from flows import drift as flow
from flows.commands.evaluate import drift as command
from flows.parameters import Family
from operations.drift import NothingStable
from tasks import drift as task
from tests.flows.release_project import REPOSITORY
from tests.pages import drift_examples as examples

FAMILY = "asr-commands"


@pytest.mark.parametrize(
    ("example", "ends", "says"),
    [
        (examples.quiet, "COMPLETED", "no signal moved on any slice"),
        (examples.firmware, "FAILED", "page: mean confidence on device=headset"),
    ],
)
def test_the_run_ends_as_the_verdict(
    monkeypatch: pytest.MonkeyPatch, example: Callable[[], DriftEvaluation], ends: str, says: str
) -> None:
    monkeypatch.setattr(flow, "open_context", SimpleNamespace)
    monkeypatch.setattr(task, "evaluate", lambda _context, _family: example())
    state = flow.drift.fn(Family(FAMILY))
    assert state.type.value == ends
    assert str(state.message).startswith(says)


@pytest.mark.parametrize(
    ("why", "ends"),
    [
        (Refused("telemetry is of another time"), "FAILED"),
        (NothingStable("the family has no stable bundle"), "COMPLETED"),  # a schedule that comes too early has no news
    ],
)
def test_a_refusal_is_the_run_s_message(monkeypatch: pytest.MonkeyPatch, why: Refused, ends: str) -> None:
    def refuse(*_: Any) -> None:
        raise why

    monkeypatch.setattr(flow, "open_context", SimpleNamespace)
    monkeypatch.setattr(task, "evaluate", refuse)
    state = flow.drift.fn(Family(FAMILY))
    assert (state.type.value, state.message) == (ends, why.what)


def test_every_family_is_looked_at_by_schedule() -> None:
    deployed = yaml.safe_load((REPOSITORY / "prefect.yaml").read_text())["deployments"]
    scheduled = [
        one["parameters"]["family"] for one in deployed if "drift.py" in one["entrypoint"] and "schedule" in one
    ]
    assert sorted(scheduled) == sorted(yaml.safe_load((REPOSITORY / "params.yaml").read_text())["families"])


def test_prefect_shows_what_moved_and_where_the_page_lies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shown: dict[str, str] = {}
    monkeypatch.setattr("operations.drift.drift", lambda _context, _family: examples.firmware())
    monkeypatch.setattr(task, "create_markdown_artifact", lambda key, markdown, **_: shown.update({key: markdown}))
    monkeypatch.setattr(task, "create_link_artifact", lambda key, link: shown.update({key: link}))
    task.evaluate.fn(SimpleNamespace(home=tmp_path), FAMILY)
    assert "| speech over background | headset |" in shown[f"{FAMILY}-drift"]
    assert shown[f"{FAMILY}-drift-page"] == (tmp_path / "drift" / FAMILY / "index.html").as_uri()


@pytest.mark.parametrize(
    ("example", "options", "status", "printed"),
    [
        (examples.quiet, [], 0, "pass: nothing"),
        (examples.firmware, [], 1, "run: soundcheck incident open asr-commands --since 24h"),
        (examples.firmware, ["--json"], 1, '"outcome": "page"'),
        (examples.quiet, ["--window", "5"], 2, "Invalid value for '--window'"),
    ],
)
def test_the_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, example: Callable[[], DriftEvaluation], options: list[str],
    status: int, printed: str,
) -> None:  # fmt: skip
    monkeypatch.setattr("flows.wiring.open_context", lambda *_: SimpleNamespace(home=tmp_path))
    monkeypatch.setattr("operations.drift.drift", lambda *_, **__: example())
    answer = CliRunner().invoke(command, [FAMILY, *options])
    assert answer.exit_code == status
    assert printed in answer.output
    if options == ["--json"]:
        assert json.loads(answer.stdout)["kind"] == "drift_evaluation"
