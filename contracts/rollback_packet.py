"""The rollback packet: what a person on call needs at two in the morning, without the author.

Boundary: no I/O. Source: coverage 28 (the packet written before a release, not during its incident).
Invariants: it stands in every bundle, so it holds only what is known when the bundle is made and nothing that depends
on time (R5.5); figures are counts and bounds, never a transcript; what there is not is said, not left out.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from contracts.digest import Digest
from contracts.document import Document, Part
from contracts.policy import CanaryMetric, ServingGate
from contracts.reports import Comparison
from contracts.verdict import Verdict


class Action(Part):
    """Something to run: why, and the exact command; KEY is the name of the caller's own key."""

    purpose: str
    command: str


class Compatibility(Part):
    """What a target must have in common with this bundle (B4); `embedding_dimension` is None without embeddings."""

    input_schema: str
    output_schema: str
    feature_contract: Digest
    embedding_dimension: int | None = None


class Thresholds(Part):
    """What it is held to in production: the canary judge's metrics, and the budgets of speed and size (SLO)."""

    canary: dict[str, CanaryMetric]
    serving: ServingGate


class RollbackPacket(Document):
    """One bundle's way back.

    Attributes:
        flag: what turns the bundle off: the pointer that names it.
        target: the bundle that was stable when this one was made; None for a first release.
        rollback: the command that goes back; verification: the one that proves it, `verified_when` what it must say.
        others: what else may be done, the mildest first.
        links: where to look, by name; addresses of servers are not known here.
        known_risks: the comparisons that were nearest to their limits, worst first.
        criteria: what must hold before the version is released again.
    """

    KIND: ClassVar[str] = "rollback_packet"

    format_version: Literal[1] = 1
    family: str
    version: str
    flag: str
    owner: str
    on_call: str
    cohort: dict[str, tuple[str, ...]]
    stages: tuple[str, ...]
    links: dict[str, str]
    thresholds: Thresholds
    known_risks: tuple[Comparison, ...]
    safety: Verdict
    target: Digest | None
    rollback: Action
    others: tuple[Action, ...]
    compatibility: Compatibility
    cache: str
    verification: str
    verified_when: str
    customer_message: str
    criteria: tuple[str, ...]
