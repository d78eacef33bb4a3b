"""A project a test, and one embedded stack a module for the tests that need servers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flows.release_project import make_project, soundcheck


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project without servers."""
    return make_project(tmp_path / "project")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project whose stack (Prefect, MLflow, gateway, deployments) runs for the whole module."""
    root = make_project(tmp_path_factory.mktemp("served") / "project")
    made = soundcheck(root, "keys", "new", "anna")
    assert made.returncode == 0, made.stderr
    up = soundcheck(root, "up", "--auto-ports")
    assert up.returncode == 0, up.stderr
    yield root
    down = soundcheck(root, "down")
    assert down.returncode == 0, down.stderr
