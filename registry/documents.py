"""Documents in a store: each is the blob of its canonical JSON, named by its digest.

Boundary: the store it is handed.
Invariants: `get_document(store, type(d), put_document(store, d)) == d`; bytes that are not the document asked for are
Corrupt, never another document.
"""

from __future__ import annotations

from typing import TypeVar

from contracts.digest import Digest, short
from contracts.document import Document
from registry.store import Store

Kind = TypeVar("Kind", bound=Document)


def put_document(store: Store, document: Document) -> Digest:
    """Store a document; its digest, which is its name."""
    return store.put_blob(document.canonical())


def get_document(store: Store, cls: type[Kind], digest: Digest) -> Kind:
    """The document of a digest; raises NotFound, or Corrupt where the blob is damaged or of another kind."""
    return cls.parse(store.read_blob(digest), where=f"{store.url}, {cls.KIND} {short(digest)}")
