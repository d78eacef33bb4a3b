"""Garbage that is being deleted: what a collection says before it deletes, for every writer to read.

Boundary: no I/O, no clock. Source: release-algorithm R5.3; fault 29.
Invariants: at most one declaration stands (it is the content of one pointer); a digest is deleted only while it stands
in it.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import FiniteFloat

from contracts.digest import Digest
from contracts.document import Document

POINTER = "gc"
"""The pointer that holds the declaration."""


class GarbageDeclaration(Document):
    """The blobs that collection `run` is about to delete; `run` is "" where none is under way.

    `until_s` is the Unix time after which the run counts as dead: it deletes nothing later than half its lease.
    """

    KIND: ClassVar[str] = "garbage_declaration"

    run: str = ""
    until_s: FiniteFloat = 0.0
    digests: tuple[Digest, ...] = ()
