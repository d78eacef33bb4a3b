"""A spoken assistant as one payload: a recogniser, the documents of each tenant and their index, a voice.

Purpose: a turn is heard, its question answered by the tenant's documents, and the reply spoken; a cascade whose parts
are payloads of their own, released and rolled back as one.
Boundary: reads its payload folder when it is loaded and nothing afterwards; a clock is read for the age of an index
alone; nothing of a turn outlives it.
Invariants: each part is the payload that cascade.json names, or nothing is loaded; a tenant's user is answered from
that tenant's documents and no others; a reply whose statements do not stand in the documents that it cites is not
said: the user is handed to a person, and the reply says that it was not grounded.

Files of the payload
    cascade.json            Cascade: the parts by engine and payload digest, and the settings of each step
    parts/asr, parts/voice  payloads of their own: any engine that transcribes, any voice
    documents/TENANT.json   speech.assistant.documents.TenantDocuments
    index/TENANT.json       speech.assistant.index.TenantIndex
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple, cast

from pydantic import Field, PositiveFloat, PositiveInt

from contracts.bundle import payload_digest
from contracts.digest import Digest, sha256_file
from contracts.document import Document, Part
from contracts.errors import Refused
from contracts.policy import Share, Task
from contracts.train_manifest import FileEntry
from speech.assistant.documents import Source, TenantDocuments
from speech.assistant.grounding import grounded
from speech.assistant.hearing import Rehearing, hear
from speech.assistant.index import TenantIndex
from speech.assistant.response import NO_ANSWER, NOT_HEARD, TO_A_PERSON, Quoting, Responder, asks_for_a_person
from speech.assistant.retrieval import Analyser, Found, Retriever
from speech.runtimes import Partial, Runtime, Samples, Transcript, load_model
from speech.runtimes.kinds import Reply, Voice, task_of

PartName = Literal["asr", "voice"]
PARTS: dict[PartName, Task] = {"asr": "transcription", "voice": "synthesis"}
"""Part -> what its model must do."""

Clock = Callable[[], datetime]


class CascadePart(Part):
    """One part: its engine, the digest of its payload, and the bundle that it was released as, where it was."""

    engine: str
    payload_digest: Digest
    bundle: Digest | None = None


class Cascade(Document):
    """cascade.json.

    Attributes:
        analyser, k1, b, passages: of retrieval: what terms are, BM25's constants, how many passages are considered.
        answer_above: the share of a question that a passage must cover to answer it.
        partial_every_s: seconds of audio between partials of a recogniser that does not stream.
        hear_in_pauses: whether the final is made while the endpoint is waited for.
    """

    KIND: ClassVar[str] = "assistant_cascade"

    parts: dict[PartName, CascadePart]
    analyser: Analyser
    k1: PositiveFloat = 1.2
    b: Share = 0.75
    passages: PositiveInt = 3
    answer_above: Share
    partial_every_s: PositiveFloat = Field(ge=0.1)
    hear_in_pauses: bool


class Knowledge(NamedTuple):
    """What one tenant's users may be told: passages as documents have them, the index, and search in it."""

    sources: Mapping[str, Source]
    indexed: TenantIndex
    retriever: Retriever


def load(payload: Path, *, threads: int = 1, responder: Responder | None = None) -> AssistantModel:
    """Load every part; `responder` takes the place of the one that quotes (a language model, see docs/assistant.md).

    Raises:
        Refused: a part is not the one that cascade.json names, or an index and documents do not go together.
        Corrupt: a file does not parse.
    """
    cascade = Cascade.parse((payload / "cascade.json").read_bytes(), where="cascade.json")
    for name, part in cascade.parts.items():
        check_part(payload / "parts" / name, name, part.payload_digest)
    models = {name: load_model(payload / "parts" / name, threads=threads) for name in PARTS}
    for name, task in PARTS.items():
        if task_of(models[name]) != task:
            raise _refused(f"the part {name!r} of an assistant does something else", name, task_of(models[name]), task)
    return AssistantModel(
        asr=cast(Runtime, models["asr"]),
        voice=cast(Voice, models["voice"]),
        cascade=cascade,
        knowledge=read_knowledge(payload, cascade),
        responder=responder or Quoting(cascade.answer_above),
    )


def check_part(folder: Path, name: str, expected: Digest) -> None:
    """Refuse a part whose files are not those of the payload that is named."""
    present = part_digest(folder)
    if present != expected:
        raise _refused("a part of an assistant is not the payload that cascade.json names", name, present, expected)


def part_digest(folder: Path) -> Digest:
    """The payload digest of a part's files."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return payload_digest(
        {
            path.relative_to(folder).as_posix(): FileEntry(sha256=sha256_file(path), size=path.stat().st_size)
            for path in files
        }
    )


def read_knowledge(payload: Path, cascade: Cascade) -> dict[str, Knowledge]:
    """Documents and index of each tenant."""
    found = {}
    for documents, index in read_tenants(payload):
        retriever = Retriever(index.passages, cascade.analyser, k1=cascade.k1, b=cascade.b)
        found[documents.tenant] = Knowledge(documents.sources(), index, retriever)
    return found


def read_tenants(payload: Path) -> list[tuple[TenantDocuments, TenantIndex]]:
    """Each tenant's documents with their index; Refused where one of both lacks the other."""
    names = {folder: {path.name for path in (payload / folder).glob("*.json")} for folder in ("documents", "index")}
    if names["documents"] != names["index"] or not names["index"]:
        alone = names["documents"] ^ names["index"]
        raise Refused(
            "documents and indexes of an assistant do not go together",
            where="payload/documents and payload/index",
            got=f"in one of both alone: {', '.join(sorted(alone))}" if alone else "no tenant",
            expected="one file a tenant in each",
            next_step="build the index of every tenant: python -m speech.assistant.make",
        )
    return [
        (
            TenantDocuments.parse((payload / "documents" / name).read_bytes(), where=f"documents/{name}"),
            TenantIndex.parse((payload / "index" / name).read_bytes(), where=f"index/{name}"),
        )
        for name in sorted(names["index"])
    ]


def _refused(what: str, part: str, got: str, expected: str) -> Refused:
    return Refused(
        what,
        where=f"payload/parts/{part}",
        got=got,
        expected=expected,
        next_step="put the part's own payload there and its digest into cascade.json: python -m speech.assistant.make",
    )


class AssistantModel:
    """A loaded assistant (speech.runtimes.kinds.Assistant)."""

    task: Literal["dialogue"] = "dialogue"

    def __init__(
        self,
        *,
        asr: Runtime,
        voice: Voice,
        cascade: Cascade,
        knowledge: Mapping[str, Knowledge],
        responder: Responder,
        clock: Clock = lambda: datetime.now(UTC),
    ) -> None:
        self.sample_rate_hz = asr.sample_rate_hz
        self.voice_rate_hz = voice.sample_rate_hz
        self.asr, self.voice, self.cascade = asr, voice, cascade
        self._knowledge = knowledge
        self._responder = responder
        self._clock = clock

    def turn(self, tenant: str = "") -> AssistantTurn:
        """Begin a turn of a tenant's user."""
        return AssistantTurn(self, tenant)

    def find(self, question: str, tenant: str) -> list[Found]:
        """Passages of the tenant's documents that a question is about, best first."""
        knowledge = self._knowledge.get(tenant)
        return knowledge.retriever.search(question, self.cascade.passages) if knowledge else []

    def reply_to(self, heard: Transcript, tenant: str, found: Sequence[Found]) -> Reply:
        """What is answered to a question that was heard, from what was found."""
        knowledge = self._knowledge.get(tenant)
        age_s = knowledge.indexed.age_s(self._clock()) if knowledge else None
        if not heard.text.strip():
            return Reply(heard, NOT_HEARD, index_age_s=age_s)
        if asks_for_a_person(heard.text):
            return Reply(heard, TO_A_PERSON, handoff=True, index_age_s=age_s)
        draft = self._responder.draft(heard.text, found, knowledge.retriever) if knowledge else None
        if knowledge is None or draft is None:
            return Reply(heard, NO_ANSWER, handoff=True, index_age_s=age_s)
        if not grounded(draft, knowledge.sources):
            return Reply(heard, NO_ANSWER, grounded=False, handoff=True, tokens=draft.tokens, index_age_s=age_s)
        return Reply(heard, draft.text, draft.citations, tokens=draft.tokens, index_age_s=age_s)


class AssistantTurn:
    """One turn (speech.runtimes.kinds.Turn): its audio and its reply are dropped with it."""

    def __init__(self, model: AssistantModel, tenant: str) -> None:
        self._model = model
        self._tenant = tenant
        cascade = model.cascade
        self._hearing = hear(model.asr, every_s=cascade.partial_every_s, in_pauses=cascade.hear_in_pauses)
        self._reply: Reply | None = None

    def accept(self, chunk: Samples) -> Partial | None:
        """Hear the next chunk."""
        return self._hearing.accept(chunk)

    @property
    def settled(self) -> bool:
        """Whether the final is known already, so that the reply needs no more hearing."""
        return not isinstance(self._hearing, Rehearing) or self._hearing.settled

    def reply(self) -> Reply:
        """What was heard, and the reply; asked again, the same."""
        if self._reply is None:
            heard = self._hearing.finish()
            self._reply = self._model.reply_to(heard, self._tenant, self._model.find(heard.text, self._tenant))
        return self._reply

    def speak(self) -> Iterator[Samples]:
        """The reply as speech, lazily."""
        yield from self._model.voice.speak(self.reply().text)
