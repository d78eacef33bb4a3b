"""The approval policy: are these signed decisions enough for this evidence, and which signed waivers count?

Boundary: no I/O, no clock; envelopes and keyring in, verdict out.
Invariants: a decision counts only where its signature verifies, its key is enrolled as approver and counts (it is not
revoked, or was retired or superseded after the decision stood in the ledger), and both its subject and its text name
exactly this evidence; a waiver likewise, for exactly this payload and policy; people are counted, not keys and not
signatures; the builder is never the only approver; reject is final; what does not count is named in the reasons and
blocks nobody else; a decision whose bytes are lost or damaged may be a rejection, so nothing passes beside it.
Source: release-algorithm R4.2, R8.1 to R8.3; fault 36.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from contracts.approval import Approval, SignedWaiver
from contracts.digest import Digest, short
from contracts.errors import Refused
from contracts.verdict import Value, Verdict
from registry.envelopes import APPROVAL_TYPE, WAIVER_TYPE, Statement, verify_envelope
from registry.keyring import Keyring, Position, Reason


def read_approval(
    envelope: bytes,
    evidence: Digest,
    keyring: Keyring,
    *,
    at: Position | None = None,
    kept: Collection[Reason] | None = None,
) -> Approval:
    """One signed decision about this evidence; raises Refused or Corrupt for one that does not count.

    Args:
        at: where it stands in the ledger: what a key signed before it was revoked may count.
        kept: the reasons of a revocation that leave it standing; None: those that the key ring keeps for new decisions.
    """
    statement = _by_approver(envelope, keyring, APPROVAL_TYPE, evidence, at, kept)
    approval = statement.document(Approval)
    if approval.evidence != evidence or list(statement.subjects.values()) != [evidence]:
        raise Refused(
            f"{statement.signers[0].name} decided about other evidence",
            got=short(approval.evidence),
            expected=short(evidence),
        )
    _check_signer(statement, approval, "a decision names another approver than its signature")
    return approval


def read_waiver(
    envelope: bytes, *, payload: Digest, policy: Digest, keyring: Keyring, at: Position | None = None
) -> SignedWaiver:
    """One signed waiver for this payload under this policy; raises Refused or Corrupt for one that does not count."""
    statement = _by_approver(envelope, keyring, WAIVER_TYPE, payload, at)
    waiver = statement.document(SignedWaiver)
    if waiver.payload_digest != payload or list(statement.subjects.values()) != [payload]:
        raise Refused("a waiver is for another payload", got=short(waiver.payload_digest), expected=short(payload))
    if waiver.policy != policy:
        raise Refused("a waiver is for another policy", got=short(waiver.policy), expected=short(policy))
    _check_signer(statement, waiver, "a waiver names another approver than its signature")
    return waiver


def _by_approver(
    envelope: bytes,
    keyring: Keyring,
    predicate_type: str,
    subject: Digest,
    at: Position | None,
    kept: Collection[Reason] | None = None,
) -> Statement:
    return verify_envelope(
        envelope, keyring, role="approver", predicate_type=predicate_type, subject=subject, at=at,
        kept=keyring.decisions_kept() if kept is None else kept,
    )  # fmt: skip


def counting_waivers(waivers: Iterable[SignedWaiver], *, builder: str) -> list[SignedWaiver]:
    """Those that hold, in order: none of a comparison that the builder alone has waived (R8.2)."""
    given = list(waivers)
    by_others = {_waived(waiver) for waiver in given if waiver.approver != builder}
    return [waiver for waiver in given if _waived(waiver) in by_others]


def _waived(waiver: SignedWaiver) -> tuple[str, ...]:
    comparison = waiver.pack, waiver.slice, waiver.metric, waiver.baseline
    return waiver.payload_digest, waiver.policy, *comparison


def _check_signer(statement: Statement, said: Approval | SignedWaiver, wrong: str) -> None:
    """One signature, by whom the document names."""
    signer = statement.signers[0]
    if len(statement.signers) != 1 or (said.approver, said.key_id) != (signer.name, signer.key_id):
        raise Refused(
            wrong,
            got=f"{said.approver!r}, key {short(said.key_id)}",
            expected=f"{signer.name!r}, key {short(signer.key_id)}",
        )


def judge_decisions(
    decisions: Iterable[Approval],
    *,
    quorum: int,
    mandatory: Sequence[str] = (),
    builder: str = "",
    unreadable: Sequence[str] = (),
) -> Verdict:
    """Whether decisions about one evidence (oldest first, signatures checked) approve it.

    Pass: `quorum` people say promote, every mandatory one among them, and not the builder alone (R8.2, R8.3). Fail:
    one of them said reject. Inconclusive: more is needed, or a decision is `unreadable` (in sentences); the reasons say
    what. A person's last decision counts, but a rejection is not taken back.
    """
    last: dict[str, Approval] = {}
    for approval in decisions:
        before = last.get(approval.approver)
        if before is None or before.decision != "reject":
            last[approval.approver] = approval
    value, reasons = _judge(last, quorum, mandatory, builder)
    if unreadable and value != Value.FAIL:
        value, reasons = Value.INCONCLUSIVE, [f"a decision cannot be read: {one}" for one in unreadable]
    return Verdict(value=value, reasons=tuple(reasons))


def _judge(
    decisions: dict[str, Approval], quorum: int, mandatory: Sequence[str], builder: str
) -> tuple[Value, list[str]]:
    rejecting = sorted(name for name, approval in decisions.items() if approval.decision == "reject")
    if rejecting:
        return Value.FAIL, [f"rejected by {', '.join(rejecting)}"]
    promoting = sorted(name for name, approval in decisions.items() if approval.decision == "promote")
    holding = sorted(name for name, approval in decisions.items() if approval.decision == "hold")
    absent = sorted(set(mandatory) - set(promoting))
    reasons = []
    if len(promoting) < max(1, quorum):
        reasons.append(f"{len(promoting)} of {max(1, quorum)} approvals")
    if absent:
        reasons.append(f"the approval of {', '.join(absent)} is mandatory")
    if promoting and set(promoting) == {builder}:
        reasons.append(f"{builder} built this bundle and cannot be its only approver")
    if holding:
        reasons.append(f"held by {', '.join(holding)}")
    if reasons:
        return Value.INCONCLUSIVE, reasons
    return Value.PASS, [f"approved by {', '.join(promoting)}"]
