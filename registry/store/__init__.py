"""Where bytes live: create-once objects, content-addressed blobs and compare-and-set pointers, behind one Protocol.

Boundary: an implementation touches its own medium alone (memory, a folder, a bucket).
Invariants, shown by one contract suite for all implementations: an object once created never changes; a blob's bytes
have the digest it is asked for by; of several swaps of one pointer version exactly one wins; a listing may be late, so
nothing is proved by one (fault 17).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from contracts.digest import Digest
from contracts.errors import WrongCall


class Pointer(NamedTuple):
    """A pointer's content and the version that a swap must name."""

    content: bytes
    version: str


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
        """Store content under its own digest; storing it again is free."""
        ...

    def has_blob(self, digest: Digest) -> bool:
        """Whether the blob is there (its content is not read)."""
        ...

    def check_blob(self, digest: Digest) -> int:
        """Digest a blob where it lies, in bounded memory, and return its size in bytes; NotFound or Corrupt."""
        ...

    def read_blob(self, digest: Digest) -> bytes:
        """A blob's bytes, verified; NotFound or Corrupt."""
        ...

    def copy_blob(self, digest: Digest, target: Path) -> None:
        """Write a blob to a new file, digested as it is written, then synced (S2).

        Raises AlreadyExists for a target that is there; NotFound, Corrupt or DependencyFailed leave no file.
        """
        ...

    def delete_blob(self, digest: Digest) -> None:
        """Remove a blob, one that is not there too; used by garbage collection alone."""
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
            got=repr(url),
            expected="file://DIR (below the home folder), file:///DIR (absolute) or s3://BUCKET/PREFIX",
            next_step="correct store.url",
        )
    from registry.store.local import LocalStore

    return LocalStore(home / folder)
