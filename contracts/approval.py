"""Evidence and approval: who said yes to exactly what.

Boundary: no I/O, no clock. Source: release-algorithm R8.
Invariants: an approval names the digest of the evidence; evidence that changed has another digest, so an approval of A
can never be used for B (fault 36).
"""

from __future__ import annotations

from typing import ClassVar, Literal

from contracts.digest import Digest
from contracts.document import Document, later
from contracts.reports import Baseline

Decision = Literal["promote", "hold", "reject"]


class Evidence(Document):
    """All that an approver is shown, by digest. `rollback_target` is None for a first release.

    `incident_changes`: what closed incidents left behind and this release carries, incident -> digest of the change.
    `migration_report`: of a candidate that moves voiceprints to another vector space (contracts/migration.py).
    """

    KIND: ClassVar[str] = "evidence"

    family: str
    version: str
    bundle: Digest
    score_report: Digest
    timing_report: Digest
    safety_report: Digest
    gate_report: Digest
    replay_report: Digest
    canary_report: Digest
    policy: Digest
    previous_policy: Digest | None
    rollback_target: Digest | None
    incident_changes: dict[str, Digest] = later({})
    migration_report: Digest | None = later(None)


class SignedWaiver(Document):
    """One Inconclusive comparison, accepted by name (R4.2): it goes into the store inside a DSSE envelope.

    It holds for this payload, this policy and this (pack, slice, metric, baseline) alone: another candidate or another
    threshold needs another waiver. Fail and Error are never waived.
    """

    KIND: ClassVar[str] = "signed_waiver"

    family: str
    payload_digest: Digest
    policy: Digest
    pack: str
    slice: str
    metric: str
    baseline: Baseline = "stable"
    reason: str
    approver: str
    key_id: str
    at: str


class Approval(Document):
    """One person's decision about one evidence digest.

    `mode` is `signed` (a DSSE signature by a key of the key ring; `key_id` names it) or `ui` (typed into the
    Prefect form, which proves nothing about who typed it; counts only where `approvals.mode: ui`).
    """

    KIND: ClassVar[str] = "approval"

    family: str
    evidence: Digest
    decision: Decision
    approver: str
    mode: Literal["signed", "ui"]
    key_id: str = ""
    note: str = ""
    reviewed_slices: tuple[str, ...] = ()
    at: str
