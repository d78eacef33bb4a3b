"""Where bytes live: create-once objects, content-addressed blobs and compare-and-set pointers, behind one Protocol.

Boundary: an implementation touches its own medium alone (memory, a folder, a bucket).
Invariants, shown by one contract suite for all implementations: an object once created never changes; a blob's bytes
have the digest it is asked for by; of several swaps of one pointer version exactly one wins; a listing may be late, so
nothing is proved by one (fault 17).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from contracts.digest import Digest
from contracts.errors import WrongCall


class Pointer(NamedTuple):
    """A pointer's content and the version that a swap must name."""

    content: bytes
    version: str


class BlobInfo(NamedTuple):
    """A blob as a listing has it: its size in bytes, and the Unix time of its last put by the store's own clock."""

    digest: Digest
    size: int
    modified_s: float


class Store(Protocol):
    """The store of one installation."""

    url: str

    def create(self, key: str, content: bytes) -> None:
        """Write an object once. Equal bytes again: no error. Other bytes: AlreadyExists."""
        ...

    def read(self, key: str) -> bytes:
        """An object's bytes; NotFound."""
        ...

    def list(self, prefix: str) -> Iterator[str]:
        """Keys that start with `prefix` (any string, not only a folder), sorted.

        Objects appear at their key, blobs as `blobs/sha256/AB/REST`, pointers as `pointers/NAME`.
        """
        ...

    def put_blob(self, source: bytes | Path) -> Digest:
        """Store content under its own digest; storing it again is free.

        Raises Refused for content under a tombstone, DependencyFailed for a blob that a collection is deleting.
        """
        ...

    def has_blob(self, digest: Digest) -> bool:
        """Whether the blob is there (its content is not read); it may be garbage: who needs it calls keep_blob."""
        ...

    def keep_blob(self, digest: Digest) -> bool:
        """Whether the blob is there; if so it counts as put now, so that no collection takes it for old.

        Raises DependencyFailed for a blob that a collection is deleting at the moment (registry/store/keeping.py).
        """
        ...

    def renew_blob(self, digest: Digest) -> bool:
        """Make a blob as young as one that is put now; False where there is none. Others call keep_blob."""
        ...

    def blob_info(self, digest: Digest) -> BlobInfo | None:
        """A blob's size and age, None where there is none."""
        ...

    def blobs(self) -> Iterator[BlobInfo]:
        """Every blob, in no order; a listing, so one that was put meanwhile may be missing."""
        ...

    def check_blob(self, digest: Digest) -> int:
        """Digest a blob where it lies, in bounded memory, and return its size in bytes; NotFound or Corrupt."""
        ...

    def read_blob(self, digest: Digest) -> bytes:
        """A blob's bytes, verified; NotFound or Corrupt."""
        ...

    def copy_blob(self, digest: Digest, target: Path, *, sync: bool = True) -> None:
        """Write a blob to a new file, digested as it is written, then synced (S2).

        Without `sync` the write-back has only begun: for callers that write many files and sync them together.
        Raises AlreadyExists for a target that is there; NotFound, Corrupt or DependencyFailed leave no file.
        """
        ...

    def delete_blob(self, digest: Digest) -> None:
        """Remove a blob, one that is not there too; used by garbage collection and erasure alone."""
        ...

    def pointer(self, name: str) -> Pointer | None:
        """A pointer's content and version, None before its first swap."""
        ...

    def swap(self, name: str, content: bytes, *, expected: str | None) -> Pointer:
        """Move a pointer whose version is `expected` (None: it does not exist); Conflict names the current version.

        After DependencyFailed the pointer is old or new: read it to know which (fault 12).
        """
        ...


FILE, BUCKET = "file://", "s3://"


def open_store(url: str, home: Path) -> Store:
    """The store that `params.yaml: store.url` names.

    `file://DIR` is a folder below `home`, `file:///DIR` an absolute one, `s3://BUCKET/PREFIX` a bucket (which options
    may follow, registry.store.s3 says). Raises WrongCall for any other address.
    """
    if url.startswith(BUCKET):
        from registry.store.s3 import open_s3

        return open_s3(url)
    folder = url.removeprefix(FILE)
    if not url.startswith(FILE) or not folder:
        raise WrongCall(
            "the store's address is not one this version can open",
            where="params.yaml: store.url",
            got=repr(re.sub(r"//.*@", "//...@", url)),  # what stands before an @ may be a password
            expected="file://DIR (below the home folder), file:///DIR (absolute) or s3://BUCKET/PREFIX",
            next_step="correct store.url",
        )
    from registry.store.local import LocalStore

    return LocalStore(home / folder)
