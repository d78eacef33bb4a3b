"""Data at the command line: `data push`, a capture that checks DVC's digests, `restore --with-data`."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from contracts.errors import Refused
from contracts.train_manifest import TrainManifest
from operations.capture import capture
from registry.documents import get_document
from registry.store.local import LocalStore
from tests.flows.release_project import FAMILY, REPOSITORY, context_of, make_project, soundcheck
from tests.operations import dvc_project
from tests.operations.data_releases import FILES, UTTERANCES, Released
from tests.registry.registry_parts import read_folder

CORPUS = "data/corpus/commands"


def test_data_is_pushed_and_restored_by_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in dvc_project.environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    root = dvc_project.make_dvc_project(tmp_path / "project")
    released = Released(root, tmp_path / "other", LocalStore(root / ".soundcheck" / "store"))

    pushed = soundcheck(root, "data", "push")
    assert pushed.returncode == 0, pushed.stderr
    assert pushed.stdout == f"everything that DVC holds here is in {root}/.soundcheck/store/dvc\n"
    for name in ("data", ".dvc", ".git", "candidates"):
        shutil.rmtree(root / name)

    done = soundcheck(root, "restore", released.bundle, "--into", str(tmp_path / "back"), "--with-data")
    assert done.returncode == 0, done.stderr
    assert f"training data: {FILES} files, " in done.stdout
    assert f"{UTTERANCES} utterances, each verified, from {root}/.soundcheck/store/dvc" in done.stdout
    assert "bytes of data restored" in done.stderr
    assert read_folder(tmp_path / "back" / "data") == released.data

    again = soundcheck(root, "data", "push")
    assert again.returncode == 1
    assert "this project has no DVC" in again.stderr
    assert "next step: dvc init" in again.stderr


def test_a_release_records_and_verifies_what_dvc_says_of_its_data(tmp_path: Path) -> None:
    """The repository's own pipeline: candidates and corpus as `make train` left them."""
    project = make_project(tmp_path / "project", every=24)
    (project / CORPUS).parent.mkdir(parents=True)
    (project / CORPUS).symlink_to(REPOSITORY / CORPUS)
    lock = yaml.safe_load((REPOSITORY / "dvc.lock").read_text())
    (project / "dvc.lock").write_text(yaml.safe_dump(lock))
    context = context_of(project)
    outputs = capture(context, FAMILY, "v1")
    manifest = get_document(context.store, TrainManifest, outputs["train_manifest"])
    assert manifest.dvc is not None
    assert manifest.dvc.stage == "train"
    (corpus,) = manifest.dvc.data
    said = next(dep for dep in lock["stages"]["train"]["deps"] if dep["path"] == CORPUS)
    assert (corpus.path, corpus.md5, corpus.size, corpus.files) == (CORPUS, said["md5"], said["size"], said["nfiles"])
    assert context.ledger(FAMILY).events()[-1].data["data"] == "DVC stage train"

    said["md5"] = "0" * 32 + ".dir"
    (project / "dvc.lock").write_text(yaml.safe_dump(lock))
    with pytest.raises(Refused, match="data changed under its recorded digest"):
        capture(context, FAMILY, "v2")
