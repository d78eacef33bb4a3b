"""S1 The chain of documents behind a bundle: train manifest, entry, scores, bundle, and the approval that promoted it.

Boundary: the store, the ledger and the key ring; reads only.
Invariants: a link that is missing, damaged or signed by nobody who had the right is named by its role and digest; a
store that does not answer says nothing about a bundle. An approver whose key was revoked later, for whatever reason,
had the right at that place of the ledger: the bundle stays restorable, and a compromise is said in the log. What
approvers were shown beside the chain (timings, replay, canary) is `soundcheck verify`'s to read: a bundle is not
condemned for it in the middle of a rollback.
Source: release-algorithm S1, B3, R8.
"""

from __future__ import annotations

from contracts.approval import Approval, Evidence
from contracts.digest import Digest, short
from contracts.errors import DependencyFailed, SoundcheckError
from contracts.ledger_event import LedgerEvent
from contracts.policy import FamilyPolicy
from contracts.verdict import Value
from operations import keys
from operations.approve import read_decisions
from operations.attest import attestation_faults
from operations.context import Context, log
from registry.approvals import judge_decisions
from registry.documents import get_document
from registry.keyring import EVERY_REASON


def chain_faults(context: Context, family: str, bundle: Digest) -> list[str]:
    """What is wrong with the chain behind a bundle, in sentences; [] when every link is there and holds.

    1. Every document that it was packaged from is there and whole.
    2. The builder's signature, provenance and scores hold.
    3. Where it was promoted: the newest promotion names evidence about this bundle, and signed decisions that stood in
       the ledger before it approve exactly that evidence.
    """
    events = context.ledger(family).events()
    about = [event for event in events if event.outputs.get("bundle") == bundle and event.outcome == "complete"]
    package = next((event for event in about if event.step == "package"), None)
    if package is None:
        return ["the ledger has no package event for it"]
    faults = unreadable(context, package.inputs) + attestation_faults(context, package)  # 1, 2
    promotions = [event for event in about if event.step == "promote"]
    return faults + (_approval_faults(context, promotions[-1]) if promotions else [])  # 3


def unreadable(context: Context, documents: dict[str, Digest]) -> list[str]:
    """Which of these (role -> digest) are missing or damaged, in sentences."""
    faults = []
    for role, digest in sorted(documents.items()):
        try:
            context.store.read_blob(digest)
        except DependencyFailed:
            raise  # no answer says nothing about a bundle: who asks again may find it whole
        except SoundcheckError as error:
            faults.append(f"{role} {short(digest)}: {error.what}")
    return faults


def _approval_faults(context: Context, promotion: LedgerEvent) -> list[str]:
    evidence = promotion.inputs.get("evidence")
    if evidence is None:
        return [f"evidence: the promotion (event {promotion.sequence}) names none"]
    try:
        shown = get_document(context.store, Evidence, evidence)
        policy = get_document(context.store, FamilyPolicy, shown.policy)
    except DependencyFailed:
        raise
    except SoundcheckError as error:
        return [f"evidence {short(evidence)}: {error.what}"]
    if (shown.family, shown.bundle) != (promotion.family, promotion.outputs["bundle"]):
        return [f"evidence {short(evidence)}: it is about another bundle ({short(shown.bundle)})"]
    return _decision_faults(context, promotion, evidence, policy)


def _decision_faults(context: Context, promotion: LedgerEvent, evidence: Digest, policy: FamilyPolicy) -> list[str]:
    """The decisions that stood in the ledger when the promotion began, judged as they were then."""
    began = promotion.data.get("intent")
    before = context.ledger(promotion.family).events()[: began if isinstance(began, int) else promotion.sequence]
    found = read_decisions(context, policy, evidence, before, kept=EVERY_REASON)
    verdict = judge_decisions(
        found.approvals, quorum=policy.approvals.quorum, mandatory=policy.approvals.mandatory, builder=keys.BUILDER,
        unreadable=found.unreadable,
    )  # fmt: skip
    if verdict.value == Value.PASS:
        _say_compromised(context, promotion.outputs["bundle"], found.approvals)
        return []
    return [f"approval: {reason}" for reason in (*verdict.reasons, *found.uncounted)]


def _say_compromised(context: Context, bundle: Digest, approvals: list[Approval]) -> None:
    ring = keys.ring(context)
    for approval in approvals:
        key = ring.by_id(approval.key_id)
        if key and key.revoked and key.revoked.reason == "compromised":
            log.warning(
                "bundle %s was approved with key %s of %s, which was revoked as compromised after it had signed",
                short(bundle), short(key.key_id), key.name,
            )  # fmt: skip
