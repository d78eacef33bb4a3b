"""Errors that every store raises in the same words.

Boundary: no I/O.
"""

from __future__ import annotations

from contracts.digest import Digest, sha256_bytes, short
from contracts.errors import AlreadyExists, Conflict, Corrupt, WrongCall


def conflict(url: str, name: str, version: str | None, expected: str | None) -> Conflict:
    """The error of a swap that lost; it names the version that won."""
    return Conflict(
        f"the pointer {name!r} has moved",
        where=url,
        got=f"current version {version or 'none'}",
        expected=f"version {expected or 'none'}",
        next_step="read the pointer, decide again on what it says now",
    )


def corrupt_blob(url: str, got: Digest, digest: Digest) -> Corrupt:
    """The error of a blob whose bytes are not its own."""
    return Corrupt(
        "a blob's bytes are not what its digest says",
        where=f"{url}, blob {digest}",
        got=f"sha256 {got}",
        expected=f"sha256 {digest}",
        next_step="run `soundcheck verify` to see which bundles it breaks",
    )


def taken(url: str, key: str, existing: bytes, content: bytes) -> AlreadyExists:
    """The error of a create-once key that has other bytes."""
    return AlreadyExists(
        "a create-once key is taken by other bytes",
        where=f"{url}, key {key}",
        got=f"sha256 {short(sha256_bytes(existing))}",
        expected=f"sha256 {short(sha256_bytes(content))}",
    )


def nested(where: str) -> WrongCall:
    """The error of a key that would be both an object and a folder."""
    return WrongCall("a key cannot be both an object and the folder of another key", where=where)
