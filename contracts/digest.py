"""Canonical JSON (RFC 8785) and SHA-256: how every document and blob is named.

Boundary: bytes and objects in, strings out; the one exception is `sha256_file`, which reads a file it is handed.
Invariants: equal documents have equal bytes on every platform; a digest is 64 lower-case hexadecimal characters.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any

import rfc8785
from pydantic import StringConstraints

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
"""A SHA-256 as 64 lower-case hexadecimal characters."""

SHORT = 12
"""Characters of a digest that people are shown (docs: pages)."""


def canonical_json(value: Any) -> bytes:
    """The RFC 8785 form of a JSON value; raises ValueError on NaN, infinity or an integer over 2**53."""
    try:
        return rfc8785.dumps(value)
    except rfc8785.CanonicalizationError as error:
        raise ValueError(f"not canonical JSON: {error}") from error


def sha256_bytes(data: bytes) -> Digest:
    """Digest of bytes."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> Digest:
    """Digest of a file's content, read in one pass."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest_of(value: Any) -> Digest:
    """Digest of a JSON value's canonical form."""
    return sha256_bytes(canonical_json(value))


def short(digest: str) -> str:
    """The first characters of a digest, as people see it."""
    return digest[:SHORT]
