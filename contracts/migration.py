"""Moving a family of embeddings to another vector space: the plan a candidate brings, and what came of it.

Boundary: no I/O, no clock. Source: coverage row 15; release-algorithm B4.
Invariants: scores between vectors of different spaces mean nothing, so that a bundle of another space cannot be served
without an index of its own; a plan names both spaces, so that it cannot be used for another move.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt, model_validator

from contracts.digest import Digest
from contracts.document import Document, Part, later
from contracts.policy import Share

MIGRATION_FILE = "migration.yaml"
"""The plan, beside candidate.yaml."""


class Space(Part):
    """A vector space: its name, and how many components its vectors have."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    dimension: PositiveInt


class Reindex(Part):
    """How the new index is made.

    Attributes:
        batch: voiceprints that are written at once: what is done again after a kill is at most this.
        max_recall_loss: recall@1 of the new index may be this much below the old one's, over the same probes.
    """

    batch: PositiveInt
    max_recall_loss: Share


class Backfill(Part):
    """Where voiceprints of the new space come from: the kept enrolment audio, `pack` is its name."""

    pack: str


class Shim(Part):
    """A linear map of old vectors into the new space, for clients that still bring old ones.

    `max_recall_loss`: recall@1 of mapped vectors may be this much below that of vectors made in the new space.
    """

    max_recall_loss: Share


class Rollback(Part):
    """How to go back: the old index is kept, and written on, for at least so many days; B4 lets the old bundle return
    as long as it is there and complete."""

    keep_old_index_days: PositiveInt


class MigrationPlan(Document):
    """The file `migration.yaml` of a candidate whose vectors are of another space than the stable one's."""

    KIND: ClassVar[str] = "migration_plan"

    source: Space
    target: Space
    reindex: Reindex
    dual_write: Literal[True]
    backfill: Backfill
    shim: Shim | None = None
    rollback: Rollback

    @model_validator(mode="after")
    def _two_spaces(self) -> MigrationPlan:
        if self.source.name == self.target.name:
            raise ValueError(f"source and target are the same space, {self.source.name!r}")
        return self


class RecallCount(Part):
    """Probes whose own speaker was found first, of all probes."""

    found: NonNegativeInt
    probes: PositiveInt

    @property
    def rate(self) -> float:
        """Recall@1."""
        return self.found / self.probes


class ShimReport(Part):
    """The linear map, fitted on pairs of the same enrolment audio, and what it costs.

    `recall` is of old vectors mapped into the new space, over probes of speakers it was not fitted on; `native` of new
    vectors over the same probes.
    """

    matrix: Digest
    pairs: PositiveInt
    recall: RecallCount
    native: RecallCount


class WayBack(Part):
    """Whether the old bundle could return now (B4), looked at after the new index was filled.

    `missing` counts voiceprints of the new index that the old one lacks; where it is 0, a rollback finds everybody, as
    well as `source_recall` says. The old index is kept, and written on, for at least `keep_old_index_days`.
    """

    missing: NonNegativeInt
    keep_old_index_days: PositiveInt


class MigrationReport(Document):
    """What the migration did and measured; `faults` are sentences, none where it may be promoted.

    `source_count` and `target_count` are the voiceprints of both indexes; `margin` is the plan's max_recall_loss; both
    recalls are measured after the new index was filled. No timings: a report that is made again has the same name.
    """

    KIND: ClassVar[str] = "migration_report"

    family: str
    plan: Digest
    source: Space
    target: Space
    source_bundle: Digest
    target_bundle: Digest
    source_count: NonNegativeInt
    target_count: NonNegativeInt
    source_recall: RecallCount
    target_recall: RecallCount
    shim: ShimReport | None = None
    faults: tuple[str, ...] = ()
    margin: NonNegativeFloat
    way_back: WayBack | None = later(None)
