"""An assistant for tests: words are loudness, so that what was heard can be read off the samples, and voices hum."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import numpy as np

from contracts.digest import digest_of
from speech.assistant.documents import Chunker, SourceDocument, TenantDocuments, ingest, sentences
from speech.assistant.index import TenantIndex, build_index
from speech.assistant.response import Quoting, Responder
from speech.assistant.retrieval import Retriever
from speech.runtimes import Samples, Stream, Transcript
from speech.runtimes.assistant import AssistantModel, Cascade, Knowledge

RATE_HZ = 1_000
VOICE_HZ = 2_000
WORD_S = 0.2
VOCABULARY = (
    "when", "does", "the", "library", "open", "on", "saturday", "how", "much", "is", "a", "card", "ticket", "to",
    "person", "speak", "pass",
)  # fmt: skip
STEP = 0.05
UPDATED = datetime(2026, 11, 1, tzinfo=UTC)
SHELF = {
    "library": {"hours": "The library opens at ten on Saturday. It is closed on Sunday.", "cards": "A card is free."},
    "transit": {"fares": "A ticket costs two pounds. A pass costs sixty pounds."},
}


def said(text: str, *, pause_s: float = 0.0) -> Samples:
    """A text as samples, (samples,) at RATE_HZ: each word of VOCABULARY at its own loudness, then silence."""
    levels = [(VOCABULARY.index(word) + 1) * STEP for word in text.split()]
    word = np.ones(round(WORD_S * RATE_HZ), np.float32)
    return np.concatenate([*(word * level for level in levels), np.zeros(round(pause_s * RATE_HZ), np.float32)])


class Listener:
    """A runtime (speech.runtimes.Runtime) that does not stream, and keeps count of what it heard."""

    sample_rate_hz = RATE_HZ
    streaming = False

    def __init__(self) -> None:
        self.heard_s: list[float] = []

    def transcribe(self, audio: Samples) -> Transcript:
        self.heard_s.append(audio.size / RATE_HZ)
        size = round(WORD_S * RATE_HZ)
        places = [round(float(np.median(audio[at : at + size])) / STEP) for at in range(0, audio.size - size + 1, size)]
        return Transcript(" ".join(VOCABULARY[place - 1] for place in places if place), confidence=0.9)

    def stream(self) -> Stream:
        raise AssertionError("an assistant hears whole turns again and again; it opens no stream")


class Hum:
    """A voice (speech.runtimes.kinds.Voice): a chunk a sentence, a tenth of a second a word."""

    task: Literal["synthesis"] = "synthesis"
    sample_rate_hz = VOICE_HZ
    name = "hum"
    max_characters = 1_000

    def __init__(self) -> None:
        self.made: list[str] = []

    def sentences(self, text: str) -> list[str]:
        return sentences(text)

    def speak(self, text: str) -> Iterator[Samples]:
        for sentence in self.sentences(text):
            self.made.append(sentence)
            yield np.full(VOICE_HZ // 10 * len(sentence.split()), 0.5, np.float32)


def documents_of(tenant: str, *, size: int = 1) -> TenantDocuments:
    """The documents of SHELF, cut in runs of `size` sentences."""
    listed = tuple(SourceDocument(id=name, updated_at=UPDATED, text=text) for name, text in SHELF[tenant].items())
    return ingest(tenant, tenant, listed, Chunker(unit="sentences", size=size))


def cascade(**settings: Any) -> Cascade:
    part = {"engine": "ctc", "payload_digest": digest_of({})}
    given = {"analyser": "trigrams", "answer_above": 0.4, "partial_every_s": 0.5, "hear_in_pauses": True}
    return Cascade.model_validate({"parts": {"asr": part, "voice": part}, **given, **settings})


def assistant(
    *,
    asr: Listener | None = None,
    voice: Hum | None = None,
    served: Sequence[TenantDocuments] | None = None,
    indexes: Sequence[TenantIndex] | None = None,
    responder: Responder | None = None,
    **settings: Any,
) -> AssistantModel:
    """An assistant of both tenants; `served` documents and `indexes` are those of SHELF unless given."""
    served = served or [documents_of(tenant) for tenant in SHELF]
    indexes = indexes or [build_index(documents, 1) for documents in served]
    chosen = cascade(**settings)
    return AssistantModel(
        asr=asr or Listener(),
        voice=voice or Hum(),
        cascade=chosen,
        knowledge={
            documents.tenant: Knowledge(documents.sources(), index, Retriever(index.passages, chosen.analyser))
            for documents, index in zip(served, indexes, strict=True)
        },
        responder=responder or Quoting(chosen.answer_above),
        clock=lambda: UPDATED + timedelta(hours=1),
    )
