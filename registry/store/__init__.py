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
        """Keys that start with `prefix`, sorted."""
        ...

    def put_blob(self, source: bytes | Path) -> Digest:
        """Store content under its own digest; storing it again is free."""
        ...

    def has_blob(self, digest: Digest) -> bool:
        """Whether the blob is there (its content is not read)."""
        ...

    def read_blob(self, digest: Digest) -> bytes:
        """A blob's bytes, verified; NotFound or Corrupt."""
        ...

    def copy_blob(self, digest: Digest, target: Path) -> None:
        """Write a blob to a new file, digested as it is written; NotFound or Corrupt, and then no file is left (S2)."""
        ...

    def delete_blob(self, digest: Digest) -> None:
        """Remove a blob; used by garbage collection alone."""
        ...

    def pointer(self, name: str) -> Pointer | None:
        """A pointer's content and version, None before its first swap."""
        ...

    def swap(self, name: str, content: bytes, *, expected: str | None) -> Pointer:
        """Move a pointer whose version is `expected` (None: it does not exist); Conflict names the current version."""
        ...
