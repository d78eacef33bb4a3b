"""Names inside a store: which keys are allowed, and where a blob or a pointer has its key.

Boundary: no I/O.
Invariants: one layout for every medium, so that a listing means the same in each: objects at their own key, blobs at
`blobs/sha256/AB/REST`, pointers at `pointers/NAME`. A key is a relative POSIX path (contracts.bundle.path_fault) of at
most 1024 bytes, which is what S3 allows.
"""

from __future__ import annotations

import re

from contracts.bundle import path_fault
from contracts.digest import Digest
from contracts.errors import WrongCall

BLOBS = "blobs/sha256/"
POINTERS = "pointers/"
RESERVED = frozenset({"blobs", "pointers", ".local"})
"""First parts that `create` may not use; `.local` holds a local store's locks and half-written files."""
MAX_KEY_BYTES = 1024
_DIGEST = re.compile(r"[0-9a-f]{64}")


def _check(name: str, kind: str) -> None:
    try:
        fault = path_fault(name)
    except UnicodeEncodeError:
        fault = "is not UTF-8"
    if fault is None and len(name.encode()) > MAX_KEY_BYTES:
        fault = f"is over {MAX_KEY_BYTES} bytes"
    if fault:
        raise WrongCall(
            f"a {kind} is not allowed: it {fault}", where=ascii(name[:80]), expected="a relative POSIX path"
        )


def check_key(key: str) -> str:
    """The key of an object; raises WrongCall for one that is malformed or belongs to blobs or pointers."""
    _check(key, "key")
    first = key.partition("/")[0]
    if first in RESERVED:
        raise WrongCall("a key is not allowed: its first part is reserved", where=key, got=first)
    return key


def check_prefix(prefix: str) -> str:
    """A prefix to list by ("" lists all); raises WrongCall for one that no key can have."""
    if prefix:
        _check(prefix.removesuffix("/"), "prefix")
    return prefix


def blob_key(digest: Digest) -> str:
    """Where a blob lies; raises WrongCall for something that is no digest."""
    if not _DIGEST.fullmatch(digest):
        raise WrongCall("not a digest", got=ascii(digest[:80]), expected="64 lower-case hexadecimal characters")
    return f"{BLOBS}{digest[:2]}/{digest[2:]}"


def blob_of_key(key: str) -> Digest | None:
    """The digest of the blob that lies at a key; None for any other key."""
    digest = key.removeprefix(BLOBS).replace("/", "", 1)
    return digest if _DIGEST.fullmatch(digest) and blob_key(digest) == key else None


def pointer_key(name: str) -> str:
    """Where a pointer lies; raises WrongCall for a malformed name."""
    _check(name, "pointer name")
    return POINTERS + name
