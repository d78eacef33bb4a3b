"""MD5 and SHA-256 of many files in one pass, remembered for files that were not written to since.

Boundary: reads the files it is handed; keeps its memory in one SQLite file below the home folder.
Invariants: a file that something writes to while it is digested is refused (fault 27); a remembered digest holds for
the same inode, size, modification time *and* change time: the system sets the last at every write and nobody can set it
back, so that content put under an old modification time, which DVC trusts, is read again.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from contracts.digest import Digest
from registry.folders import changed, each
from registry.store.files import CHUNK_BYTES, disk, make_folder

SETTLED_NS = 2_000_000_000
"""A file changed more recently than this is not remembered: a second write could bear the same time (as git has it)."""
_TABLE = """
CREATE TABLE IF NOT EXISTS digests (path TEXT PRIMARY KEY, inode INTEGER, size INTEGER, modified_ns INTEGER,
changed_ns INTEGER, md5 TEXT, sha256 TEXT)"""


class Known(NamedTuple):
    """What a file's content is."""

    md5: str
    sha256: Digest
    size: int


class _State(NamedTuple):
    """A file as the system describes it; it differs after any write."""

    inode: int
    size: int
    modified_ns: int
    changed_ns: int


def digest_files(
    files: Mapping[str, Path], memory: Path, *, now_ns: int, on_progress: Callable[[int, int], None]
) -> dict[str, Known]:
    """Name -> content of every file, in a few threads; `on_progress` gets bytes done and bytes in all.

    Raises Refused where a file changed meanwhile, DependencyFailed where one cannot be read.
    """
    with disk("the digests of known files could not be opened", str(memory)):
        make_folder(memory.parent)
    with closing(sqlite3.connect(memory, timeout=60)) as connection:
        connection.execute(_TABLE)
        states = {name: _state(path) for name, path in files.items()}
        known = _remembered(connection, files, states)
        total = sum(state.size for state in states.values())
        done = sum(entry.size for entry in known.values())
        on_progress(done, total)
        fresh: dict[str, Known] = {}
        for name, entry in each([name for name in files if name not in known], lambda name: content_of(files[name])):
            fresh[name] = entry
            done += entry.size
            on_progress(done, total)
        rows = [
            (str(files[name]), *states[name], entry.md5, entry.sha256)
            for name, entry in fresh.items()
            if states[name].changed_ns < now_ns - SETTLED_NS
        ]
        with connection:
            connection.executemany("INSERT OR REPLACE INTO digests VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
    written = [name for name, path in files.items() if _state(path) != states[name]]
    if written:
        raise changed(Path(os.path.commonpath(list(files.values()))), sorted(written))
    return {name: known.get(name) or fresh[name] for name in files}


def content_of(path: Path) -> Known:
    """Digest one file as it is now; DependencyFailed where it cannot be read."""
    by_md5, by_sha256, size = hashlib.md5(usedforsecurity=False), hashlib.sha256(), 0
    with disk("a file could not be read", str(path)), path.open("rb", buffering=0) as stream:
        while chunk := stream.read(CHUNK_BYTES):
            by_md5.update(chunk)
            by_sha256.update(chunk)
            size += len(chunk)
    return Known(by_md5.hexdigest(), by_sha256.hexdigest(), size)


def _remembered(
    connection: sqlite3.Connection, files: Mapping[str, Path], states: Mapping[str, _State]
) -> dict[str, Known]:
    found = {}
    for name, path in files.items():
        row = connection.execute("SELECT * FROM digests WHERE path = ?", (str(path),)).fetchone()
        if row and _State(*row[1:5]) == states[name]:
            found[name] = Known(row[5], row[6], states[name].size)
    return found


def _state(path: Path) -> _State:
    with disk("a file could not be read", str(path)):
        status = path.stat()
    return _State(status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
