"""The search index of one tenant: a copy of its passages, and which state of the documents it was made from.

Boundary: no I/O; a clock is the caller's.
Invariants: an index names the digest of every document it was made from, so that a stale one is found by comparing and
not by its age; it keeps its own copy of each passage, as search engines do, so that a reply that quotes it must be
checked against the documents (speech/assistant/grounding.py).
"""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from pydantic import AwareDatetime, PositiveInt

from contracts.digest import Digest
from contracts.document import Document, Part
from speech.assistant.documents import TenantDocuments


class IndexedPassage(Part):
    """A passage as it was when the index was made."""

    id: str
    title: str
    text: str


class TenantIndex(Document):
    """index/TENANT.json.

    Attributes:
        version: counts up with every build.
        watermark: the time up to which changes of the documents are in it.
        documents: document id -> digest, of what it was made from.
    """

    KIND: ClassVar[str] = "tenant_index"

    tenant: str
    version: PositiveInt
    watermark: AwareDatetime
    documents: dict[str, Digest]
    passages: tuple[IndexedPassage, ...]

    def age_s(self, now: datetime) -> float:
        """Seconds since the watermark, at least 0."""
        return max(0.0, (now - self.watermark).total_seconds())


def build_index(documents: TenantDocuments, version: int) -> TenantIndex:
    """The index of a tenant's documents as they are."""
    return TenantIndex(
        tenant=documents.tenant,
        version=version,
        watermark=documents.watermark,
        documents=documents.digests(),
        passages=tuple(
            IndexedPassage(id=name, title=source.title, text=source.text)
            for name, source in documents.sources().items()
        ),
    )


def stale_documents(index: TenantIndex, documents: TenantDocuments) -> tuple[str, ...]:
    """Ids of documents that the index knows in another state, not at all, or still although they are gone; sorted."""
    present = documents.digests()
    return tuple(
        sorted(name for name in present.keys() | index.documents if present.get(name) != index.documents.get(name))
    )
