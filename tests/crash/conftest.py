"""What is killed: whole projects with servers of their own, and rehearsals (rehearsal.py) that share one story.

How much is done comes from the environment (`make test-crash INSTANTS=100 ROUNDS=200 MINUTES=30`): CRASH_INSTANTS
random kills on each store, CRASH_ROUNDS rounds of promoters, CRASH_MINUTES of real kills on each store at most,
CRASH_PROCESSES releases at once. What was done is printed at the end.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.crash.rehearsal import Answers, Chapter, make_rehearsal_project, remembered, tell
from tests.flows.release_project import make_project, soundcheck
from tests.registry.conftest import bucket, s3_server

__all__ = ["bucket", "s3_server"]  # fixtures of the registry's tests, for these too

_told: list[str] = []


class Amounts(NamedTuple):
    """How much is done."""

    instants: int = int(os.environ.get("CRASH_INSTANTS", "20"))
    rounds: int = int(os.environ.get("CRASH_ROUNDS", "20"))
    minutes: float = float(os.environ.get("CRASH_MINUTES", "20"))
    processes: int = int(os.environ.get("CRASH_PROCESSES", "2"))


AMOUNTS = Amounts()


def tell_at_end(sentence: str) -> None:
    """Have a figure printed when all tests are over."""
    _told.append(sentence)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what was done."""
    if _told:
        terminalreporter.section("crash, corruption and concurrency")
        for sentence in _told:
            terminalreporter.write_line(sentence)


class Told(NamedTuple):
    """The story without a fault, and where its project and its answers lie."""

    project: Path
    chapters: dict[str, Chapter]
    answers: Path


@pytest.fixture(scope="session")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    """The project and the story; what its models heard is remembered for the length of the session."""
    folder = tmp_path_factory.mktemp("story")
    project = make_rehearsal_project(folder / "project")
    answers: Answers = {}
    with remembered(answers):
        chapters = tell(project, folder / "homes")
        (folder / "answers").write_bytes(pickle.dumps(answers))
        yield Told(project, chapters, folder / "answers")


@pytest.fixture
def crash_projects(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """Two equal projects, each with its own stack, whose bundles can be compared."""
    roots = (make_project(tmp_path / "killed", every=24), make_project(tmp_path / "whole", every=24))
    for root in roots:
        for words in (("keys", "new", "anna"), ("up", "--auto-ports", "--part", "prefect", "--part", "gateway")):
            answer = soundcheck(root, *words)
            assert answer.returncode == 0, answer.stderr
    yield roots
    for root in roots:
        soundcheck(root, "down")
