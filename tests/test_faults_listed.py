"""docs/faults.md lists every fault, and names tests that exist."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs" / "faults.md"
NUMBERS = tuple(range(1, 65))
OPEN = "**Open**: "


def _listed() -> dict[int, str]:
    """What the page says under each number."""
    parts = re.split(r"^### (\d+) ", PAGE.read_text(), flags=re.MULTILINE)
    return {int(number): said.split("\n## ")[0] for number, said in zip(parts[1::2], parts[2::2], strict=True)}


def _named(said: str) -> list[str]:
    return re.findall(r"^- `([^`]+)`$", said, flags=re.MULTILINE)


@cache
def _tests(path: Path) -> frozenset[str]:
    """The test functions of a file."""
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in ast.parse(path.read_text()).body if isinstance(node, functions))


def test_every_fault_stands_there_once_and_in_order() -> None:
    headings = re.findall(r"^### (\d+) ", PAGE.read_text(), flags=re.MULTILINE)
    assert tuple(map(int, headings)) == NUMBERS


@pytest.mark.parametrize("number", NUMBERS)
def test_a_fault_is_shown_by_tests_that_exist_or_is_said_to_be_open(number: int) -> None:
    said = _listed()[number]
    assert _named(said) or OPEN in said, f"fault {number} has no test and is not said to be open"
    for reference in _named(said):
        file, _, test = reference.partition("::")
        assert (TESTS / file).is_file(), f"fault {number}: there is no tests/{file}"
        assert test in _tests(TESTS / file), f"fault {number}: tests/{file} has no {test}"


def test_a_test_that_says_its_fault_in_its_name_stands_under_that_number() -> None:
    listed = {number: _named(said) for number, said in _listed().items()}
    missing = []
    for path in sorted(TESTS.rglob("test_*.py")):
        for test in sorted(_tests(path)):
            number = re.match(r"test_fault_(\d+)_", test)
            reference = f"{path.relative_to(TESTS).as_posix()}::{test}"
            if number and int(number[1]) in NUMBERS and reference not in listed[int(number[1])]:
                missing.append(f"{number[1]}: {reference}")
    assert not missing, "write them into docs/faults.md:\n" + "\n".join(missing)
