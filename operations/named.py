"""What a family's ledger names, read and digested: every document of every event, and what those documents name.

Boundary: the store and the events it is handed; reads only.
Invariants: each digest is read once; what an event names must be there; what only a document names is digested where it
is there, for a document also names what was never a blob (a pack, a table of files, a checksum).
Source: release-algorithm S1; faults 15, 21.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple

from contracts.digest import Digest, short
from contracts.errors import Corrupt, NotFound
from contracts.ledger_event import LedgerEvent
from registry.folders import TRANSFERS, each
from registry.garbage import DOCUMENT_BYTES, document_names
from registry.store import Store

NO_BLOB = ("payload", "pack", "after")
"""Roles (to the first dot) of digests that name no blob: the table of a payload's files, a pack, an event."""


class Unread(NamedTuple):
    """A blob that is named and cannot be read: by whom it is named, and why it cannot."""

    named_by: str
    digest: Digest
    error: Corrupt | NotFound

    def __str__(self) -> str:
        """`event 12 approve: signature 3f2a...: ...`."""
        return f"{self.named_by} {short(self.digest)}: {self.error.what}"


class _Name(NamedTuple):
    """How a digest came up; `needed`: its blob must be there; `opened`: it is a document, which may name more."""

    by: str
    needed: bool
    opened: bool


def unread(store: Store, events: Iterable[LedgerEvent], *, checked: Collection[Digest]) -> list[Unread]:
    """What the events name and the store cannot give whole, in the ledger's order, what documents name last.

    `checked` are blobs that the caller has digested: they are read again only where an event names them, for what they
    name in turn. Raises DependencyFailed where the store does not answer.
    """
    waiting = _named_by_events(events)
    seen, faults = set(waiting), []
    while waiting:
        found: dict[Digest, _Name] = {}
        contents = dict(each(list(waiting.items()), lambda item: _read(store, *item), threads=TRANSFERS))
        for (digest, name), content in ((item, contents[item]) for item in waiting.items()):
            if isinstance(content, bytes):
                found = _named_by(content, f"{name.by} {short(digest)}, which names") | found
            else:
                faults.append(Unread(name.by, digest, content))
        waiting = {digest: name for digest, name in found.items() if digest not in seen and digest not in checked}
        seen |= set(waiting)
    return faults


def _named_by_events(events: Iterable[LedgerEvent]) -> dict[Digest, _Name]:
    named: dict[Digest, _Name] = {}
    for event in events:
        for role, digest in (*event.inputs.items(), *event.outputs.items()):
            if role.partition(".")[0] not in NO_BLOB:
                named.setdefault(digest, _Name(f"event {event.sequence} {event.step}: {role}", True, True))
    return named


def _named_by(content: bytes, by: str) -> dict[Digest, _Name]:
    names, files = document_names(content)
    named = {digest: _Name(by, False, True) for digest in names}
    return named | {digest: _Name(by, False, False) for digest in files}


def _read(store: Store, digest: Digest, name: _Name) -> bytes | Corrupt | NotFound:
    """A document's bytes, b"" for what names nothing, or why it cannot be read."""
    try:
        info = store.blob_info(digest)
        if info is None and not name.needed:
            return b""
        if name.opened and (info is None or info.size <= DOCUMENT_BYTES):
            return store.read_blob(digest)
        store.check_blob(digest)
    except NotFound as error:
        return error if name.needed else b""
    except Corrupt as error:
        return error
    return b""
