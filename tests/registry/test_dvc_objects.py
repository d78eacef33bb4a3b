"""DVC's formats: equal to DVC's own, and what is refused of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import Corrupt, Refused
from registry.dvc_objects import (
    Tracked,
    folder_digest,
    md5_of,
    object_key,
    parse_folder,
    read_dvc_file,
    read_stages,
)

A, B = md5_of(b"a"), md5_of(b"b")
names = st.text(
    st.characters(codec="utf-8", exclude_categories=["C"], exclude_characters="/\\"), min_size=1, max_size=9
)
digests = st.binary(max_size=9).map(md5_of)


@given(st.dictionaries(names, digests, max_size=6))
def test_a_folders_digest_is_dvcs_own(files: dict[str, str]) -> None:
    from dvc_data.hashfile import tree as theirs
    from dvc_data.hashfile.hash_info import HashInfo

    make: Any = theirs.Tree
    tree = make()
    for name, digest in files.items():
        tree.add(("sub", name), None, HashInfo("md5", digest))
    tree.digest()
    assert folder_digest({f"sub/{name}": digest for name, digest in files.items()}) == tree.oid
    assert tree.oid == md5_of(tree.as_bytes()) + ".dir"


def listing(*files: tuple[str, str]) -> bytes:
    return json.dumps([{"md5": md5, "relpath": path} for path, md5 in files]).encode()


def test_a_folder_object_round_trips() -> None:
    content = listing(("one.wav", A), ("sub/two.wav", B))
    files = parse_folder(content, md5_of(content) + ".dir", where="here")
    assert files == {"one.wav": A, "sub/two.wav": B}
    assert folder_digest(files) == md5_of(content) + ".dir"


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("../../etc/passwd", "has an empty, '.' or '..' part"),
        ("/etc/passwd", "not a relative POSIX path"),
        ("a//b", "has an empty, '.' or '..' part"),
        ("a\\b", "not a relative POSIX path"),
        ("a\x00b", "has a control or bidirectional character"),
    ],
)
def test_fault_47_a_path_that_leads_elsewhere_is_refused(path: str, reason: str) -> None:
    content = listing((path, A))
    with pytest.raises(Corrupt, match="a folder object of DVC names what cannot be restored") as corrupt:
        parse_folder(content, md5_of(content) + ".dir", where="here")
    assert corrupt.value.got == reason


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"{}x", "a folder object of DVC is malformed"),
        (b'[{"relpath": "a"}]', "a folder object of DVC is malformed"),
        (listing(("a", "../../secret")), "a folder object of DVC names what cannot be restored"),
        (listing(("a", A + ".dir")), "a folder object of DVC names what cannot be restored"),
    ],
)
def test_a_malformed_folder_object_is_refused(content: bytes, what: str) -> None:
    with pytest.raises(Corrupt, match=what):
        parse_folder(content, md5_of(content) + ".dir", where="here")


def test_a_folder_object_of_other_bytes_is_refused() -> None:
    with pytest.raises(Corrupt, match="a folder object of DVC is not what its digest says"):
        parse_folder(listing(("a", A)), A + ".dir", where="here")


def test_an_object_lies_where_dvc_puts_it() -> None:
    assert object_key("d44fea45abc311e15a55b34d38c89b6f.dir") == "files/md5/d4/4fea45abc311e15a55b34d38c89b6f.dir"


LOCK = f"""
schema: '2.0'
stages:
  corpus@en:
    cmd: make
    outs:
    - {{path: ../data/en, hash: md5, md5: {A}.dir, size: 10, nfiles: 2}}
  train:
    cmd: train
    deps:
    - {{path: data/en, hash: md5, md5: {A}.dir, size: 10, nfiles: 2}}
    - {{path: train.py, hash: md5, md5: {B}, size: 3}}
"""
PIPELINE = """
stages:
  corpus:
    foreach: [en]
    do: {cmd: make, wdir: code, outs: [../data/en]}
  train: {cmd: train, deps: [data/en, train.py]}
"""


def test_stages_are_read_with_paths_from_the_projects_folder(tmp_path: Path) -> None:
    (tmp_path / "dvc.lock").write_text(LOCK)
    (tmp_path / "dvc.yaml").write_text(PIPELINE)
    corpus, train = read_stages(tmp_path)
    assert corpus.outs == (Tracked("data/en", f"{A}.dir", 10, 2),)
    assert train.deps == (corpus.outs[0], Tracked("train.py", B, 3, 1))


def test_a_project_without_a_lock_has_no_stages(tmp_path: Path) -> None:
    assert read_stages(tmp_path) == []
    (tmp_path / "dvc.lock").write_text("schema: '2.0'\n")
    assert read_stages(tmp_path) == []


@pytest.mark.parametrize(
    ("entry", "got"),
    [
        (f"{{path: data, md5: {A}, size: 1}}", "hash of DVC 2"),
        ("{path: s3://bucket/data, hash: etag, etag: abc, size: 1}", "hash etag"),
    ],
)
def test_what_dvc_does_not_name_by_md5_is_refused(entry: str, got: str, tmp_path: Path) -> None:
    (tmp_path / "dvc.lock").write_text(f"stages:\n  train:\n    deps:\n    - {entry}\n")
    with pytest.raises(Refused, match="DVC has no MD5 of something") as refused:
        read_stages(tmp_path)
    assert refused.value.got == got


def test_a_dvc_file_beside_a_folder_above_is_found(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "raw.dvc").write_text(f"outs:\n- {{path: raw, hash: md5, md5: {A}.dir, size: 9, nfiles: 3}}\n")
    assert read_dvc_file(tmp_path, "data/raw/en/one.wav") == Tracked("data/raw", f"{A}.dir", 9, 3)
    assert read_dvc_file(tmp_path, "data/other") is None


def test_a_file_of_dvc_that_does_not_parse_is_refused(tmp_path: Path) -> None:
    (tmp_path / "dvc.lock").write_text("stages: [")
    with pytest.raises(Refused, match="a file of DVC does not parse"):
        read_stages(tmp_path)
    (tmp_path / "dvc.lock").write_text("- a list\n")
    with pytest.raises(Refused, match="a file of DVC does not parse"):
        read_stages(tmp_path)
