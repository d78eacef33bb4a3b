"""A folder as a map of path -> content: what may be in a bundle, and whether it changed while it was read.

Boundary: reads the folder it is handed; follows no link, writes nothing.
Invariants: only regular files in real folders; names as contracts.bundle.path_fault allows, no `.git*`, none that
differ from another only in case; no empty folder; at most MAX_FILES files. All that is wrong is reported at once.
Source: release-algorithm R5; faults 22, 27, 47, 50.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple, TypeVar

from contracts.bundle import path_fault
from contracts.errors import Refused, WrongCall
from contracts.train_manifest import FileEntry
from registry.store.files import disk, pour

MAX_FILES = 10_000
THREADS = 4
"""Files digested at once: SHA-256 releases the interpreter lock."""
TRANSFERS = 8
"""Files on their way to or from a store at once: they wait for a network or a disk more than they compute."""
_NAMED = 10

Progress = Callable[[int, int], None]
"""Called from the caller's own thread with bytes done and bytes in all."""
Item = TypeVar("Item")
Result = TypeVar("Result")


class Seen(NamedTuple):
    """A file as a scan sees it; two scans differ where it was written to in between."""

    inode: int
    size: int
    changed_ns: int


def survey(folder: Path) -> tuple[dict[str, Seen], dict[str, str]]:
    """What is in a folder: path -> file for what may be in a bundle, path -> reason for what may not; both sorted."""
    if folder.is_symlink() or not folder.is_dir():
        raise WrongCall("not a folder", where=str(folder), expected="a folder with the files of a bundle")
    found: dict[str, Seen] = {}
    faults: dict[str, str] = {}
    with disk("a folder could not be read", str(folder)):
        _walk(folder, "", found, faults)
    spellings: defaultdict[str, set[str]] = defaultdict(set)
    for path in found:
        for name in accumulate(path.split("/"), "{}/{}".format):
            spellings[name.casefold()].add(name)
    for names in spellings.values():
        first, *others = sorted(names)
        faults.update((name, f"differs only in case from {first!r}") for name in others)
    return dict(sorted(found.items())), dict(sorted(faults.items()))


def scan(folder: Path) -> dict[str, Seen]:
    """Path -> file of a folder that can become a bundle; raises Refused naming everything that stands against it."""
    found, unfit = survey(folder)
    faults = [f"{path!a} {reason}" for path, reason in unfit.items()]
    if len(found) > MAX_FILES:
        faults.append(f"over {MAX_FILES} files")
    if not found and not faults:
        faults.append("it has no files")
    if faults:
        raise Refused(
            "a folder cannot become a bundle",
            where=str(folder),
            got="; ".join(faults[:_NAMED]) + (f"; and {len(faults) - _NAMED} more" if len(faults) > _NAMED else ""),
            expected="regular files in folders that are not empty, with portable names",
            next_step="remove or rename what is named here",
        )
    return found


def _walk(folder: Path, prefix: str, found: dict[str, Seen], faults: dict[str, str]) -> None:
    with os.scandir(folder) as entries:
        listed = sorted(entries, key=lambda entry: entry.name)
    if not listed and prefix:
        faults[prefix.rstrip("/")] = "is an empty folder"
    for entry in listed:
        path = prefix + entry.name
        if fault := _entry_fault(entry):
            faults[path] = fault
        elif entry.is_dir(follow_symlinks=False):
            _walk(folder / entry.name, path + "/", found, faults)
        else:
            found[path] = _seen(entry.stat(follow_symlinks=False))
        if len(found) > MAX_FILES:
            return


def _entry_fault(entry: os.DirEntry[str]) -> str | None:
    mode = entry.stat(follow_symlinks=False).st_mode
    if stat.S_ISLNK(mode):
        return "is a link"
    if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
        return "is not a regular file"
    if entry.name.casefold().startswith(".git"):
        return "belongs to git"
    try:
        return path_fault(entry.name)
    except UnicodeEncodeError:
        return "is not UTF-8"


def _seen(status: os.stat_result) -> Seen:
    return Seen(status.st_ino, status.st_size, status.st_mtime_ns)


def digest_file(folder: Path, path: str, expected: Seen) -> FileEntry:
    """A file's content; raises Refused where it is no longer the file that was scanned (fault 27)."""
    with disk("a file could not be read", str(folder / path)):
        descriptor = os.open(folder / path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb", buffering=0):
            hasher = hashlib.sha256()
            size = pour(descriptor, hasher)
            if _seen(os.fstat(descriptor)) != expected or size != expected.size:
                raise changed(folder, [path])
    return FileEntry(sha256=hasher.hexdigest(), size=size)


def digest_folder(folder: Path) -> dict[str, FileEntry]:
    """Path -> content of every file, sorted; raises Refused where the folder changed meanwhile (fault 27)."""
    before = scan(folder)
    largest_first = sorted(before, key=lambda path: -before[path].size)
    entries = dict(each(largest_first, lambda path: digest_file(folder, path, before[path])))
    after = scan(folder)
    different = sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))
    if different:
        raise changed(folder, different)
    return {path: entries[path] for path in before}


def changed(folder: Path, paths: Sequence[str]) -> Refused:
    """The error of a source that was written to while it was read."""
    return Refused(
        "a folder changed while it was being read",
        where=str(folder),
        got=", ".join(map(repr, paths[:_NAMED])) + (" and more" if len(paths) > _NAMED else ""),
        expected="files that nothing writes to",
        next_step="end what writes to it (training, an export), then run the same command again",
    )


def each(
    items: Sequence[Item], work: Callable[[Item], Result], *, threads: int = THREADS
) -> Iterator[tuple[Item, Result]]:
    """Do `work` for every item in a few threads; pairs as they are done. The first error ends it and is raised.

    Hand large items over first: one that begins last is waited for by threads with nothing to do.
    """
    with ThreadPoolExecutor(max_workers=threads) as pool:
        waiting = {pool.submit(work, item): item for item in items}
        try:
            for done in as_completed(waiting):
                yield waiting[done], done.result()
        finally:
            for future in waiting:
                future.cancel()
