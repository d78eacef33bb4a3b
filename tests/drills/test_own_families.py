"""Families of one's own, released as they stand: every template, and the guide from its first line to its last."""

from __future__ import annotations

from pathlib import Path

import pytest

from contracts.policy import Task
from operations.family_new import tasks
from tests.families.checkout import clone, patient, shell
from tests.families.guide import STAGED, STOPS, follow

LONGEST_S = 900.0


@pytest.mark.timeout(3 * LONGEST_S)
def test_the_guide_ends_with_an_improvement_that_is_staged_and_a_bad_candidate_that_is_stopped(tmp_path: Path) -> None:
    said = list(follow(clone(tmp_path / "clone"), timeout_s=LONGEST_S))
    last, why = said[-1]
    assert last == f"soundcheck release keywords --candidate v3{STOPS}"
    assert "stopped at the gate step: fail" in why
    assert "worse" in why


@pytest.mark.timeout(3 * LONGEST_S)
@pytest.mark.parametrize("task", tasks())
def test_what_family_new_writes_is_released_as_it_is(task: Task, tmp_path: Path) -> None:
    root = clone(tmp_path / "clone")
    begun = shell(root, f"soundcheck family new my-own --task {task} --write-params", timeout_s=60)
    assert begun.returncode == 0, begun.stderr
    patient(root)
    lines = [
        "git add families params.yaml",
        "git commit --quiet --message 'My own'",
        *(f"python -m families.my_own.make {what}" for what in ("pack", "v1", "v2", "worse")),
        *(f"python {STAGED} my-own {version}" for version in ("v1", "v2")),
    ]
    done = shell(root, "\n".join(lines), timeout_s=LONGEST_S)
    assert done.returncode == 0, done.stderr
    stopped = shell(root, f"python {STAGED} my-own worse", timeout_s=LONGEST_S)
    assert stopped.returncode == 1
    assert "my-own worse stopped at the gate step: fail" in stopped.stderr
