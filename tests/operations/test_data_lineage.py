"""What a train manifest records of DVC, on a project that DVC itself made; and data changed behind DVC's back."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from contracts.errors import Refused
from contracts.train_manifest import DvcRemote
from operations.context import Context
from operations.data_lineage import trace
from registry import file_digests
from registry.file_digests import SETTLED_NS, Known
from tests.operations.dvc_project import (
    CANDIDATE,
    CLIPS,
    DATA,
    candidate,
    context_of,
    data_manifest,
    environment,
    lineage,
)

CLIP = f"{DATA}/audio/clip-3.wav"
NEXT_STEP = "dvc checkout brings them back; dvc repro trains on what is there now"


@pytest.fixture
def project(dvc_project: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(dvc_project, tmp_path / "project"))


@pytest.fixture
def context(project: Path) -> Context:
    return context_of(project)


def change_keeping_time(path: Path) -> None:
    """Other bytes of the same length under the same modification time: what DVC does not see."""
    before, content = path.stat(), bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_the_lineage_is_what_dvc_lock_says_of_the_stage(context: Context) -> None:
    found = lineage(context)
    assert found.stage == "train"
    assert {entry.path: entry.kind for entry in found.deps} == {"train.py": "code", "words.txt": "data", DATA: "data"}
    assert [entry.kind for entry in found.outs] == ["candidate", "output"]
    (corpus,) = (entry for entry in found.data if entry.path == DATA)
    assert (corpus.files, corpus.md5[-4:]) == (CLIPS + 1, ".dir")
    assert corpus.size == sum(path.stat().st_size for path in (context.settings.root / DATA).rglob("*.*"))
    assert found.remote is None


@pytest.mark.parametrize(
    ("damage", "got"),
    [
        (change_keeping_time, "audio/clip-3.wav changed"),
        (Path.unlink, "audio/clip-3.wav missing"),
        (lambda path: path.with_name("new.wav").write_bytes(b"new"), "audio/new.wav extra"),
        (lambda path: path.rename(path.with_name("z.wav")), "audio/clip-3.wav missing, audio/z.wav extra"),
    ],
    ids=["one bit, time put back", "a file gone", "a file more", "a file renamed"],
)
def test_data_changed_under_its_recorded_digest_is_refused(
    damage: Callable[[Path], object], got: str, context: Context
) -> None:
    damage(context.settings.root / CLIP)
    with pytest.raises(Refused) as refused:
        lineage(context)
    assert refused.value.what == "data changed under its recorded digest"
    assert refused.value.where.startswith(f"{DATA} (")
    assert refused.value.got == got
    assert refused.value.next_step == NEXT_STEP


def test_dvc_itself_does_not_see_such_a_change(project: Path) -> None:
    """Why the digests are computed again: `dvc status` is content with the modification time."""
    command = [sys.executable, "-m", "dvc", "status", "corpus"]
    settings = {**os.environ, **environment(project.parent)}
    subprocess.run(command, cwd=project, env=settings, check=True, capture_output=True)  # DVC learns the copy's times
    change_keeping_time(project / CLIP)
    said = subprocess.run(command, cwd=project, env=settings, check=True, capture_output=True, text=True)
    assert "up to date" in said.stdout
    with pytest.raises(Refused, match=r"clip-3\.wav changed"):
        lineage(context_of(project))


def test_a_change_is_found_without_dvcs_cache_too(context: Context) -> None:
    shutil.rmtree(context.settings.root / ".dvc" / "cache")
    change_keeping_time(context.settings.root / CLIP)
    with pytest.raises(Refused, match="data changed under its recorded digest") as refused:
        lineage(context)
    assert refused.value.got.startswith("md5 ")


def test_data_that_is_not_here_is_refused_with_the_command_that_brings_it(context: Context) -> None:
    shutil.rmtree(context.settings.root / DATA)
    with pytest.raises(Refused, match="so it cannot be verified") as refused:
        lineage(context)
    assert refused.value.next_step == f"dvc pull {DATA}, and run the release again"


def test_a_candidate_changed_after_training_is_refused(context: Context) -> None:
    (context.settings.root / CANDIDATE / "weights").write_text("other weights")
    with pytest.raises(Refused, match="the candidate is not what training made") as refused:
        lineage(context)
    assert refused.value.got == "weights changed"


def test_files_that_dvc_ignores_are_no_change(context: Context) -> None:
    ignored = context.settings.root / DATA / "__pycache__"
    ignored.mkdir()
    (ignored / "make.pyc").write_bytes(b"code")
    assert lineage(context).stage == "train"


@pytest.mark.parametrize(
    ("column", "value", "got"),
    [("sha256", "0" * 64, "audio/clip-2.wav changed"), ("path", "audio/other.wav", "audio/other.wav missing")],
)
def test_a_data_manifest_of_other_data_is_refused(column: str, value: str, got: str, context: Context) -> None:
    frame = data_manifest(context.settings.root)
    frame.loc[2, column] = value
    with pytest.raises(Refused, match="the data manifest is not one of the data") as refused:
        lineage(context, frame)
    assert refused.value.got == got


def test_a_candidate_that_no_stage_made_has_no_lineage(context: Context) -> None:
    elsewhere = context.settings.root / "elsewhere"
    elsewhere.mkdir()
    assert trace(context, elsewhere, candidate(), None) is None
    assert trace(context, context.settings.root.parent, candidate(), None) is None


def test_a_quantized_candidate_has_the_data_of_its_parent(context: Context) -> None:
    folder = context.settings.root / CANDIDATE
    found = trace(context, folder.with_name("v1-int8"), candidate("v1-int8", quantized_from="v1"), None)
    assert found is not None
    assert [entry.path for entry in found.data] == [entry.path for entry in lineage(context).data]
    assert {entry.kind for entry in found.outs} == {"output"}


class _Reads:
    """Counts which files are read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: list[str] = []
        digest = file_digests.content_of

        def counted(path: Path) -> Known:
            self.names.append(path.name)
            return digest(path)

        monkeypatch.setattr(file_digests, "content_of", counted)


def test_files_not_written_to_since_are_not_read_again(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    time.sleep(SETTLED_NS / 1e9)
    lineage(context)
    reads = _Reads(monkeypatch)
    lineage(context)
    assert reads.names == []
    change_keeping_time(context.settings.root / CLIP)
    with pytest.raises(Refused, match="data changed"):
        lineage(context)
    assert reads.names == ["clip-3.wav"]


def test_a_file_written_just_now_is_not_remembered(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    (context.settings.root / CLIP).write_bytes((context.settings.root / CLIP).read_bytes())
    lineage(context)
    reads = _Reads(monkeypatch)
    lineage(context)
    assert "clip-3.wav" in reads.names


def test_fault_27_data_written_to_while_it_is_digested_is_refused(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = file_digests.content_of

    def written(path: Path) -> Known:
        known = digest(path)
        if path.name == "clip-3.wav":
            path.write_bytes(b"something else")
        return known

    monkeypatch.setattr(file_digests, "content_of", written)
    with pytest.raises(Refused, match="a folder changed while it was being read"):
        lineage(context)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ("", None),
        ("[core]\n    remote = far\n", None),
        ("[core]\n    remote = far\n['remote \"far\"']\n    url = ../store\n", DvcRemote(name="far", url="store")),
        (
            "['remote \"far\"']\n    url = s3://user:secret@bucket/data?key=1\n"
            "    endpointurl = https://a:b@host:9\n[core]\n    remote = far\n",
            DvcRemote(name="far", url="s3://bucket/data", endpoint="https://host:9"),
        ),
    ],
    ids=["none", "a name without an address", "a folder in the project", "credentials are left out"],
)
def test_the_remote_is_recorded_without_credentials(config: str, expected: DvcRemote | None, context: Context) -> None:
    (context.settings.root / ".dvc" / "config.local").write_text(config)
    assert lineage(context).remote == expected
