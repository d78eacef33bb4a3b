"""Two equal projects, each with its own stack: one whose releases are killed, one whose releases are left alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flows.release_project import make_project, soundcheck


@pytest.fixture
def crash_projects(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """Projects made from the same files at the same commit time, so that their bundles can be compared."""
    roots = (make_project(tmp_path / "killed", every=24), make_project(tmp_path / "whole", every=24))
    for root in roots:
        for words in (("keys", "new", "anna"), ("up", "--auto-ports", "--part", "prefect", "--part", "gateway")):
            answer = soundcheck(root, *words)
            assert answer.returncode == 0, answer.stderr
    yield roots
    for root in roots:
        soundcheck(root, "down")
