"""Documents gathered for people: one release, or where a family stands.

Boundary: reads the store and the ledger; writes nothing.
Invariants: a step that was not reached is None; everything shown comes from a document that the ledger names.
"""

from __future__ import annotations

from datetime import datetime
from typing import TypeVar

from contracts.approval import Approval, Evidence, SignedWaiver
from contracts.bundle import BundleManifest
from contracts.digest import Digest, short
from contracts.document import Document
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
from contracts.routing import RouteTable
from contracts.train_manifest import TrainManifest
from operations import pointer
from operations.approve import waiting_evidence
from operations.context import Context
from operations.incident import find
from operations.restore import mirror_differences
from operations.rollback_packet import packet_of
from pages.view import HistoryRow, Outcome, ReleaseView, StatusView
from registry.documents import get_document
from registry.release_state import ReleaseState

Found = TypeVar("Found", bound=Document)


def release_view(context: Context, family: str, release: str, links: dict[str, str] | None = None) -> ReleaseView:
    """Everything known about one release."""
    events = tuple(event for event in context.ledger(family).events() if event.release == release)
    done = {event.step: event for event in events if event.outcome == "complete" or "verdict" in event.data}

    def document(kind: type[Found], step: str, role: str) -> Found | None:
        digest = done[step].outputs.get(role) if step in done else None
        return get_document(context.store, kind, digest) if digest else None

    policy = get_document(context.store, FamilyPolicy, done["capture"].outputs["policy"])
    gate = document(GateReport, "gate", "gate_report")
    timing = document(TimingReport, "score", "timing_report")
    approvals = [event for event in events if event.step == "approve"]
    bundle = done["package"].outputs["bundle"] if "package" in done else None
    evidence = document(Evidence, "request_approval", "evidence")
    state = context.ledger(family).state()
    stable = done["score"].inputs.get("stable") if "score" in done else _stable_before(state, events[0])
    outcome, stopped_at = _outcome(events, done, approvals)
    manifest = get_document(context.store, BundleManifest, bundle) if bundle else None
    return ReleaseView(
        family=family,
        version=str(done["capture"].data["version"]),
        release=release,
        policy=policy,
        outcome=outcome,
        now=context.timestamp(),
        bundle=bundle,
        manifest=manifest,
        train=document(TrainManifest, "capture", "train_manifest"),
        entry=document(RegistryEntry, "register", "registry_entry"),
        score=_as_gated(document(ScoreReport, "score", "score_report"), gate),
        timing=timing,
        safety=document(SafetyReport, "score", "safety_report"),
        gate=gate,
        replay=document(ReplayReport, "stage", "replay_report"),
        migration=_migration(context, events),
        canary=document(CanaryReport, "canary", "canary_report"),
        evidence=evidence,
        timeline=get_document(context.store, StreamTimeline, timing.timeline) if timing and timing.timeline else None,
        approvals=tuple(get_document(context.store, Approval, event.outputs["approval"]) for event in approvals),
        events=events,
        incidents=tuple(find(context, name) for name in (evidence.incident_changes if evidence else ())),
        policy_changes=gate.policy_changes if gate else (),
        waivers=tuple(get_document(context.store, SignedWaiver, digest) for digest in (gate.waivers if gate else ())),
        stable_version=state.packaged.get(stable) if stable else None,
        stable_bundle=stable,
        stopped_at=stopped_at,
        took_s=(datetime.fromisoformat(events[-1].at) - datetime.fromisoformat(events[0].at)).total_seconds(),
        links=links or {},
        model_card=context.store.read_blob(done["capture"].outputs["model_card"]).decode(),
        rollback_packet=packet_of(context, manifest, done["package"]) if manifest else None,
        new_bytes=_new_bytes(done["capture"], done["package"]) if "package" in done else None,
    )


def _stable_before(state: ReleaseState, first: LedgerEvent) -> Digest | None:
    """What was stable when a release began that was stopped before it was compared with anything."""
    earlier = [move.bundle for move in state.history if move.sequence < first.sequence]
    return earlier[-1] if earlier else None


def _migration(context: Context, events: tuple[LedgerEvent, ...]) -> MigrationReport | None:
    """What the newest migration found, whether it may go on or not."""
    found = [event.outputs["migration_report"] for event in events if "migration_report" in event.outputs]
    return get_document(context.store, MigrationReport, found[-1]) if found else None


def _as_gated(score: ScoreReport | None, gate: GateReport | None) -> ScoreReport | None:
    """The scores as the gates saw them: a saving may have widened margins."""
    if score is None or gate is None or not gate.exchanged:
        return score
    changed = {(row.pack, row.slice, row.metric, row.baseline): row for row in gate.exchanged}
    rows = (changed.get((row.pack, row.slice, row.metric, row.baseline), row) for row in score.comparisons)
    return score.model_copy(update={"comparisons": tuple(rows)})


def _new_bytes(*events: LedgerEvent) -> int:
    """Bytes that the store did not have before the release: the payload's at capture, the rest when it was frozen."""
    return sum(int(str(event.data.get("new_bytes", 0))) for event in events)


def _outcome(
    events: tuple[LedgerEvent, ...], done: dict[str, LedgerEvent], approvals: list[LedgerEvent]
) -> tuple[Outcome, str | None]:
    if "promote" in done:
        return "promoted", None
    last = {
        event.step: event for event in events if event.outcome != "start"
    }  # a step that was tried again counts once
    for event in sorted(last.values(), key=lambda event: -event.sequence):
        if event in approvals and event.data["decision"] != "promote":
            return ("rejected" if event.data["decision"] == "reject" else "held"), "approve"
        if event.data.get("verdict", "pass") != "pass" or event.outcome == "fail":
            return "stopped", event.step
    return "waiting", None


def status_view(context: Context, family: str) -> StatusView:
    """Where a family stands."""
    state = context.ledger(family).state()
    table = pointer.current(context, family).table

    def named(bundle: Digest) -> tuple[str, Digest]:
        return state.packaged.get(bundle, short(bundle)), bundle

    return StatusView(
        family=family,
        stable=named(table.stable) if table and table.stable else None,
        canary=named(table.canary.bundle) if table and table.canary else None,
        warm=tuple(named(bundle) for bundle in table.warm) if table else (),
        served=_served(table) if table else (),
        history=tuple(
            HistoryRow(version=move.version, digest=move.bundle, at=move.at, kind=move.kind, actor=move.actor)
            for move in state.history
        ),
        frozen="promotions are forbidden until somebody unfreezes the family" if state.frozen else "",
        review_date=_review_date(context, table.stable) if table and table.stable else "",
        differences=(*_pointer_differences(state.current, table.stable if table else None),
                     *mirror_differences(context, family)),
    )  # fmt: skip


def _served(table: RouteTable) -> tuple[str, ...]:
    """How stable is served where not by itself alone (coverage rows 23 and 29)."""
    return tuple(arrangement.in_words() for arrangement in (table.degradation, table.cascade) if arrangement)


def _pointer_differences(ledger: Digest | None, table: Digest | None) -> list[str]:
    if ledger == table:
        return []
    return [
        f"the pointer says {table or 'none'}, the ledger {ledger or 'none'}: run any release or rollback to reconcile"
    ]


def _review_date(context: Context, bundle: Digest) -> str:
    entry = get_document(context.store, BundleManifest, bundle).files["registry_entry.json"]
    return RegistryEntry.parse(context.store.read_blob(entry.sha256)).review_date


def status_json(context: Context, family: str) -> dict[str, object]:
    """`soundcheck status FAMILY --json`: the same facts for programs; digests are whole."""
    view = status_view(context, family)
    waiting = waiting_evidence(context, family)

    def named(pair: tuple[str, Digest] | None) -> dict[str, str] | None:
        return {"version": pair[0], "bundle": pair[1]} if pair else None

    return {
        "family": family,
        "stable": named(view.stable),
        "canary": named(view.canary),
        "warm": [named(pair) for pair in view.warm],
        "served": list(view.served),
        "history": [
            {"version": row.version, "bundle": row.digest, "at": row.at, "kind": row.kind, "actor": row.actor}
            for row in view.history
        ],
        "frozen": bool(view.frozen),
        "review_date": view.review_date or None,
        "waiting_for_approval": waiting,
        "differences": list(view.differences),
    }
