"""R8 Approve: evidence, decisions about exactly that evidence, and whether they suffice.

Boundary: the store, the ledger, the key ring.
Invariants: an approval counts for the evidence digest it names and for no other (fault 36); a reject is final for that
evidence; an unsigned decision counts only where the policy says `mode: ui`; approvals suffice only when every high-risk
slice was reviewed by somebody who says yes (R4.6) and every waiver that the gates relied on still holds (R4.2); a
decision whose bytes are lost or damaged may be a no, so nothing is promoted beside it; whether an answer was in time is
told by when it was recorded, never by what the approver's document says (faults 36, 64); evidence whose canary was
stopped while people were asked (canary_held.py) is not approved.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import NamedTuple

from pydantic import JsonValue

from contracts.approval import Approval, Decision, Evidence
from contracts.digest import Digest, short
from contracts.errors import Corrupt, NotFound, Refused, SoundcheckError, WrongCall
from contracts.ledger_event import LedgerEvent
from contracts.policy import FamilyPolicy
from contracts.reports import GateReport, ScoreReport
from contracts.verdict import Value, Verdict
from operations import keys
from operations.context import Context, log, once, put
from operations.gate import Stopped, previous_policy
from operations.incident_change import carried
from operations.waive import holding
from registry.approvals import judge_decisions, read_approval
from registry.documents import get_document
from registry.keyring import Keyring, Position, Reason
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
        incident_changes=carried(context, family, captured["release"]),
        migration_report=steps.get("migration_report"),
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

    Refused where a signed yes leaves a high-risk slice that nobody has reviewed (R4.6); the form asks again instead. So
    is a yes to a canary that was stopped since.
    """
    release = _release_of(context, family, evidence_digest)
    if decision == "promote":
        _refuse_stopped(context, family, evidence_digest)
    if key_name and decision == "promote":
        policy = get_document(context.store, Evidence, evidence_digest).policy
        given = decisions(context, get_document(context.store, FamilyPolicy, policy), evidence_digest)
        seen = _reviewed(given) | set(reviewed_slices)
        _refuse_unreviewed(family, evidence_digest, _unreviewed(context, evidence_digest, seen))
    signer, at = keys.load(context, key_name) if key_name else None, context.timestamp()
    approval = Approval(
        family=family,
        evidence=evidence_digest,
        decision=decision,
        approver=signer.name if signer else approver,
        mode="signed" if signer else "ui",
        key_id=signer.key_id if signer else "",
        note=note,
        reviewed_slices=reviewed_slices,
        at=at,
    )
    (digest,) = put(context, approval)
    outputs = {"approval": digest}
    if signer:
        keys.require_role(context, signer, "approver")
        envelope = sign(approval, {family: evidence_digest}, APPROVAL_TYPE, signer)
        outputs["signature"] = context.store.put_blob(envelope)
    context.ledger(family).append(
        "approve", "complete", at=at, release=release, inputs={"evidence": evidence_digest},
        outputs=outputs, data={"decision": decision, "approver": approval.approver, "mode": approval.mode},
    )  # fmt: skip
    return digest


class Given(NamedTuple):
    """A decision that counts, and the event that records it."""

    approval: Approval
    event: LedgerEvent


class Decisions(NamedTuple):
    """What the ledger has of the decisions about one evidence, oldest first.

    `uncounted`: in sentences, those that do not count, for their signature or their subject. `unreadable`: in
    sentences, those whose bytes are lost or damaged, so that nobody knows what they say.
    """

    given: tuple[Given, ...]
    uncounted: tuple[str, ...]
    unreadable: tuple[str, ...]

    @property
    def approvals(self) -> list[Approval]:
        """What was decided."""
        return [one.approval for one in self.given]


def read_decisions(
    context: Context,
    policy: FamilyPolicy,
    evidence_digest: Digest,
    events: Sequence[LedgerEvent],
    *,
    kept: Collection[Reason] | None = None,
) -> Decisions:
    """The decisions about this evidence among these events of the family's ledger.

    An unsigned one counts only where the policy says so (R8.2). `kept` as in `read_approval`. Raises DependencyFailed
    where the store does not answer: an unread decision may be a no.
    """
    keyring = keys.ring(context)
    given, uncounted, unreadable = [], [], []
    for event in events:
        role = _speaking(event)
        about = event.step == "approve" and event.inputs.get("evidence") == evidence_digest
        if not about or not (role == "signature" or policy.approvals.mode == "ui"):
            continue
        try:
            content = context.store.read_blob(event.outputs[role])
        except (Corrupt, NotFound) as error:
            unreadable.append(f"event {event.sequence}, {role} {short(event.outputs[role])}: {error.what}")
            continue
        try:
            approval = _decision(content, event, evidence_digest, keyring, kept)
        except SoundcheckError as error:
            uncounted.append(f"event {event.sequence}: a decision does not count: {error.what}")
            continue
        given.append(Given(approval, event))
    return Decisions(tuple(given), tuple(uncounted), tuple(unreadable))


def _speaking(event: LedgerEvent) -> str:
    """The output that says what was decided: the signed envelope where there is one."""
    return "signature" if "signature" in event.outputs else "approval"


def _decision(
    content: bytes, event: LedgerEvent, evidence_digest: Digest, keyring: Keyring, kept: Collection[Reason] | None
) -> Approval:
    if _speaking(event) == "signature":
        at = Position(event.family, event.sequence)
        return read_approval(content, evidence_digest, keyring, at=at, kept=kept)
    approval = Approval.parse(content, where=f"event {event.sequence}")
    if approval.evidence != evidence_digest:
        raise Refused("it is about other evidence", got=short(approval.evidence), expected=short(evidence_digest))
    return approval


def _decisions(context: Context, policy: FamilyPolicy, evidence_digest: Digest) -> Decisions:
    """All that were recorded until now; what does not count is named in the log."""
    found = read_decisions(context, policy, evidence_digest, context.ledger(policy.family).events())
    for sentence in found.uncounted:
        log.warning("%s", sentence)
    return found


def decisions(context: Context, policy: FamilyPolicy, evidence_digest: Digest) -> list[Approval]:
    """The decisions about this evidence that count, oldest first."""
    return _decisions(context, policy, evidence_digest).approvals


def outcome(context: Context, policy: FamilyPolicy, evidence_digest: Digest) -> Decision | None:
    """promote, hold or reject as the decisions stand, None while more are needed (R8.3).

    Raises Stopped (Inconclusive) where a decision cannot be read, unless one that can be read is a rejection.
    """
    found = _decisions(context, policy, evidence_digest)
    given = found.approvals
    verdict = judge_decisions(
        given, quorum=_quorum(context, policy), mandatory=policy.approvals.mandatory, builder=keys.BUILDER,
        unreadable=found.unreadable,
    )  # fmt: skip
    if verdict.value == Value.FAIL:
        return "reject"
    if found.unreadable:
        raise _stopped(
            context, policy.family, _release_of(context, policy.family, evidence_digest), evidence_digest, verdict,
            "put the blob back from the store's backup (soundcheck verify names it), or release a new version",
        )  # fmt: skip
    if verdict.value == Value.PASS:
        missing = _unreviewed(context, evidence_digest, _reviewed(given))
        if missing:
            log.warning("not approved yet: nobody who says yes has reviewed %s (R4.6)", ", ".join(missing))
        return None if missing else "promote"
    return "hold" if given and given[-1].decision == "hold" else None


def _quorum(context: Context, policy: FamilyPolicy) -> int:
    """Approvals that are needed: what the policy asks for, and never fewer than the key ring does."""
    return max(policy.approvals.quorum, keys.ring(context).quorums.approver)


def rejection(context: Context, policy: FamilyPolicy, release: Digest, evidence_digest: Digest) -> Stopped:
    """The refusal that ends a rejected release: by whom and why."""
    said = [row for row in decisions(context, policy, evidence_digest) if row.decision == "reject"]
    reasons = tuple(f"rejected by {row.approver}: {row.note or 'no reason given'}" for row in said)
    verdict = Verdict(value=Value.FAIL, reasons=reasons)
    next_step = "release another candidate; this evidence stays rejected"
    return _stopped(context, policy.family, release, evidence_digest, verdict, next_step)


def _stopped(
    context: Context, family: str, release: Digest, evidence_digest: Digest, verdict: Verdict, next_step: str
) -> Stopped:
    version = get_document(context.store, Evidence, evidence_digest).version
    return Stopped("approve", verdict, family=family, version=version, release=release, next_step=next_step)


def require_approval(context: Context, policy: FamilyPolicy, evidence_digest: Digest) -> list[str]:
    """Names of those who said yes; Refused when that is not enough, or too late (R8.1)."""
    _refuse_stopped(context, policy.family, evidence_digest)
    decision = outcome(context, policy, evidence_digest)
    found = _decisions(context, policy, evidence_digest).given
    given = [one for one in found if one.approval.decision == "promote"]
    if given:
        seen = _reviewed([one.approval for one in given])
        _refuse_unreviewed(policy.family, evidence_digest, _unreviewed(context, evidence_digest, seen))
    if decision != "promote":
        raise Refused(
            f"the evidence is not approved ({decision or 'no answer yet'})",
            where=f"{policy.family}, evidence {short(evidence_digest)}",
            expected=f"{_quorum(context, policy)} approval(s)",
            next_step=f"soundcheck approve {policy.family} --key KEY --evidence {evidence_digest} --decision promote",
        )
    _refuse_lapsed_waivers(context, policy.family, evidence_digest)
    _refuse_late(context, policy, given[-1].event)
    return sorted({one.approval.approver for one in given})


def _refuse_stopped(context: Context, family: str, evidence_digest: Digest) -> None:
    stop = _stop_since(context.ledger(family).events(), evidence_digest)
    if stop is not None:
        reasons = stop.data["reasons"]
        assert isinstance(reasons, list)
        raise Refused(
            "the canary was stopped while its approval was awaited",
            where=f"{family}, evidence {short(evidence_digest)}",
            got="; ".join(map(str, reasons)),
            expected="a canary that holds until it is promoted",
            next_step="read the canary's evidence in the release report; release another candidate",
        )


def _stop_since(events: Sequence[LedgerEvent], evidence_digest: Digest) -> LedgerEvent | None:
    """The event by which the canary of this evidence was stopped after people were asked about it."""
    asked: LedgerEvent | None = None
    for event in events:
        if event.step == "request_approval" and event.outputs.get("evidence") == evidence_digest:
            asked = event
        elif asked and event.release == asked.release and event.step == "canary" and event.outcome == "complete":
            return event if event.data["decision"] != "promote" else None
    return None


def _refuse_late(context: Context, policy: FamilyPolicy, decided: LedgerEvent) -> None:
    waited_s = _waited_s(context, decided)
    if waited_s > policy.approvals.timeout_s:
        raise Refused(
            "the approval came too late, which counts as a rejection",
            where=f"{policy.family}, evidence {short(decided.inputs['evidence'])}",
            got=f"{waited_s:.0f} s after it was asked for",
            expected=f"within {policy.approvals.timeout_s:g} s (approvals.timeout_s)",
            next_step="release again, so that the evidence is fresh",
        )


def _waited_s(context: Context, decided: LedgerEvent) -> float:
    """Seconds from the request to the answer, as the ledger recorded them or as the store dated them, if that is more.

    The machine that records an answer may be the approver's, and its clock may be slow; the store's clock is one for
    all, but a store that was copied has lost its dates.
    """
    evidence = decided.inputs["evidence"]
    asked = next(
        event
        for event in context.ledger(decided.family).events()
        if event.step == "request_approval" and event.outputs.get("evidence") == evidence
    )
    recorded_s = (datetime.fromisoformat(decided.at) - datetime.fromisoformat(asked.at)).total_seconds()
    question, reply = (context.store.blob_info(digest) for digest in (evidence, decided.outputs[_speaking(decided)]))
    return max(recorded_s, reply.modified_s - question.modified_s) if question and reply else recorded_s


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
    """The newest evidence that nobody has decided about and whose canary holds, None when nothing waits."""
    asked: Digest | None = None
    events = context.ledger(family).events()
    for event in events:
        if event.step == "request_approval":
            asked = event.outputs["evidence"]
        elif event.step in ("approve", "promote") and event.inputs.get("evidence") == asked:
            asked = None
    return asked if asked and _stop_since(events, asked) is None else None
