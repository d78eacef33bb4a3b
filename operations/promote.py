"""R9 Promote: move the family's pointer to the approved bundle.

Boundary: the pointer, the ledger, the mirror.
Invariants: nothing is promoted without a whole chain of evidence and the approvals that the policy asks for; intent
before, outcome after; a frozen family, a condemned bundle, one that is not whole (fault 15) and one whose files a
collection takes (fault 29) are refused.
"""

from __future__ import annotations

from pydantic import JsonValue

from contracts.approval import Evidence
from contracts.digest import Digest, short
from contracts.errors import Corrupt, Refused
from contracts.ledger_event import LedgerEvent
from contracts.policy import FamilyPolicy
from operations import pointer
from operations.approve import require_approval
from operations.chain import unreadable
from operations.context import Context, once
from operations.migration.planning import refuse_without_index
from operations.mirror import follow
from operations.restore import refuse_broken
from registry.documents import get_document
from registry.garbage import refuse_collected

SHOWN = (
    "score_report", "timing_report", "safety_report", "gate_report", "replay_report", "canary_report", "policy",
)  # fmt: skip
"""What evidence names of its own release."""


def promote(context: Context, family: str, captured: dict[str, Digest], evidence: Digest) -> dict[str, Digest]:
    """Outputs: `bundle`, `route_table`."""
    release = captured["release"]

    def body() -> tuple[dict[str, Digest], dict[str, JsonValue]]:
        policy = get_document(context.store, FamilyPolicy, captured["policy"])
        shown = get_document(context.store, Evidence, evidence)
        approvers = require_approval(context, policy, evidence)
        _refuse_incomplete(context, shown)
        _refuse_forbidden(context, family, shown.bundle)
        seen = pointer.current(context, family)
        actor, reason = ", ".join(approvers), f"release {shown.version}"
        outputs = {"bundle": shown.bundle}
        intent = context.ledger(family).append(
            "promote",
            "start",
            at=context.timestamp(),
            release=release,
            inputs={"evidence": evidence},
            outputs=outputs,
            data={"version": shown.version, "kind": "promote", "actor": actor, "reason": reason},
        )
        _refuse_collected(context, intent)
        warm = (seen.stable,) if seen.stable else ()
        table = pointer.move(context, family, seen, stable=shown.bundle, warm=warm, actor=actor, reason=reason)
        pointer.wait_for_gateways(context, table)
        return {**outputs, "route_table": table.digest()}, pointer.settled(intent, table)

    pointer.reconcile(context, family)
    outputs = once(context, family=family, release=release, step="promote", inputs={"evidence": evidence}, body=body)
    follow(context, family)
    return outputs


def _refuse_incomplete(context: Context, shown: Evidence) -> None:
    """S1: every report that the approvers were shown can be shown again."""
    reports = {role: getattr(shown, role) for role in SHOWN}
    reports |= {"migration_report": shown.migration_report} if shown.migration_report else {}
    if faults := unreadable(context, reports):
        raise Corrupt(
            "the evidence is not whole",
            where=f"{shown.family}, evidence {short(shown.digest())}",
            got="; ".join(faults),
            expected="every report that the approvers were shown",
            next_step=f"soundcheck verify {shown.family}; restore the store from its backup, or release a new version",
        )


def _refuse_forbidden(context: Context, family: str, bundle: Digest) -> None:
    state = context.ledger(family).state()
    if state.frozen:
        raise Refused(
            "promotions are frozen",
            where=family,
            expected="an unfrozen family",
            next_step=f"soundcheck unfreeze {family}",
        )
    if bundle in state.condemned:
        raise Refused(
            "the bundle is condemned", where=family, got=bundle, expected="a bundle nobody condemned",
            next_step="release a new candidate",
        )  # fmt: skip
    refuse_without_index(context, family, bundle)
    refuse_broken(context, family, bundle, else_="restore the store from its backup, or release a new candidate")


def _refuse_collected(context: Context, intent: LedgerEvent) -> None:
    """Look for a collection of this bundle once the intent stands: one that is not before it never comes."""
    ledger = context.ledger(intent.family)
    try:
        refuse_collected(ledger.state(), intent.outputs["bundle"])
    except Refused:
        ledger.append(
            "promote", "fail", at=context.timestamp(), release=intent.release, inputs=intent.inputs,
            outputs=intent.outputs, data={**intent.data, "intent": intent.sequence},
        )  # fmt: skip
        raise
