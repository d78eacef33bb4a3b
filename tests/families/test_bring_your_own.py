"""The guide is true: its files and commands are run in a clone, each release up to its staged replay.

`make drills` runs the same page with servers, canaries and approvals (tests/drills/test_bring_your_own.py).
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from operations.family_new import tasks
from tests.families.checkout import clone, shell
from tests.families.guide import PAGE, STOPS, blocks

STAGED = Path(__file__).with_name("staged.py")
NEEDS_SERVERS = re.compile(r"soundcheck (up|traffic|status)\b")
RELEASE = re.compile(r"soundcheck release (\S+) --candidate (\S+)")


def test_the_page_adds_a_family_in_under_a_hundred_lines() -> None:
    code = [line for block in blocks() if block.path for line in block.lines if line.strip()]
    assert len(code) < 100
    assert max(map(len, code)) <= 120


def test_the_page_names_every_task_that_there_is_a_template_of() -> None:
    assert tuple(re.findall(r"^\| `(\w+)` \|", PAGE.read_text(), re.MULTILINE)) == tasks()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_page_runs_from_the_first_line_to_the_last(tmp_path: Path) -> None:
    root = clone(tmp_path / "clone")
    for block in blocks():
        if block.path:
            assert (root / block.path).is_file(), "`family new` wrote a first version of it"
            (root / block.path).write_text(block.text)
            continue
        for line in block.lines:
            if NEEDS_SERVERS.match(line):
                continue
            done = shell(root, RELEASE.sub(rf"python {STAGED} \1 \2", line), timeout_s=600)
            assert done.returncode == int(line.endswith(STOPS)), (line, done.stderr)
            if line.endswith(STOPS):
                assert "stopped at the gate step: fail" in done.stderr
                assert "keywords/noise=noisy: recall" in done.stderr
    checked = shell(root, "ruff check --no-cache families", timeout_s=60)
    assert checked.returncode == 0, checked.stdout
