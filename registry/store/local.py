"""The store in a folder: create-once by hard link, pointers by lock and rename.

Boundary: the folder `root` alone.
Invariants: an object or blob has its name only after its bytes are synced (temporary file, fsync, link, folder fsync);
a pointer file is replaced by rename under a lock between processes, so that after kill -9 at any call it is the old one
or the new one; a temporary file is never adopted, and those of dead writers are removed at the first write.
Source: release-algorithm R5.3, R9, S2; faults 1, 4, 5, 6.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from contracts.digest import Digest, sha256_bytes, short
from contracts.errors import NotFound
from registry.store import BlobInfo, Pointer
from registry.store.errors import conflict, corrupt_blob, nested, taken
from registry.store.files import (
    disk,
    exclusive,
    make_folder,
    new_file,
    pour,
    replace_file,
    scratch_file,
    sweep,
    sync_folder,
    write_all,
)
from registry.store.keeping import kept, put
from registry.store.keys import BLOBS, blob_key, blob_of_key, check_key, check_prefix, pointer_key
from registry.store.pointers import decode, encode

_INTERNAL = ".local"


class LocalStore:
    """A store below one folder, shared by the processes of one machine."""

    def __init__(self, root: Path, *, lock_timeout_s: float = 30.0) -> None:
        self.root = Path(os.path.abspath(root))
        self.url = f"file://{self.root}"
        self._lock_timeout_s = lock_timeout_s
        self._parts = self.root / _INTERNAL / "parts"
        self._locks = self.root / _INTERNAL / "locks"
        self._durable: set[Path] = set()

    def create(self, key: str, content: bytes) -> None:
        """Write an object once. Equal bytes again: no error. Other bytes: AlreadyExists."""
        target = self.root / check_key(key)
        with disk("the store could not write an object", f"{self.url}, key {key}"):
            self._writable(target)
            if not target.exists() and self._publish(target, content):
                return
            self._settle(target)
            existing = target.read_bytes()
        if existing != content:
            raise taken(self.url, key, existing, content)

    def read(self, key: str) -> bytes:
        """An object's bytes; NotFound."""
        return self._read(check_key(key), f"no object has the key {key!r}")

    def list(self, prefix: str) -> Iterator[str]:
        """Keys that start with `prefix`, sorted (see the Protocol)."""
        base = self.root / check_prefix(prefix).rpartition("/")[0]
        found = []
        for folder, folders, files in os.walk(base):
            if Path(folder) == self.root and _INTERNAL in folders:
                folders.remove(_INTERNAL)
            relative = Path(folder).relative_to(self.root)
            found += [(relative / name).as_posix() for name in files]
        return iter(sorted(key for key in found if key.startswith(prefix)))

    def put_blob(self, source: bytes | Path) -> Digest:
        """Store content under its own digest; storing it again is free."""
        if isinstance(source, Path):
            return self._put_file(source)
        digest = sha256_bytes(source)
        target = self.root / blob_key(digest)
        with disk("the store could not write a blob", f"{self.url}, blob {short(digest)}"):
            self._writable(target)
            if not put(self, digest, lambda: self._publish(target, source), time.time()):
                self._settle(target)
        return digest

    def has_blob(self, digest: Digest) -> bool:
        """Whether the blob is there (its content is not read)."""
        return (self.root / blob_key(digest)).is_file()

    def keep_blob(self, digest: Digest) -> bool:
        """Whether the blob is there, durable; if so it counts as put now."""
        there = kept(self, digest, time.time())
        if there:
            with disk("the store could not keep a blob", f"{self.url}, blob {short(digest)}"):
                self._settle(self.root / blob_key(digest))
        return there

    def renew_blob(self, digest: Digest) -> bool:
        """Make a blob as young as one that is put now; False where there is none."""
        with disk("the store could not keep a blob", f"{self.url}, blob {short(digest)}"):
            try:
                os.utime(self.root / blob_key(digest))
            except FileNotFoundError:
                return False
        return True

    def blob_info(self, digest: Digest) -> BlobInfo | None:
        """A blob's size and age, None where there is none."""
        with disk("the store could not read a blob", f"{self.url}, blob {short(digest)}"):
            try:
                status = (self.root / blob_key(digest)).stat()
            except FileNotFoundError:
                return None
        return BlobInfo(digest, status.st_size, status.st_mtime)

    def blobs(self) -> Iterator[BlobInfo]:
        """Every blob, in no order."""
        digests = (blob_of_key(key) for key in self.list(BLOBS))
        return (info for digest in digests if digest and (info := self.blob_info(digest)))

    def check_blob(self, digest: Digest) -> int:
        """Digest a blob where it lies and return its size in bytes; NotFound or Corrupt."""
        return self._pour(digest, None)

    def read_blob(self, digest: Digest) -> bytes:
        """A blob's bytes, verified; NotFound or Corrupt."""
        content = self._read(blob_key(digest), f"no blob {short(digest)}")
        self._compare(sha256_bytes(content), digest)
        return content

    def copy_blob(self, digest: Digest, target: Path, *, sync: bool = True) -> None:
        """Write a blob to a new file, digested as it is written, then synced (S2); NotFound or Corrupt, and no file."""
        with new_file(target, sync=sync) as descriptor:
            self._pour(digest, descriptor)

    def delete_blob(self, digest: Digest) -> None:
        """Remove a blob; one that is not there is no error."""
        target = self.root / blob_key(digest)
        with (
            disk("the store could not remove a blob", f"{self.url}, blob {short(digest)}"),
            suppress(FileNotFoundError),
        ):
            target.unlink()
            sync_folder(target.parent)

    def pointer(self, name: str) -> Pointer | None:
        """A pointer's content and version, None before its first swap; Corrupt when its bytes are not as written."""
        key = pointer_key(name)
        try:
            stored = self._read(key, f"no pointer {name!r}")
        except NotFound:
            return None
        return decode(stored, f"{self.url}, {key}")

    def swap(self, name: str, content: bytes, *, expected: str | None) -> Pointer:
        """Move a pointer whose version is `expected` (None: it does not exist); Conflict names the current version.

        DependencyFailed leaves the pointer old or new, never in between: read it to know which.
        """
        target = self.root / pointer_key(name)
        with disk("the store could not move a pointer", f"{self.url}, pointer {name}"):
            self._writable(target)
            make_folder(self._locks)
            with exclusive(self._locks / sha256_bytes(name.encode()), timeout_s=self._lock_timeout_s):
                current = self.pointer(name)
                version = current.version if current else None
                if version != expected:
                    raise conflict(self.url, name, version, expected)
                counter = int(version.partition("-")[0]) + 1 if version else 0
                stored = encode(content, counter)
                replace_file(target, stored, scratch=self._parts, mode=0o444)
        return decode(stored, name)

    def _read(self, key: str, missing: str) -> bytes:
        with disk("the store could not read", f"{self.url}, key {key}"):
            try:
                return (self.root / key).read_bytes()
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                raise NotFound(missing, where=self.url) from None

    def _writable(self, target: Path) -> None:
        """Make the folder that a write needs, durable."""
        self._begin()
        if target.parent not in self._durable:
            try:
                make_folder(target.parent)
            except (FileExistsError, NotADirectoryError):
                raise nested(str(target)) from None
            self._durable.add(target.parent)

    def _begin(self) -> None:
        """Before the first write: a place for temporary files, without those that dead writers left."""
        if self._parts not in self._durable:
            make_folder(self._parts)
            sweep(self._parts)
            self._durable.add(self._parts)

    def _publish(self, target: Path, content: bytes) -> bool:
        with scratch_file(self._parts) as (temporary, descriptor):
            write_all(descriptor, content)
            return self._link(temporary, descriptor, target)

    def _link(self, temporary: Path, descriptor: int, target: Path) -> bool:
        """Give a written temporary file its name; False when the name is taken."""
        if target.exists():
            return False
        os.fsync(descriptor)
        try:
            os.link(temporary, target)
        except FileExistsError:
            return False
        sync_folder(target.parent)
        return True

    def _settle(self, target: Path) -> None:
        """What another writer linked is only counted on once its name is durable."""
        if target.is_dir():
            raise nested(str(target))
        sync_folder(target.parent)

    def _put_file(self, source: Path) -> Digest:
        with disk("the store could not write a blob", f"{self.url}, from {source}"):
            self._begin()
            with source.open("rb", buffering=0) as stream, scratch_file(self._parts) as (temporary, descriptor):
                hasher = hashlib.sha256()
                pour(stream.fileno(), hasher, descriptor)
                digest = hasher.hexdigest()
                target = self.root / blob_key(digest)
                self._writable(target)
                if not put(self, digest, lambda: self._link(temporary, descriptor, target), time.time()):
                    self._settle(target)
        return digest

    def _pour(self, digest: Digest, descriptor: int | None) -> int:
        """Digest a blob, writing it to a descriptor on the way; its size in bytes."""
        hasher = hashlib.sha256()
        with disk("the store could not read a blob", f"{self.url}, blob {short(digest)}"):
            try:
                stream = (self.root / blob_key(digest)).open("rb", buffering=0)
            except FileNotFoundError:
                raise NotFound(f"no blob {short(digest)}", where=self.url) from None
            with stream:
                size = pour(stream.fileno(), hasher, descriptor)
        self._compare(hasher.hexdigest(), digest)
        return size

    def _compare(self, got: Digest, digest: Digest) -> None:
        if got != digest:
            raise corrupt_blob(self.url, got, digest)
