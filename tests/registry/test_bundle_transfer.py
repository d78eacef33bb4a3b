"""Bundles on their way: large blobs in parts, uploads that were killed, restores that end in the middle."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from contracts.errors import DependencyFailed
from registry.bundle import assemble, freeze, restore, verify, verify_folder
from registry.store import s3 as s3_module
from registry.store.keys import blob_key
from registry.store.s3 import S3Store
from tests.registry.registry_parts import read_folder, write_folder

PART = s3_module.PART_BYTES


@pytest.fixture
def prefix(bucket: S3Store) -> S3Store:
    return S3Store(bucket.client, bucket.bucket, secrets.token_hex(8))


@pytest.fixture
def large_folder(tmp_path: Path) -> Path:
    """Files around the border of a part, several of them large at once."""
    sizes = (0, 1, PART - 1, PART, PART + 1, 3 * PART + 5)
    files = {f"payload/{size}.bin": secrets.token_bytes(size) for size in sizes}
    return write_folder(tmp_path / "large", files)


def test_files_of_every_size_around_a_part_come_back(prefix: S3Store, large_folder: Path, tmp_path: Path) -> None:
    manifest = assemble(large_folder, family="asr", version="v1")
    seen: list[tuple[int, int]] = []
    digest = freeze(prefix, large_folder, manifest)
    restore(prefix, digest, tmp_path / "out", lambda done, total: seen.append((done, total)))
    assert verify_folder(tmp_path / "out", manifest) == []
    total = sum(entry.size for entry in manifest.files.values())
    assert seen[-1] == (total, total)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert verify(prefix, digest) == []


def test_many_large_blobs_share_the_memory_there_is(
    prefix: S3Store, large_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two parts at a time for all blobs together: nobody waits for ever, and every slot is given back."""
    digest = freeze(prefix, large_folder, assemble(large_folder, family="asr", version="v1"))
    monkeypatch.setattr(s3_module, "PARTS_IN_MEMORY", 2)
    monkeypatch.setattr(s3_module, "PART_BYTES", PART // 4)
    small = S3Store(prefix.client, prefix.bucket, prefix.full_key("").rstrip("/"))
    restore(small, digest, tmp_path / "out")
    assert read_folder(tmp_path / "out") == read_folder(large_folder)
    assert [small._slots.acquire(blocking=False) for _ in range(3)] == [True, True, False]


def test_a_part_that_fails_ends_the_restore_and_gives_its_memory_back(
    prefix: S3Store, large_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = freeze(prefix, large_folder, assemble(large_folder, family="asr", version="v1"))
    real = S3Store._part

    def failing(self: S3Store, key: str, start: int, end: int, target: int | None) -> bytes:
        if start == 2 * PART:
            raise DependencyFailed("the store could not read a blob", where=self.url)
        return real(self, key, start, end, target)

    with monkeypatch.context() as patch:
        patch.setattr(S3Store, "_part", failing)
        with pytest.raises(DependencyFailed, match="the store could not read a blob"):
            restore(prefix, digest, tmp_path / "out")
    assert list(tmp_path.glob("out*")) == list(tmp_path.glob(".restore-*")) == []
    free = s3_module.PARTS_IN_MEMORY
    assert [prefix._slots.acquire(blocking=False) for _ in range(free + 1)] == [True] * free + [False]


def test_an_upload_that_was_killed_goes_on_and_its_parts_are_ended(prefix: S3Store, large_folder: Path) -> None:
    """Fault 10: what a dead writer left of an upload in parts is no object, is not listed, and is ended when old."""
    manifest = assemble(large_folder, family="asr", version="v1")
    largest = max(manifest.files.values(), key=lambda entry: entry.size)
    key = prefix.full_key(blob_key(largest.sha256))
    begun = prefix.client.create_multipart_upload(Bucket=prefix.bucket, Key=key)
    prefix.client.upload_part(
        Bucket=prefix.bucket, Key=key, UploadId=begun["UploadId"], PartNumber=1, Body=b"half" * 2_000_000
    )
    assert not prefix.has_blob(largest.sha256)
    digest = freeze(prefix, large_folder, manifest)
    assert verify(prefix, digest) == []
    assert prefix.abort_incomplete(older_than_s=3600) == 0, "a living writer may be as young as this"
    assert prefix.abort_incomplete(older_than_s=0) == 1
    assert prefix.abort_incomplete(older_than_s=0) == 0
    assert verify(prefix, digest) == []
