"""The train manifest: what a candidate was trained from, and on what.

Boundary: no I/O. Source: release-algorithm R1.
Invariants: a dirty manifest can never be promoted (R1.3); a third party's model has no data manifest of ours (R1.5);
what DVC's lock says of data and candidate was true of the files at capture.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import JsonValue, NonNegativeFloat, NonNegativeInt, StringConstraints

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


DvcDigest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}(\.dir)?$")]
"""DVC's name of a file's content (MD5) or of a folder's listing (MD5 and `.dir`)."""


class DvcEntry(Part):
    """A dependency or output as dvc.lock has it.

    `data` (held by DVC) and `candidate` (the output that is released) were digested again at capture; `code` is git's,
    and an `output` beside the candidate was not looked at.
    """

    path: str
    """POSIX, from the project's folder."""
    md5: DvcDigest
    size: NonNegativeInt
    files: NonNegativeInt
    kind: Literal["data", "code", "candidate", "output"]
    held_in: DvcDigest | None = None
    """Of data that is a folder inside a larger output: the output's digest, which the remote knows it by."""
    inside: str = ""
    """The folder's path inside that output."""


class DvcRemote(Part):
    """Where `dvc push` puts content: the remote's name and address, without credentials."""

    name: str
    url: str | None
    """None: the place for data of whatever store the bundle is in."""
    endpoint: str | None = None


class DvcLineage(Part):
    """What DVC knows of the stage that made the candidate."""

    stage: str
    deps: tuple[DvcEntry, ...]
    outs: tuple[DvcEntry, ...]
    remote: DvcRemote | None

    @property
    def data(self) -> tuple[DvcEntry, ...]:
        """The dependencies that DVC holds: what `restore --with-data` brings back."""
        return tuple(entry for entry in self.deps if entry.kind == "data")


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
    dvc: DvcLineage | None = None
    """None: no stage of dvc.lock made the candidate."""
    params: Digest
    payload: dict[str, FileEntry]
    payload_digest: Digest
    leakage: str
    """`none found`, or why it cannot be known (`inconclusive: ...`)."""
