"""R8 Approve: evidence, decisions about exactly that evidence, and whether they suffice.

Boundary: the store, the ledger, the key ring.
Invariants: an approval counts for the evidence digest it names and for no other (fault 36); a reject is final for that
evidence; an unsigned decision counts only where the policy says `mode: ui`; approvals suffice only when every high-risk
slice was reviewed by somebody who says yes (R4.6) and every waiver that the gates relied on still holds (R4.2).
"""

from __future__ import annotations

import shlex
from datetime import datetime

from pydantic import JsonValue

from contracts.approval import Approval, Decision, Evidence
from contracts.digest import Digest, short
from contracts.errors import DependencyFailed, Refused, SoundcheckError, WrongCall
from contracts.policy import FamilyPolicy
from contracts.reports import GateReport, ScoreReport
from contracts.verdict import Value, Verdict
from operations import keys
from operations.context import Context, log, once, put
from operations.gate import Stopped, previous_policy
from operations.waive import holding
from registry.approvals import judge_decisions, read_approval
from registry.documents import get_document
from registry.keyring import Position
from registry.signing import APPROVAL_TYPE, sign


def evidence(
    context: Context, family: str, captured: dict[str, Digest], steps: dict[str, Digest], version: str
) -> Digest:
    """Gather what the approver is shown; the event `request_approval` names it. Returns the evidence digest."""
    document = Evidence(
        family=family,
        version=version,
        bundle=steps["bundle"],
        score_report=steps["score_report"],
        timing_report=steps["timing_report"],
        safety_report=steps["safety_report"],
        gate_report=steps["gate_report"],
        replay_report=steps["replay_report"],
        canary_report=steps["canary_report"],
        policy=captured["policy"],
        previous_policy=previous_policy(context, family),
        rollback_target=context.ledger(family).state().current,
    )

    def body() -> tuple[dict[str, Digest], dict[str, JsonValue]]:
        (digest,) = put(context, document)
        return {"evidence": digest}, {"version": version}

    inputs = {"bundle": document.bundle, "canary_report": document.canary_report, "evidence": document.digest()}
    outputs = once(
        context, family=family, release=captured["release"], step="request_approval", inputs=inputs, body=body
    )
    return outputs["evidence"]


def record(
    context: Context,
    family: str,
    evidence_digest: Digest,
    *,
    decision: Decision,
    approver: str = "",
    key_name: str | None = None,
    note: str = "",
    reviewed_slices: tuple[str, ...] = (),
) -> Digest:
    """Write a decision into the ledger; signed by the named key, else unsigned, as the form gives it.

    Refused where a signed yes leaves a high-risk slice that nobody has reviewed (R4.6); the form asks again instead.
    """
    release = _release_of(context, family, evidence_digest)
    if key_name and decision == "promote":
        policy = get_document(context.store, Evidence, evidence_digest).policy
        given = decisions(context, get_document(context.store, FamilyPolicy, policy), evidence_digest)
        seen = _reviewed(given) | set(reviewed_slices)
        _refuse_unreviewed(family, evidence_digest, _unreviewed(context, evidence_digest, seen))
    signer = keys.load(context, key_name) if key_name else None
    approval = Approval(
        family=family,
        evidence=evidence_digest,
        decision=decision,
        approver=signer.name if signer else approver,
        mode="signed" if signer else "ui",
        key_id=signer.key_id if signer else "",
        note=note,
        reviewed_slices=reviewed_slices,
        at=context.timestamp(),
    )
    (digest,) = put(context, approval)
    outputs = {"approval": digest}
    if signer:
        keys.require_role(context, signer, "approver")
        envelope = sign(approval, {family: evidence_digest}, APPROVAL_TYPE, signer)
        outputs["signature"] = context.store.put_blob(envelope)
    context.ledger(family).append(
        "approve", "complete", at=context.timestamp(), release=release, inputs={"evidence": evidence_digest},
        outputs=outputs, data={"decision": decision, "approver": approval.approver, "mode": approval.mode},
    )  # fmt: skip
    return digest


def decisions(context: Context, policy: FamilyPolicy, evidence_digest: Digest) -> list[Approval]:
    """The decisions about this evidence that count, oldest first.

    A signature that does not verify is named in the log and left out; an unsigned decision counts only where the
    policy says so (R8.2).
    """
    found, keyring = [], keys.ring(context)
    for event in context.ledger(policy.family).events():
        if event.step != "approve" or event.inputs.get("evidence") != evidence_digest:
            continue
        if "signature" in event.outputs:
            at = Position(policy.family, event.sequence)
            try:
                envelope = context.store.read_blob(event.outputs["signature"])
                found.append(read_approval(envelope, evidence_digest, keyring, at=at))
            except DependencyFailed:
                raise  # an unread decision may be a no
            except SoundcheckError as error:
                log.warning("event %d: a signed decision does not count: %s", event.sequence, error.what)
        elif policy.approvals.mode == "ui":
            found.append(get_document(context.store, Approval, event.outputs["approval"]))
    return found


def outcome(context: Context, policy: FamilyPolicy, evidence_digest: Digest) -> Decision | None:
    """promote, hold or reject as the decisions stand, None while more are needed (R8.3)."""
    given = decisions(context, policy, evidence_digest)
    verdict = judge_decisions(
        given, quorum=_quorum(context, policy), mandatory=policy.approvals.mandatory, builder=keys.BUILDER
    )
    if verdict.value == Value.PASS:
        missing = _unreviewed(context, evidence_digest, _reviewed(given))
        if missing:
            log.warning("not approved yet: nobody who says yes has reviewed %s (R4.6)", ", ".join(missing))
        return None if missing else "promote"
    if verdict.value == Value.FAIL:
        return "reject"
    return "hold" if given and given[-1].decision == "hold" else None


def _quorum(context: Context, policy: FamilyPolicy) -> int:
    """Approvals that are needed: what the policy asks for, and never fewer than the key ring does."""
    return max(policy.approvals.quorum, keys.ring(context).quorums.approver)


def rejection(context: Context, policy: FamilyPolicy, release: Digest, evidence_digest: Digest) -> Stopped:
    """The refusal that ends a rejected release: by whom and why."""
    said = [row for row in decisions(context, policy, evidence_digest) if row.decision == "reject"]
    reasons = tuple(f"rejected by {row.approver}: {row.note or 'no reason given'}" for row in said)
    version = get_document(context.store, Evidence, evidence_digest).version
    return Stopped(
        "approve", Verdict(value=Value.FAIL, reasons=reasons), family=policy.family, version=version, release=release,
        next_step="release another candidate; this evidence stays rejected",
    )  # fmt: skip


def require_approval(context: Context, policy: FamilyPolicy, evidence_digest: Digest) -> list[str]:
    """Names of those who said yes; Refused when that is not enough, or too late (R8.1)."""
    decision = outcome(context, policy, evidence_digest)
    given = [row for row in decisions(context, policy, evidence_digest) if row.decision == "promote"]
    if given:
        _refuse_unreviewed(policy.family, evidence_digest, _unreviewed(context, evidence_digest, _reviewed(given)))
    if decision != "promote":
        raise Refused(
            f"the evidence is not approved ({decision or 'no answer yet'})",
            where=f"{policy.family}, evidence {short(evidence_digest)}",
            expected=f"{_quorum(context, policy)} approval(s)",
            next_step=f"soundcheck approve {policy.family} --key KEY --evidence {evidence_digest} --decision promote",
        )
    _refuse_lapsed_waivers(context, policy.family, evidence_digest)
    asked = next(
        event.at
        for event in context.ledger(policy.family).events()
        if event.step == "request_approval" and event.outputs.get("evidence") == evidence_digest
    )
    waited_s = (datetime.fromisoformat(given[-1].at) - datetime.fromisoformat(asked)).total_seconds()
    if waited_s > policy.approvals.timeout_s:
        raise Refused(
            "the approval came too late, which counts as a rejection",
            where=f"{policy.family}, evidence {short(evidence_digest)}",
            got=f"{waited_s:.0f} s after it was asked for",
            expected=f"within {policy.approvals.timeout_s:g} s (approvals.timeout_s)",
            next_step="release again, so that the evidence is fresh",
        )
    return sorted({row.approver for row in given})


def _reviewed(given: list[Approval]) -> set[str]:
    """The slices that those who say yes have looked at."""
    return {name for row in given if row.decision == "promote" for name in row.reviewed_slices}


def _unreviewed(context: Context, evidence_digest: Digest, seen: set[str]) -> list[str]:
    """High-risk slices that are not among those seen; `pack/slice`, or the slice alone, names one."""
    shown = get_document(context.store, Evidence, evidence_digest)
    wanted = get_document(context.store, GateReport, shown.gate_report).manual_review
    return [name for name in wanted if name not in seen and name.partition("/")[2] not in seen]


def _refuse_unreviewed(family: str, evidence_digest: Digest, missing: list[str]) -> None:
    if missing:
        yes = f"soundcheck approve {family} --key KEY --evidence {evidence_digest} --decision promote"
        raise Refused(
            "high-risk slices were not reviewed",
            where=f"{family}, evidence {short(evidence_digest)}",
            got=", ".join(missing),
            expected="each looked at by a person who says yes (R4.6)",
            next_step=" ".join([yes, *(f"--reviewed {shlex.quote(name)}" for name in missing)]),
        )


def _refuse_lapsed_waivers(context: Context, family: str, evidence_digest: Digest) -> None:
    """The gates may have relied on a waiver whose key was revoked since (R4.2)."""
    shown = get_document(context.store, Evidence, evidence_digest)
    payload = get_document(context.store, ScoreReport, shown.score_report).payload_digest
    relied = get_document(context.store, GateReport, shown.gate_report).waivers
    lapsed = set(relied) - set(holding(context, family, payload=payload, policy=shown.policy))
    if lapsed:
        raise Refused(
            "a waiver that the gates relied on no longer holds",
            where=f"{family}, evidence {short(evidence_digest)}",
            got=", ".join(sorted(short(digest) for digest in lapsed)),
            expected="waivers signed by approvers whose keys are not revoked",
            next_step=f"soundcheck release {family}, so that the gates judge again",
        )


def _release_of(context: Context, family: str, evidence_digest: Digest) -> str:
    for event in reversed(context.ledger(family).events()):
        if event.step == "request_approval" and event.outputs.get("evidence") == evidence_digest:
            return event.release
    waiting = waiting_evidence(context, family)
    raise WrongCall(
        "no release of this family asks for that approval",
        where=family,
        got=evidence_digest,
        expected=waiting or "nothing waits for approval",
        next_step="copy the evidence digest from the form or from `soundcheck status`",
    )


def waiting_evidence(context: Context, family: str) -> Digest | None:
    """The newest evidence nobody has decided about, None when nothing waits."""
    asked: Digest | None = None
    for event in context.ledger(family).events():
        if event.step == "request_approval":
            asked = event.outputs["evidence"]
        elif event.step in ("approve", "promote") and event.inputs.get("evidence") == asked:
            asked = None
    return asked
