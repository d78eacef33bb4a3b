"""The store in memory: the simulator that tests run releases against, with faults at any call.

Boundary: nothing outlives the object. A simulated crash leaves the object as a kill -9 leaves a disk.
Invariants: the same contract suite as every other store; each public call counts once, so that a test can fail, lose
the answer of, or crash at call N for every N (faults 1, 6, 10, 12).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path

from contracts.digest import Digest, sha256_bytes, short
from contracts.errors import DependencyFailed, NotFound
from registry.store import BlobInfo, Pointer
from registry.store.errors import conflict, corrupt_blob, nested, taken
from registry.store.files import disk, new_file, write_all
from registry.store.keeping import kept, put
from registry.store.keys import blob_key, blob_of_key, check_key, check_prefix, pointer_key


class FaultKind(StrEnum):
    """What happens at a call: it fails with no effect, its answer is lost, or the process dies before or after it."""

    FAIL = "fail"
    LOST_ANSWER = "lost answer"
    CRASH_BEFORE = "crash before"
    CRASH_AFTER = "crash after"


class Crash(BaseException):
    """The simulated death of the process. Not an Exception: no code of the product may catch it."""


class MemoryStore:
    """A store of dictionaries; `clock` gives the Unix time that blobs are dated with.

    Attributes:
        objects: key -> bytes, blobs at their blob key; tests may damage it.
        calls: how many calls have been made since it was created.
    """

    def __init__(self, name: str = "memory", clock: Callable[[], float] = time.time) -> None:
        self.url = f"memory://{name}"
        self.objects: dict[str, bytes] = {}
        self.calls = 0
        self._clock = clock
        self._modified_s: dict[str, float] = {}
        self._pointers: dict[str, Pointer] = {}
        self._plan: dict[int, FaultKind] = {}
        self._lock = threading.RLock()

    def inject(self, call: int, kind: FaultKind) -> None:
        """Let the `call`-th call from now on (1 is the next) go wrong once."""
        self._plan[self.calls + call] = kind

    def create(self, key: str, content: bytes) -> None:
        """Write an object once. Equal bytes again: no error. Other bytes: AlreadyExists."""
        check_key(key)
        with self._call():
            folders = [key[:place] for place, character in enumerate(key) if character == "/"]
            if any(folder in self.objects for folder in folders) or any(
                other.startswith(key + "/") for other in self.objects
            ):
                raise nested(key)
            existing = self.objects.setdefault(key, content)
            if existing != content:
                raise taken(self.url, key, existing, content)

    def read(self, key: str) -> bytes:
        """An object's bytes; NotFound."""
        check_key(key)
        with self._call():
            return self._get(key, f"no object has the key {key!r}")

    def list(self, prefix: str) -> Iterator[str]:
        """Keys that start with `prefix`, sorted (see the Protocol)."""
        check_prefix(prefix)
        with self._call():
            keys = [*self.objects, *(pointer_key(name) for name in self._pointers)]
            return iter(sorted(key for key in keys if key.startswith(prefix)))

    def put_blob(self, source: bytes | Path) -> Digest:
        """Store content under its own digest; storing it again is free."""
        if isinstance(source, Path):
            with disk("the store could not write a blob", f"{self.url}, from {source}"):
                source = source.read_bytes()
        content, digest = source, sha256_bytes(source)
        put(self, digest, lambda: self._put(blob_key(digest), content), self._clock())
        return digest

    def _put(self, key: str, content: bytes) -> bool:
        with self._call():
            wrote = self.objects.setdefault(key, content) is content
            self._modified_s[key] = self._clock()
            return wrote

    def has_blob(self, digest: Digest) -> bool:
        """Whether the blob is there (its content is not read)."""
        key = blob_key(digest)
        with self._call():
            return key in self.objects

    def keep_blob(self, digest: Digest) -> bool:
        """Whether the blob is there; if so it counts as put now."""
        return kept(self, digest, self._clock())

    def renew_blob(self, digest: Digest) -> bool:
        """Make a blob as young as one that is put now; False where there is none."""
        key = blob_key(digest)
        with self._call():
            if key not in self.objects:
                return False
            self._modified_s[key] = self._clock()
            return True

    def blob_info(self, digest: Digest) -> BlobInfo | None:
        """A blob's size and age, None where there is none."""
        key = blob_key(digest)
        with self._call():
            return self._info(digest, key) if key in self.objects else None

    def blobs(self) -> Iterator[BlobInfo]:
        """Every blob, in no order."""
        with self._call():
            named = [(blob_of_key(key), key) for key in self.objects]
            return iter([self._info(digest, key) for digest, key in named if digest])

    def _info(self, digest: Digest, key: str) -> BlobInfo:
        return BlobInfo(digest, len(self.objects[key]), self._modified_s.get(key, 0.0))

    def check_blob(self, digest: Digest) -> int:
        """Digest a blob where it lies and return its size in bytes; NotFound or Corrupt."""
        return len(self.read_blob(digest))

    def read_blob(self, digest: Digest) -> bytes:
        """A blob's bytes, verified; NotFound or Corrupt."""
        key = blob_key(digest)
        with self._call():
            content = self._get(key, f"no blob {short(digest)}")
        got = sha256_bytes(content)
        if got != digest:
            raise corrupt_blob(self.url, got, digest)
        return content

    def copy_blob(self, digest: Digest, target: Path, *, sync: bool = True) -> None:
        """Write a blob to a new file, verified and synced (S2); NotFound or Corrupt, and no file."""
        content = self.read_blob(digest)
        with new_file(target, sync=sync) as descriptor:
            write_all(descriptor, content)

    def delete_blob(self, digest: Digest) -> None:
        """Remove a blob; one that is not there is no error."""
        key = blob_key(digest)
        with self._call():
            self.objects.pop(key, None)

    def pointer(self, name: str) -> Pointer | None:
        """A pointer's content and version, None before its first swap."""
        pointer_key(name)
        with self._call():
            return self._pointers.get(name)

    def swap(self, name: str, content: bytes, *, expected: str | None) -> Pointer:
        """Move a pointer whose version is `expected` (None: it does not exist); Conflict names the current version."""
        pointer_key(name)
        with self._call():
            current = self._pointers.get(name)
            version = current.version if current else None
            if version != expected:
                raise conflict(self.url, name, version, expected)
            counter = int(version.partition("-")[0]) + 1 if version else 0
            moved = Pointer(content, f"{counter}-{short(sha256_bytes(content))}")
            self._pointers[name] = moved
            return moved

    def _get(self, key: str, missing: str) -> bytes:
        try:
            return self.objects[key]
        except KeyError:
            raise NotFound(missing, where=self.url) from None

    @contextmanager
    def _call(self) -> Iterator[None]:
        """One call: alone, counted, and with the fault that is planned for it."""
        with self._lock:
            self.calls += 1
            fault = self._plan.pop(self.calls, None)
            if fault is FaultKind.CRASH_BEFORE:
                raise Crash(f"before call {self.calls}")
            if fault is FaultKind.FAIL:
                raise self._failure("no effect")
            yield
            if fault is FaultKind.CRASH_AFTER:
                raise Crash(f"after call {self.calls}")
            if fault is FaultKind.LOST_ANSWER:
                raise self._failure("its answer was lost")

    def _failure(self, effect: str) -> DependencyFailed:
        return DependencyFailed("the store did not answer", where=self.url, got=f"call {self.calls} failed, {effect}")
