"""What tests of several steps share: a project that DVC made, once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.operations.dvc_project import make_dvc_project


@pytest.fixture(scope="session")
def dvc_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that DVC made; tests work on copies."""
    return make_dvc_project(tmp_path_factory.mktemp("dvc") / "project")
