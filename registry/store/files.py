"""Files that are whole or absent: temporary files with a live owner, atomic replacement, locks between processes.

Boundary: local file systems alone; nothing here knows about stores or bundles.
Invariants: a file gets its final name only after its content is synced; a temporary file or folder is locked (flock)
by its writer for as long as the writer lives, so that one without a lock is a dead writer's and may be removed, also
after kill -9 and whatever the process numbers are by then.
Source: open(2), link(2), rename(2), flock(2); faults 1, 4, 5, 6.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from contracts.errors import AlreadyExists, DependencyFailed

if TYPE_CHECKING:
    from hashlib import _Hash

CHUNK_BYTES = 1 << 18
"""Stays in the cache of a core between its digesting and its writing."""
WRITE_BACK_BYTES = 8 << 20
"""So much is written before the kernel is asked to begin with the disk: the sync at the end then finds little left."""
SCRATCH_SUFFIX = ".part"
SCRATCH_FOLDER = ".restore-"
"""How the names of temporary folders begin, so that a sweep of somebody's folder takes nothing else."""
LOCK_POLL_S = 0.002
_NEXT_STEP = {
    errno.ENOSPC: "free some space on this disk, then run the same command again: it goes on where it stopped",
    errno.EDQUOT: "raise the quota or free some space, then run the same command again: it goes on where it stopped",
    errno.EMFILE: "raise the limit of open files (`ulimit -n`), then run the same command again",
    errno.EACCES: "give this user the right to write there, then run the same command again",
    errno.EROFS: "mount it writable, or name another folder",
}


@contextmanager
def disk(what: str, where: str) -> Iterator[None]:
    """Turn an OSError of the block into DependencyFailed with a sentence, the system's text and the next step."""
    try:
        yield
    except OSError as error:
        raise DependencyFailed(
            what,
            where=where,
            got=os.strerror(error.errno) if error.errno else str(error),
            next_step=_NEXT_STEP.get(error.errno or 0, "check the disk, then run the same command again"),
        ) from error


def write_all(descriptor: int, content: bytes | memoryview) -> None:
    """Write every byte; a short write is continued."""
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def write_at(descriptor: int, content: bytes, start: int) -> None:
    """Write every byte from offset `start` on, whoever writes elsewhere in the file, and begin its write-back."""
    rest = memoryview(content)
    while rest:
        rest = rest[os.pwrite(descriptor, rest, start + len(content) - len(rest)) :]
    begin_write_back(descriptor, start, start + len(content))


def pour(source: int, hasher: _Hash, target: int | None = None) -> int:
    """Digest a file from where its descriptor stands, writing it to another on the way; the bytes there were."""
    buffer = memoryview(bytearray(min(CHUNK_BYTES, os.fstat(source).st_size + 1)))
    size = begun = 0
    while count := os.readv(source, [buffer]):
        chunk = buffer[:count]
        hasher.update(chunk)
        size += count
        if target is None:
            continue
        write_all(target, chunk)
        if size - begun >= WRITE_BACK_BYTES:
            begin_write_back(target, begun, size)
            begun = size
    return size


def begin_write_back(descriptor: int, start: int, end: int) -> None:
    """Let the kernel write a range to the disk now, without waiting for it (what is dirty stays in the page cache)."""
    os.posix_fadvise(descriptor, start, end - start, os.POSIX_FADV_DONTNEED)


@contextmanager
def new_file(target: Path, *, mode: int = 0o644, sync: bool = True) -> Iterator[int]:
    """A descriptor to write a file that must not exist yet; synced at the end, and not left behind by an error.

    Without `sync` its write-back has only begun, and `sync_files` is the caller's to call.

    Raises AlreadyExists, and DependencyFailed for what the disk refuses.
    """
    with disk("a file could not be written", str(target)):
        try:
            descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        except FileExistsError:
            raise AlreadyExists("a file is there already", where=str(target), expected="a new file") from None
        try:
            yield descriptor
            if sync:
                os.fsync(descriptor)
            else:
                begin_write_back(descriptor, 0, 0)  # 0: to its end
        except BaseException:
            with suppress(OSError):
                target.unlink()
            raise
        finally:
            os.close(descriptor)


def sync_files(paths: Iterable[Path]) -> None:
    """Make the content of files durable whose write-back has begun: one commit of the disk's journal does for most."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Create a folder and its parents, each durable in its own parent."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def _lock_new(path: Path, descriptor: int) -> bool:
    """Lock what was just made; False when a sweeper took it for dead in between."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except (BlockingIOError, FileNotFoundError):
        return False


@contextmanager
def scratch_file(folder: Path, *, mode: int = 0o444) -> Iterator[tuple[Path, int]]:
    """A new locked temporary file: its path and a descriptor to write with. The name is gone when the block ends."""
    while True:
        path = folder / (secrets.token_hex(8) + SCRATCH_SUFFIX)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        if _lock_new(path, descriptor):
            break
        os.close(descriptor)
    try:
        yield path, descriptor
    finally:
        with suppress(OSError):
            path.unlink()
        os.close(descriptor)


@contextmanager
def scratch_folder(beside: Path) -> Iterator[Path]:
    """A new locked temporary folder in the same parent as `beside`; what is left of it is removed at the end."""
    while True:
        path = beside.parent / f"{SCRATCH_FOLDER}{secrets.token_hex(8)}{SCRATCH_SUFFIX}"
        path.mkdir(mode=0o755)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        if _lock_new(path, descriptor):
            break
        os.close(descriptor)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(descriptor)


def sweep(folder: Path, pattern: str = "*" + SCRATCH_SUFFIX) -> int:
    """Remove the temporary files and folders of dead writers; the number removed. A live writer's stay."""
    removed = 0
    for path in folder.glob(pattern):
        with suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink()
                removed += 1
            finally:
                os.close(descriptor)
    return removed


@contextmanager
def exclusive(path: Path, *, timeout_s: float) -> Iterator[None]:
    """Hold a lock file against every other process and thread; DependencyFailed when it is not free in `timeout_s`."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        deadline_s = time.monotonic() + timeout_s
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline_s:
                    raise DependencyFailed(
                        "another process holds a lock for too long",
                        where=str(path),
                        got=f"still held after {timeout_s:g} s",
                        next_step="look for a stopped soundcheck process, end it, then run the same command again",
                    ) from None
                time.sleep(LOCK_POLL_S)
        try:
            yield
        finally:
            # Unlocked by name, not only by closing: a child forked meanwhile would keep a merely closed lock alive.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


def replace_file(path: Path, content: bytes, *, scratch: Path, mode: int = 0o644) -> None:
    """Give a file new content in one step: readers see the old or the new bytes. `scratch` is on the same disk."""
    with scratch_file(scratch, mode=mode) as (temporary, descriptor):
        write_all(descriptor, content)
        os.fsync(descriptor)
        temporary.replace(path)
    sync_folder(path.parent)
