"""The guide is true: its files and commands are run in a clone, to the staged replay of its first release.

`make drills` goes on to the improvement and to the candidate that is stopped (tests/drills/test_own_families.py).
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from operations.family_new import tasks
from tests.families.checkout import clone, shell
from tests.families.guide import PAGE, blocks, follow


def test_the_page_adds_a_family_in_under_a_hundred_lines() -> None:
    code = [line for block in blocks() if block.path for line in block.lines if line.strip()]
    assert len(code) < 100
    assert max(map(len, code)) <= 120


def test_the_page_names_every_task_that_there_is_a_template_of() -> None:
    assert tuple(re.findall(r"^\| `(\w+)` \|", PAGE.read_text(), re.MULTILINE)) == tasks()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_page_runs_to_the_staged_replay_of_its_first_release(tmp_path: Path) -> None:
    root = clone(tmp_path / "clone")
    lines = []
    for line, _ in follow(root, timeout_s=400):
        lines.append(line)
        if "soundcheck release" in line:
            break
    assert lines[-1] == "soundcheck release keywords --candidate v1"
    assert len(lines) == 6
    checked = shell(root, "ruff check --no-cache families", timeout_s=60)
    assert checked.returncode == 0, checked.stdout
