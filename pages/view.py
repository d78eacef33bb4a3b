"""What a page is made of: the documents of one release, gathered by the caller.

Boundary: no I/O, no clock; the caller reads the ledger and the blobs and says what time it is.
Invariants: a document that was not reached is None, and every page says so; nothing is computed here.
Source: pages.md; release-algorithm R3 to R9.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from contracts.approval import Approval, Evidence, SignedWaiver
from contracts.bundle import BundleManifest
from contracts.digest import Digest
from contracts.incident import Incident
from contracts.ledger_event import LedgerEvent
from contracts.migration import MigrationReport
from contracts.policy import FamilyPolicy
from contracts.registry_entry import RegistryEntry
from contracts.reports import (
    CanaryReport,
    GateReport,
    ReplayReport,
    SafetyReport,
    ScoreReport,
    StreamTimeline,
    TimingReport,
)
from contracts.rollback_packet import RollbackPacket
from contracts.train_manifest import TrainManifest

Outcome = Literal["promoted", "stopped", "waiting", "rejected", "held"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ReleaseView:
    """One release, as far as it came.

    Attributes:
        release: identity of the release (digest of family, version, payload and policy).
        events: ledger events of this release, in order.
        timeline: one consented utterance as it was streamed (TimingReport.timeline).
        migration: of a candidate whose voiceprints move to another vector space.
        waivers: what people accepted by name (GateReport.waivers, R4.2).
        incidents: closed ones whose change this release carries (Evidence.incident_changes).
        policy_changes: sentences, one a difference between this policy and the last release's (R4.7).
        stable_version, stable_bundle: what was stable when the release began: its baseline and its rollback target.
        stopped_at: the step that stopped the release, None unless `outcome` is `stopped`.
        took_s: seconds from the first event to the last.
        now: UTC time of writing, ISO 8601 with `Z`.
        links: `report`, `prefect`, `mlflow` -> address or file.
        model_card: Markdown of the bundle's MODEL_CARD.md, "" where there is none.
        rollback_packet: the bundle's; None before there is one.
        new_bytes: bytes that the store did not have before this bundle.
    """

    family: str
    version: str
    release: str
    policy: FamilyPolicy
    outcome: Outcome
    now: str
    bundle: Digest | None = None
    manifest: BundleManifest | None = None
    train: TrainManifest | None = None
    entry: RegistryEntry | None = None
    score: ScoreReport | None = None
    timing: TimingReport | None = None
    safety: SafetyReport | None = None
    gate: GateReport | None = None
    replay: ReplayReport | None = None
    migration: MigrationReport | None = None
    canary: CanaryReport | None = None
    evidence: Evidence | None = None
    timeline: StreamTimeline | None = None
    waivers: tuple[SignedWaiver, ...] = ()
    approvals: tuple[Approval, ...] = ()
    events: tuple[LedgerEvent, ...] = ()
    incidents: tuple[Incident, ...] = ()
    policy_changes: tuple[str, ...] = ()
    stable_version: str | None = None
    stable_bundle: Digest | None = None
    stopped_at: str | None = None
    took_s: float | None = None
    links: dict[str, str] = field(default_factory=dict)
    model_card: str = ""
    rollback_packet: RollbackPacket | None = None
    new_bytes: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class HistoryRow:
    """A move of the family's pointer: `kind` is promote, rollback or forward; `at` is UTC, ISO 8601."""

    version: str
    digest: Digest
    at: str
    kind: str
    actor: str


@dataclass(frozen=True, kw_only=True, slots=True)
class StatusView:
    """Where a family stands.

    Attributes:
        stable, canary, warm: (version, bundle digest).
        served: how stable is served where not by itself alone: degraded, or behind a cascade; sentences.
        history: moves of the pointer, oldest first.
        frozen: why promotions are forbidden, "" when they are not.
        review_date: when the stable bundle is due for review, ISO date, "" without a stable.
        differences: sentences where a view of the ledger (MLflow, pointer) disagrees with it.
    """

    family: str
    stable: tuple[str, Digest] | None = None
    canary: tuple[str, Digest] | None = None
    warm: tuple[tuple[str, Digest], ...] = ()
    served: tuple[str, ...] = ()
    history: tuple[HistoryRow, ...] = ()
    frozen: str = ""
    review_date: str = ""
    differences: tuple[str, ...] = ()
