"""The train manifest: what a candidate was trained from, and on what.

Boundary: no I/O. Source: release-algorithm R1.
Invariants: a dirty manifest can never be promoted (R1.3); a third party's model has no data manifest of ours (R1.5).
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import JsonValue, NonNegativeFloat, NonNegativeInt

from contracts.digest import Digest
from contracts.document import Document, Part


class FileEntry(Part):
    """A file by content: its SHA-256 and its size in bytes."""

    sha256: Digest
    size: NonNegativeInt


class DataSummary(Part):
    """The training data in numbers; the rows themselves are the blob `digest` (Parquet, one row an utterance)."""

    digest: Digest
    label_digest: Digest
    utterances: NonNegativeInt
    hours: NonNegativeFloat
    speakers: NonNegativeInt
    languages: tuple[str, ...]
    licences: tuple[str, ...]


class TrainManifest(Document):
    """Provenance of one candidate (R1): everything needed to train it again and to say what it heard."""

    KIND: ClassVar[str] = "train_manifest"

    family: str
    version: str
    origin: Literal["own", "third_party"]
    training_code_sha: str
    dirty: bool
    data: DataSummary | None
    hyperparameters: dict[str, JsonValue]
    seeds: dict[str, int]
    base_model: str
    dependency_lock: Digest
    dvc_lock: Digest | None
    params: Digest
    payload: dict[str, FileEntry]
    payload_digest: Digest
    leakage: str
    """`none found`, or why it cannot be known (`inconclusive: ...`)."""
