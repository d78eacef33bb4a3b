"""`soundcheck wheels` as a person types it, where it cannot work."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.flows.release_project import REPOSITORY, soundcheck


@pytest.fixture
def root(tmp_path: Path) -> Path:
    shutil.copyfile(REPOSITORY / "params.yaml", tmp_path / "params.yaml")
    return tmp_path


def test_without_a_lock_it_says_where_it_looked(root: Path) -> None:
    answer = soundcheck(root, "wheels")
    assert answer.returncode == 2
    assert "there is no such runtime lock" in answer.stderr
    assert str(root / "requirements.lock") in answer.stderr


def test_without_an_index_the_store_stays_as_it_was(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copyfile(REPOSITORY / "requirements.lock", root / "requirements.lock")
    for name, value in {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(root), "PIP_CONFIG_FILE": "/dev/null"}.items():
        monkeypatch.setenv(name, value)
    answer = soundcheck(root, "wheels")
    assert (answer.returncode, answer.stdout) == (3, "")
    assert "the wheels of the runtime lock could not be gathered" in answer.stderr
    assert "got: Cannot install " in answer.stderr
    assert "where pip looks, a wheel of every version that the lock pins" in answer.stderr
    assert "pip config list" in answer.stderr
    assert not (root / ".soundcheck" / "store" / "wheelhouses").exists()
