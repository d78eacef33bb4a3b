"""Tombstones: who had which content erased, and why; and what a restored folder lacks for it.

Boundary: no I/O, no clock. Source: release-algorithm S5.
Invariants: a tombstone is never taken back, a consent that is given anew stands after it; only files that a bundle does
not run from may be absent from a restored folder.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from contracts.digest import Digest
from contracts.document import Document, Part

ABSENT = "ABSENT.json"
"""The note in a restored folder that lacks erased files."""
OPTIONAL = "golden/audio/"
"""Files that a bundle is proved with and does not run from."""


class Tombstone(Document):
    """One word about a blob, signed by an operator or an approver: erase it, or let it be stored again."""

    KIND: ClassVar[str] = "tombstone"

    action: Literal["erase", "consent"]
    blob: Digest
    reason: str
    by: str
    key_id: str
    at: str


class AbsentFile(Part):
    """A file that was erased: its content's digest, and what the tombstone says."""

    sha256: Digest
    at: str
    by: str
    reason: str


class AbsentFiles(Document):
    """What a restored bundle lacks, by path."""

    KIND: ClassVar[str] = "absent_files"

    bundle: Digest
    files: dict[str, AbsentFile]
