"""docs/drills.md says what each scenario covers as its file does, and names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.drills.drill import SCENARIOS, scenarios

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs" / "drills.md"
AFTER_RELEASE = range(36, 48)
DRILLS = 46
"""The row that all scenarios but the control show."""


class Row(NamedTuple):
    """A row of the page: the scenarios and tests that show a row of the coverage list."""

    scenarios: frozenset[str]
    tests: tuple[str, ...]


def listed() -> dict[int, Row]:
    """The page's rows by number."""
    found = {}
    for number, cell, tests in re.findall(
        r"^\| (\d+) \| [^|]* \| ([^|]*)\| ([^|]*)\|$", PAGE.read_text(), re.MULTILINE
    ):
        stems = frozenset(re.findall(r"\d+-[a-z0-9-]+", cell))
        found[int(number)] = Row(stems, tuple(re.findall(r"`([^`]+)`", tests)))
    return found


ROWS = listed()


def test_the_page_says_of_each_scenario_what_its_file_says() -> None:
    said: dict[str, set[int]] = {stem: set() for stem in scenarios()}
    for number, row in ROWS.items():
        for stem in row.scenarios:
            said[stem].add(number)
    assert said == {stem: set(scenario.covers) for stem, scenario in scenarios().items()}


def test_every_scenario_covers_something_and_leaves_the_row_of_drills_to_the_page() -> None:
    assert all(scenario.covers and DRILLS not in scenario.covers for scenario in scenarios().values())


def test_every_row_after_a_release_is_shown_by_a_scenario_or_a_test() -> None:
    assert set(AFTER_RELEASE) <= set(ROWS)
    assert [number for number, row in ROWS.items() if not (row.scenarios or row.tests)] == []


@pytest.mark.parametrize("reference", sorted({name for row in ROWS.values() for name in row.tests}))
def test_a_test_that_is_named_exists(reference: str) -> None:
    file, _, test = reference.partition("::")
    assert f"def {test}(" in (TESTS / file).read_text()


def test_every_scenario_is_injected_by_a_drill() -> None:
    """By the drills of a canary, which take those that have metrics, or by the name of its file."""
    named = " ".join(path.read_text() for path in SCENARIOS.parent.glob("test_*.py"))
    missing = [stem for stem, scenario in scenarios().items() if not scenario.metrics and f'"{stem}"' not in named]
    assert missing == []
