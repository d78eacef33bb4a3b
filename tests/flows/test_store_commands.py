"""`soundcheck gc`, `erase` and `consent` as a person types them, on a store in a folder."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from registry.store.keys import blob_key
from registry.store.local import LocalStore
from tests.flows.release_project import REPOSITORY, soundcheck


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project without a release; bert is an operator."""
    shutil.copyfile(REPOSITORY / "params.yaml", tmp_path / "params.yaml")
    answer = soundcheck(tmp_path, "keys", "new", "bert", "--role", "operator")
    assert answer.returncode == 0, answer.stderr
    return tmp_path


def _orphan(root: Path, content: bytes, *, days: float) -> str:
    store = LocalStore(root / ".soundcheck" / "store")
    digest = store.put_blob(content)
    path = store.root / blob_key(digest)
    aged = path.stat().st_mtime - days * 86_400
    os.utime(path, (aged, aged))
    return digest


def test_gc_counts_first_and_deletes_when_it_is_told_to(root: Path) -> None:
    old, young = _orphan(root, b"old", days=8), _orphan(root, b"young!", days=2)
    store = LocalStore(root / ".soundcheck" / "store")
    dry = soundcheck(root, "gc")
    assert (dry.returncode, dry.stderr) == (0, "nothing was deleted; next step: soundcheck gc --delete\n")
    assert "named by nobody: 1 blobs, 3 bytes; 1 more are younger than 7 days" in dry.stdout
    assert store.has_blob(old)
    done = soundcheck(root, "gc", "--delete", "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["unnamed"], answer["deleted"]) == ({"blobs": 1, "bytes": 3}, {"blobs": 1, "bytes": 3})
    assert (store.has_blob(old), store.has_blob(young)) == (False, True)


def test_gc_refuses_a_grace_period_under_a_day(root: Path) -> None:
    answer = soundcheck(root, "gc", "--grace-days", "0.5")
    assert answer.returncode == 2
    assert "0.5 is not in the range x>=1" in answer.stderr


def test_erased_content_is_gone_until_consent_is_given_anew(root: Path) -> None:
    voice = _orphan(root, b"voice", days=0)
    words = ("--digest", voice, "--key", "bert", "--json")
    answer = soundcheck(root, "erase", *words, "--reason", "consent withdrawn by speaker 7")
    assert answer.returncode == 0, answer.stderr
    said = json.loads(answer.stdout)
    assert (said["blob"], said["by"], said["reason"]) == (voice, "bert", "consent withdrawn by speaker 7")
    store = LocalStore(root / ".soundcheck" / "store")
    assert not store.has_blob(voice)
    again = soundcheck(root, "consent", *words[:-1], "--reason", "given anew")
    assert (again.returncode, again.stdout) == (0, f"{voice}: may be stored again\n"), again.stderr
    assert store.put_blob(b"voice") == voice
