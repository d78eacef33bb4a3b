"""Blobs and their age, in every store: what is put or kept is young; a collection that is deleting is given way to."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from contracts.digest import sha256_bytes
from contracts.errors import DependencyFailed, Refused
from contracts.garbage import POINTER, GarbageDeclaration
from registry.store import BlobInfo, Pointer, Store
from registry.store.keeping import YOUNG_S, tombstone_key
from registry.store.keys import blob_key
from registry.store.local import LocalStore
from registry.store.memory import MemoryStore

DAY_S = 86_400.0


@pytest.fixture
def aged() -> MemoryStore:
    """A store with one blob, and a clock that stands ten days after it was put."""
    times = [0.0]
    store = MemoryStore(clock=lambda: times[0])
    store.put_blob(b"old")
    times[0] = 10 * DAY_S
    return store


def _declare(store: Store, *digests: str) -> None:
    pointer = store.pointer(POINTER)
    declared = GarbageDeclaration(run="r1", until_s=1.0, digests=digests)
    store.swap(POINTER, declared.canonical(), expected=pointer.version if pointer else None)


def test_blobs_are_listed_with_size_and_age(store: Store) -> None:
    before = time.time()
    digests = {store.put_blob(b"one"): 3, store.put_blob(b""): 0}
    store.create("notes/a", b"no blob")
    found = {info.digest: info for info in store.blobs()}
    assert {digest: info.size for digest, info in found.items()} == digests
    for digest, info in found.items():
        assert before - 5 <= info.modified_s <= time.time() + 5
        assert store.blob_info(digest) == info
    assert store.blob_info("0" * 64) is None


def test_a_blob_that_is_not_there_is_neither_kept_nor_renewed(store: Store) -> None:
    assert not store.keep_blob("0" * 64)
    assert not store.renew_blob("0" * 64)


def test_a_renewed_blob_is_younger(store: Store) -> None:
    digest = store.put_blob(b"one")
    before = store.blob_info(digest)
    assert before is not None
    time.sleep(1.1)  # S3 tells whole seconds
    assert store.renew_blob(digest)
    after = store.blob_info(digest)
    assert after is not None
    assert after.modified_s > before.modified_s
    assert store.read_blob(digest) == b"one"


def test_an_old_blob_of_a_folder_is_young_again_when_it_is_put(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    digest = store.put_blob(b"one")
    os.utime(store.root / blob_key(digest), (0, 0))
    assert store.put_blob(b"one") == digest
    info = store.blob_info(digest)
    assert info is not None
    assert time.time() - info.modified_s < YOUNG_S


def test_what_is_put_again_or_kept_is_young(aged: MemoryStore) -> None:
    (old,) = aged.blobs()
    assert old.modified_s == 0.0
    aged.put_blob(b"old")
    assert aged.blob_info(old.digest) == BlobInfo(old.digest, 3, 10 * DAY_S)


def test_a_young_blob_costs_no_write(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    digest = store.put_blob(b"young")
    monkeypatch.setattr(store, "renew_blob", lambda _digest: pytest.fail("it was young"))
    calls = store.calls
    assert store.keep_blob(digest)
    assert store.calls == calls + 2  # its age, the declaration


def test_a_young_blob_that_a_collection_declared_is_not_kept() -> None:
    """Fault 29: whoever renewed it may have done so after the collection had read its age, and failed."""
    store = MemoryStore()
    digest = store.put_blob(b"renewed too late")
    store.swap(POINTER, GarbageDeclaration(run="r", until_s=1.0, digests=(digest,)).canonical(), expected=None)
    with pytest.raises(DependencyFailed, match="garbage collection is deleting this blob at the moment"):
        store.keep_blob(digest)


@pytest.mark.parametrize("kept", [True, False], ids=["keep", "put"])
def test_a_blob_that_went_before_the_look_at_the_declaration_is_noticed(
    monkeypatch: pytest.MonkeyPatch, kept: bool
) -> None:
    """Fault 29: the collection deleted it, and took its declaration back, between the write and the look."""
    store = MemoryStore()
    store.swap(POINTER, GarbageDeclaration().canonical(), expected=None)
    digest = store.put_blob(b"old") if kept else sha256_bytes(b"old")
    look = store.pointer

    def late(name: str) -> Pointer | None:
        store.delete_blob(digest)
        return look(name)

    monkeypatch.setattr(store, "pointer", late)
    if kept:
        assert not store.keep_blob(digest)
    with pytest.raises(DependencyFailed, match="garbage collection has deleted this blob while it was put"):
        store.put_blob(b"old")


@pytest.mark.parametrize("kept", [True, False], ids=["keep", "put"])
def test_an_old_blob_that_is_being_deleted_is_not_relied_on(aged: MemoryStore, kept: bool) -> None:
    (old,) = aged.blobs()
    _declare(aged, old.digest)
    with pytest.raises(DependencyFailed) as raised:
        aged.keep_blob(old.digest) if kept else aged.put_blob(b"old")
    assert str(raised.value) == (
        "garbage collection is deleting this blob at the moment\n"
        f"  where: memory://memory, blob {old.digest[:12]}\n"
        "  got: declared by run r1\n"
        "  next step: run the same command again: it is stored anew (a run that died: `soundcheck gc --delete`)"
    )
    _declare(aged)
    assert aged.put_blob(b"old") == old.digest


def test_a_new_blob_that_is_being_deleted_is_not_relied_on(store: Store) -> None:
    digest = store.put_blob(b"fixture")
    store.delete_blob(digest)
    _declare(store, digest)
    with pytest.raises(DependencyFailed, match="garbage collection is deleting this blob"):
        store.put_blob(b"fixture")


def test_erased_content_is_not_stored_again_until_consent_is_given_anew(store: Store) -> None:
    digest = store.put_blob(b"voice")
    store.create(tombstone_key(digest, 0), b"erased")
    store.delete_blob(digest)
    with pytest.raises(Refused) as raised:
        store.put_blob(b"voice")
    assert str(raised.value) == (
        "this content was erased, and is not stored again\n"
        f"  where: {store.url}, blob {digest[:12]}\n"
        "  expected: content that nobody has withdrawn\n"
        "  next step: leave it out; or, if consent is given anew: "
        f"soundcheck consent --digest {digest} --key KEY"
    )
    assert not store.has_blob(digest)
    store.create(tombstone_key(digest, 1), b"consent")
    assert store.put_blob(b"voice") == digest


def test_content_that_is_erased_while_it_is_put_is_taken_away_again(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    write = store._put

    def erase_meanwhile(key: str, content: bytes) -> bool:
        store.create(tombstone_key(digest, 0), b"erased")
        return write(key, content)

    digest = store.put_blob(b"voice")
    store.delete_blob(digest)
    monkeypatch.setattr(store, "_put", erase_meanwhile)
    with pytest.raises(Refused, match="this content was erased"):
        store.put_blob(b"voice")
    assert not store.has_blob(digest)
