"""The bundle manifest: relative POSIX path -> digest and size; its own digest is the bundle's name.

Boundary: no I/O. Source: release-algorithm R5.
Invariants: paths are relative, NFC, unique also without regard to case, sorted; only deterministic content (R5.5).

Layout of a bundle:
    payload/...            what runs: runtime.json, feature_contract.json, weights, tokenizer, decoder settings
    text_normalizer.json   name and version of the normaliser of scores
    safety_filters.json    redaction rules of the API
    routing_rules.json     slice labels that can be routed, the low-risk cohort
    runtime.lock           the dependency lock of the serving image
    registry_entry.json    train_manifest.json
    reports/quality.json   reports/safety.json
    MODEL_CARD.md          rollback_packet.json
    golden/golden.json     golden/audio/*.wav (none for a synthesis)
"""

from __future__ import annotations

import unicodedata
from pathlib import PurePosixPath
from typing import ClassVar, Literal, NamedTuple, Self

from pydantic import field_validator, model_validator

from contracts.digest import Digest, digest_of
from contracts.document import Document, Part, later
from contracts.train_manifest import FileEntry

PAYLOAD = "payload/"
BIDIRECTIONAL = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def path_fault(path: str) -> str | None:
    """Why a bundle path is not allowed, or None: absolute, `..`, not NFC, control or bidirectional marks, too long."""
    if not path or path.startswith("/") or "\\" in path:
        return "not a relative POSIX path"
    if any(part in ("", ".", "..") for part in path.split("/")):
        return "has an empty, '.' or '..' part"
    if unicodedata.normalize("NFC", path) != path:
        return "is not in Unicode NFC"
    if any(ord(character) < 32 or character in BIDIRECTIONAL for character in path):
        return "has a control or bidirectional character"
    if any(len(part.encode()) > 255 for part in PurePosixPath(path).parts):
        return "has a part of over 255 bytes"
    return None


def payload_digest(files: dict[str, FileEntry]) -> Digest:
    """The digest of what runs: path (without `payload/`) -> sha256, canonical."""
    return digest_of({path: entry.sha256 for path, entry in files.items()})


class BundleManifest(Document):
    """An immutable release: `files` maps each path to its content."""

    KIND: ClassVar[str] = "bundle_manifest"

    format_version: Literal[1] = 1
    family: str
    version: str
    payload_digest: Digest
    files: dict[str, FileEntry]

    @field_validator("files")
    @classmethod
    def _paths(cls, files: dict[str, FileEntry]) -> dict[str, FileEntry]:
        for path in files:
            if fault := path_fault(path):
                raise ValueError(f"path {path!r} {fault}")
        folded: dict[str, str] = {}
        for path in files:
            other = folded.setdefault(path.casefold(), path)
            if other != path:
                raise ValueError(f"paths {other!r} and {path!r} differ only in case")
        return files

    @model_validator(mode="after")
    def _payload(self) -> Self:
        if payload_digest(self.payload()) != self.payload_digest:
            raise ValueError("payload_digest is not the digest of the payload files")
        return self

    def payload(self) -> dict[str, FileEntry]:
        """The payload's files, by path below `payload/`."""
        return {path[len(PAYLOAD) :]: entry for path, entry in self.files.items() if path.startswith(PAYLOAD)}


class GoldenFixture(Part):
    """What a model is asked, and what it must answer; `slices` are labels such as accent.

    Attributes:
        audio: what it hears, a file below `golden/` that may be kept; empty for a synthesis.
        text: what it says: a transcript; of a dialogue what it heard, a line break, and its reply.
        prompt: what it is given to say (synthesis).
        label: the class (classification), the cited documents (dialogue), the vector's space (embedding).
        vector: the embedding, the score of each class, or the sketch of what was spoken (speech/sketch.py).
    """

    fixture_id: str
    audio: str
    text: str
    slices: dict[str, str] = {}
    prompt: str = later("")
    label: str = later("")
    vector: tuple[float, ...] = later(())


class Golden(Document):
    """The golden fixtures of a bundle and the tolerance they are compared with (R6.1).

    `max_word_edits` of the text is per fixture, 0 means equal text; a label must be equal; no component of a vector may
    differ by more than `max_distance`.
    """

    KIND: ClassVar[str] = "golden"

    max_word_edits: int
    fixtures: tuple[GoldenFixture, ...]
    max_distance: float = later(0.0)


class GoldenAnswer(NamedTuple):
    """What a model answered to a fixture: the parts that it is compared by (see GoldenFixture)."""

    text: str = ""
    label: str = ""
    vector: tuple[float, ...] = ()
