"""The on-call book is what the drills' scenarios say today, and what it tells people to type works."""

from __future__ import annotations

import io
import re
import shlex
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, get_args

import click
import pandas as pd
import pytest
import yaml

from contracts.drift import Outcome
from contracts.incident import Action
from contracts.telemetry import TelemetryRow
from flows.cli import soundcheck
from tests.drills import on_call_book as book

PAGES = book.book()
DRILLS = {name: text for name, text in PAGES.items() if name != "README.md"}
BLOCKS = [
    (name, language, code)
    for name, text in DRILLS.items()
    for language, code in re.findall(r"^```(\w*)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
]
COMMANDS = sorted({line for _, language, code in BLOCKS if not language for line in code.splitlines()})
QUERIES = [(name, code) for name, language, code in BLOCKS if language == "python"]


def test_the_book_is_not_stale() -> None:
    """Next step where it is: python -m tests.drills.on_call_book."""
    assert book.stale() == []


def test_a_scenario_that_changed_or_was_added_makes_it_stale(tmp_path: Path) -> None:
    for path in book.SCENARIOS.glob("*.yaml"):
        (tmp_path / path.name).write_text(path.read_text())
    changed = yaml.safe_load((tmp_path / "1-partial-churn-spike.yaml").read_text())
    (tmp_path / "1-partial-churn-spike.yaml").write_text(yaml.safe_dump(changed | {"trigger": "another one"}))
    (tmp_path / "99-added.yaml").write_text(yaml.safe_dump(changed | {"name": "added"}))
    (tmp_path / "2-first-partial-doubled.yaml").unlink()
    found = ["1-partial-churn-spike.md", "2-first-partial-doubled.md", "99-added.md", "README.md"]
    assert book.stale(scenarios=tmp_path) == found


@pytest.mark.parametrize("name", DRILLS)
def test_a_page_has_all_that_somebody_needs_at_night(name: str) -> None:
    parts = re.split(r"^## (.*)$", DRILLS[name], flags=re.MULTILINE)
    said = dict(zip(parts[1::2], parts[2::2], strict=True))
    assert list(said) == ["Query", "First action", "Rollback trigger", "Prevention", "How it is rehearsed"]
    assert all(len(text.split()) > 3 for text in (parts[0], *said.values()))
    assert "- " in said["Query"]


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_of_the_book_is_one(line: str) -> None:
    """It parses: command, options and choices are there."""
    program, *words = shlex.split(line)
    assert program == "soundcheck"
    command: click.Command = soundcheck
    context = click.Context(soundcheck)
    while isinstance(command, click.Group):
        found = command.get_command(context, words.pop(0))
        assert found is not None
        command = found
    command.make_context(command.name, words)


@pytest.mark.parametrize(("name", "code"), QUERIES, ids=[name for name, _ in QUERIES])
def test_a_query_of_the_book_answers(name: str, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.telemetry.read", lambda *_: _rows())
    printed = io.StringIO()
    with redirect_stdout(printed):
        exec(compile(code, name, "exec"), {})
    assert printed.getvalue().count("dtype") == code.count("print(")
    assert "NaN" not in printed.getvalue()


def _rows() -> pd.DataFrame:
    """Two requests that were answered, one in each arm, and one that was refused; each was corrected."""
    common: dict[str, Any] = {
        "timestamp": 0.0, "session_id": "s", "family": "f", "bundle": "0" * 64, "route_version": 1, "mode": "stream",
        "status": 200, "audio_s": 2.0, "latency_ms": 90.0, "first_partial_ms": 50.0, "first_audio_ms": 50.0,
        "queue_ms": 1.0, "infer_ms": 5.0,
        "partial_words": 4, "unstable_words": 1, "cost_usd": 0.1, "errors": 1, "words": 3, "accent": "us",
        "device": "phone", "codec": "opus",
    }  # fmt: skip
    rows = [
        TelemetryRow.model_validate({**common, "request_id": str(number), "arm": arm, **more})
        for number, (arm, more) in enumerate(
            [("stable", {}), ("canary", {}), ("stable", {"error_code": "unsupported_rate", "sent_rate_hz": 12_000})]
        )
    ]
    return pd.DataFrame([{**row.model_dump(), "requests": 1, "corrections": 1} for row in rows])


def test_every_drill_of_the_sources_is_listed_and_injected_by_scenarios_that_exist() -> None:
    listed = yaml.safe_load(book.SOURCES.read_text())
    stems = {path.stem for path in book.SCENARIOS.glob("*.yaml")}
    assert {stem for one in listed for stem in one["scenarios"]} <= stems
    assert all(one["scenarios"] for one in listed)
    assert {one["source"] for one in listed} == {"001", "002", "003", "004"}
    assert all(one["drill"] in PAGES["README.md"] for one in listed)


def test_every_action_that_drift_or_an_incident_can_end_in_has_a_command() -> None:
    assert set(get_args(Outcome)) | set(get_args(Action)) - {"continue"} <= set(book.ACTIONS)
