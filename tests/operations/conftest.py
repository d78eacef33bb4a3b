"""What tests of several steps share: an installation, a packaged release, a canary in its world, a DVC project."""

from __future__ import annotations

from pathlib import Path

import pytest

from operations.context import Context
from tests.operations.canary_world import World
from tests.operations.dvc_project import make_dvc_project
from tests.operations.gated_releases import open_installation
from tests.operations.packaged import Packaged


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return open_installation(tmp_path)


@pytest.fixture
def packaged(context: Context, tmp_path: Path) -> Packaged:
    return Packaged(context, tmp_path / "one")


@pytest.fixture(scope="session")
def dvc_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that DVC made; tests work on copies."""
    return make_dvc_project(tmp_path_factory.mktemp("dvc") / "project")


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch)
