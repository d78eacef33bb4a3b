"""A bundle's payload as a worker loads it: a private copy whose files are digested while they are copied.

Boundary: reads the payload's files once each, writes below the folder it is handed.
Invariants: an engine sees the copy alone, so that a file that is swapped or written to after the cache was verified,
also while an engine loads or maps it, is refused by its name or has no effect (fault 28); only files that the manifest
names are copied. Whoever may act as the worker's own user is not kept out.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from contracts.digest import Digest, short
from contracts.errors import Corrupt, WrongCall

CHUNK_BYTES = 1 << 20


def private_copy(payload: Path, digests: Mapping[str, Digest], into: Path) -> Path:
    """Copy a payload's files into the new folder `into`, which this user alone may enter, and return it.

    Args:
        digests: path below the payload -> SHA-256, as the bundle's manifest says.

    Raises:
        Corrupt: naming a file that is missing, no regular file, or not what its digest says; the copy is of no use.
        WrongCall: no digests at all.
    """
    if not digests:
        raise WrongCall("no digests came for the payload", expected="path -> SHA-256 of every file of the payload")
    into.mkdir(mode=0o700)
    for path, digest in digests.items():
        target = into / path
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            found = _copy(payload / path, target)
        except OSError as error:
            raise _changed(path, os.strerror(error.errno or 0), digest) from None
        if found != digest:
            raise _changed(path, f"sha256 {short(found)}", digest)
    return into


def _copy(source: Path, target: Path) -> Digest:
    """Copy a regular file, not a link; the digest of the bytes that were written."""
    hasher = hashlib.sha256()
    descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb", buffering=0) as stream, target.open("xb", buffering=0) as copy:
        while chunk := stream.read(CHUNK_BYTES):
            hasher.update(chunk)
            copy.write(chunk)
    return hasher.hexdigest()


def _changed(path: str, got: str, digest: Digest) -> Corrupt:
    return Corrupt(
        "a file of the bundle is not what its manifest says, so it is not loaded",
        where=f"payload/{path}",
        got=got,
        expected=f"sha256 {short(digest)}",
        next_step="the gateway restores the bundle anew and starts the worker again; restore a folder that was handed "
        "over anew yourself: soundcheck restore BUNDLE --into DIR",
    )
