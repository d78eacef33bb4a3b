"""What tests of several steps share: a project that DVC made, once; a canary in a world of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.operations.canary_world import World
from tests.operations.dvc_project import make_dvc_project


@pytest.fixture(scope="session")
def dvc_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that DVC made; tests work on copies."""
    return make_dvc_project(tmp_path_factory.mktemp("dvc") / "project")


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch)
