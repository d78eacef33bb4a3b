"""The documents of one tenant, cut into passages that replies may cite.

Boundary: no I/O.
Invariants: a passage is a span of one document, so that a citation can be read where it stands; ids are unique; the
digest of a document changes with its text and with the time it was changed.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import ClassVar, Literal, NamedTuple, Self

from pydantic import AwareDatetime, NonNegativeInt, PositiveInt, model_validator

from contracts.digest import Digest, digest_of
from contracts.document import Document, Part
from contracts.errors import NotFound

_SENTENCE = re.compile(r"\S.*?[.!?](?=\s|$)|\S.*$", re.DOTALL)
_WORD = re.compile(r"\S+")


class SourceDocument(Part):
    """A text that replies may rest on, and when it was last changed."""

    id: str
    updated_at: AwareDatetime
    text: str

    @property
    def title(self) -> str:
        """The id as words: `opening-hours` is about opening hours."""
        return self.id.replace("-", " ")

    def digest(self) -> Digest:
        """Of what a reader would see."""
        return digest_of({"id": self.id, "updated_at": self.updated_at.isoformat(), "text": self.text})


class Passage(Part):
    """Characters `start` to `end` of a document, by the id that citations use."""

    id: str
    document: str
    start: NonNegativeInt
    end: PositiveInt


class Chunker(Part):
    """How documents are cut: into runs of `size` sentences, or of `size` words whatever the sentences are."""

    unit: Literal["sentences", "words"]
    size: PositiveInt

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Start and end of each passage of a text, in order.

        >>> Chunker(unit="sentences", size=2).spans("One. Two. Three.")
        [(0, 9), (10, 16)]
        """
        pattern = _SENTENCE if self.unit == "sentences" else _WORD
        found = [match.span() for match in pattern.finditer(text)]
        runs = [found[place : place + self.size] for place in range(0, len(found), self.size)]
        return [(run[0][0], run[-1][1]) for run in runs]


class Source(NamedTuple):
    """Where a passage comes from: the title of its document, and its text."""

    title: str
    text: str


class TenantDocuments(Document):
    """documents/TENANT.json: what a tenant's users may be told, as ingestion left it.

    Attributes:
        name: what the tenant is called in replies.
        chunker: what cut the passages.
    """

    KIND: ClassVar[str] = "tenant_documents"

    tenant: str
    name: str
    documents: tuple[SourceDocument, ...]
    chunker: Chunker
    passages: tuple[Passage, ...]

    @model_validator(mode="after")
    def _whole(self) -> Self:
        texts = {document.id: document.text for document in self.documents}
        if len(texts) < len(self.documents) or len({one.id for one in self.passages}) < len(self.passages):
            raise ValueError("an id stands there twice")
        for one in self.passages:
            if one.document not in texts or not one.start < one.end <= len(texts[one.document]):
                raise ValueError(f"passage {one.id!r} is not a span of a document")
        return self

    @property
    def watermark(self) -> datetime:
        """The time up to which changes of the documents are known."""
        return max(document.updated_at for document in self.documents)

    def digests(self) -> dict[str, Digest]:
        """Document id -> digest."""
        return {document.id: document.digest() for document in self.documents}

    def sources(self) -> dict[str, Source]:
        """Passage id -> what stands there."""
        documents = {document.id: document for document in self.documents}
        return {
            one.id: Source(documents[one.document].title, documents[one.document].text[one.start : one.end])
            for one in self.passages
        }

    def document_of(self, passage: str) -> str:
        """The document that a passage is in; NotFound for an id that is none."""
        for one in self.passages:
            if one.id == passage:
                return one.document
        raise NotFound("there is no such passage", where=f"documents of {self.tenant}", got=passage)


def ingest(tenant: str, name: str, documents: tuple[SourceDocument, ...], chunker: Chunker) -> TenantDocuments:
    """Cut documents into passages `DOCUMENT#0`, `DOCUMENT#1`, ..."""
    passages = [
        Passage(id=f"{document.id}#{number}", document=document.id, start=start, end=end)
        for document in documents
        for number, (start, end) in enumerate(chunker.spans(document.text))
    ]
    return TenantDocuments(tenant=tenant, name=name, documents=documents, chunker=chunker, passages=tuple(passages))


def sentences(text: str) -> list[str]:
    """The sentences of a text, in order.

    >>> sentences("It is open. Is it free? Yes")
    ['It is open.', 'Is it free?', 'Yes']
    """
    return [match.group() for match in _SENTENCE.finditer(text)]
