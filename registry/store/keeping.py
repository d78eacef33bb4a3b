"""What every store does around a blob: keep one that is there, refuse one that was erased, give way to a collection.

Boundary: the store it is handed; the store's own clock comes in.
Invariants: a blob that `put_blob` or `keep_blob` has answered for is younger than any grace period, or no collection
has declared it; content under a tombstone is not stored.

Why no blob is lost to a collection (Dekker's argument, fault 29). Both sides write first and read afterwards, and each
store's writes and reads of one key are linearizable. The writer makes the blob young (W1), then reads the declaration
(R1); the collection declares the blob (W2), then reads its age (R2) and deletes it only where it is old. If R1 saw the
declaration, the writer fails before its event names the blob, and the same command puts it again. If R1 did not see
it, either R1 came before W2, so W1 came before R2: the collection sees a young blob and leaves it. Or the declaration
was taken back before R1, after all its deletions: so the writer looks last whether the blob is still there (C). A blob
that was young already is no exception: whoever renewed it may have done so after R2, and failed. The same holds of a
tombstone: it is written before the blob is deleted, and read after the blob is put.
"""

from __future__ import annotations

from collections.abc import Callable

from contracts.digest import Digest, short
from contracts.errors import DependencyFailed, NotFound, Refused
from contracts.garbage import POINTER, GarbageDeclaration
from registry.store import Store

YOUNG_S = 3600.0
"""A blob that was put within this many seconds is kept without a write; no grace period is shorter than 24 of these."""


_TOMBSTONES = "tombstones/"


def tombstone_key(digest: Digest, number: int) -> str:
    """Where the word about a blob's erasure lies: even numbers erase, odd ones are a consent that was given anew."""
    return f"{_TOMBSTONES}{digest}/{number:06d}"


def ever_erased(store: Store) -> set[Digest]:
    """Blobs that somebody has said a word about, by one listing: a hint (fault 17), `tombstones` is what counts."""
    return {key.removeprefix(_TOMBSTONES).partition("/")[0] for key in store.list(_TOMBSTONES)}


def tombstones(store: Store, digest: Digest) -> int:
    """How many words about a blob's erasure there are; odd: it is erased."""
    number = 0
    while True:
        try:
            store.read(tombstone_key(digest, number))
        except NotFound:
            return number
        number += 1


def kept(store: Store, digest: Digest, now_s: float) -> bool:
    """Whether the blob is there; if so, it counts as put now.

    Raises DependencyFailed where a collection is deleting it.
    """
    info = store.blob_info(digest)
    if info is None:
        return False
    if now_s - info.modified_s > YOUNG_S and not store.renew_blob(digest):
        return False
    return _stayed(store, digest)


def put(store: Store, digest: Digest, write: Callable[[], object], now_s: float) -> bool:
    """Keep the blob that is there, else `write` it; whether `write` was called and said that it wrote (any true value).

    Raises Refused for content that was erased, DependencyFailed where a collection is deleting it.
    """
    if kept(store, digest, now_s):
        return False
    refuse_erased(store, digest)
    wrote = bool(write())
    _settle_new(store, digest)
    return wrote


def refuse_erased(store: Store, digest: Digest) -> None:
    """Raise Refused for content that a tombstone stands against (S5)."""
    if tombstones(store, digest) % 2:
        raise Refused(
            "this content was erased, and is not stored again",
            where=f"{store.url}, blob {short(digest)}",
            expected="content that nobody has withdrawn",
            next_step=f"leave it out; or, if consent is given anew: soundcheck consent --digest {digest} --key KEY",
        )


def _settle_new(store: Store, digest: Digest) -> None:
    """After a blob was put: give way to a collection, take it away again where it was erased meanwhile."""
    if not _stayed(store, digest):
        raise DependencyFailed(
            "garbage collection has deleted this blob while it was put",
            where=f"{store.url}, blob {short(digest)}",
            next_step="run the same command again: it is stored anew",
        )
    try:
        refuse_erased(store, digest)
    except Refused:
        store.delete_blob(digest)
        raise


def _stayed(store: Store, digest: Digest) -> bool:
    """R1, then C: whether a blob that is young is still there; DependencyFailed where it is being deleted."""
    pointer = store.pointer(POINTER)
    if pointer is None:
        return True
    declared = GarbageDeclaration.parse(pointer.content, where=f"{store.url}, pointer {POINTER}")
    if digest in declared.digests:
        raise DependencyFailed(
            "garbage collection is deleting this blob at the moment",
            where=f"{store.url}, blob {short(digest)}",
            got=f"declared by run {declared.run}",
            next_step="run the same command again: it is stored anew (a run that died: `soundcheck gc --delete`)",
        )
    return store.has_blob(digest)
