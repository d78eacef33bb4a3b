"""Approval: an answer that cannot be read may be a no, and whose clock says whether an answer was in time."""

from __future__ import annotations

from pathlib import Path

import pytest

from contracts.approval import Approval
from contracts.digest import Digest, short
from contracts.errors import Refused
from contracts.ledger_event import LedgerEvent
from contracts.verdict import Value
from operations import approve, keys
from operations.context import Context, put
from operations.gate import Stopped
from operations.promote import promote
from operations.view import release_view
from registry.approvals import judge_decisions
from registry.envelopes import APPROVAL_TYPE
from registry.signing import sign
from registry.store.keys import blob_key
from registry.store.memory import MemoryStore
from tests.operations.gated_releases import FAMILY, GatedRelease, open_installation
from tests.operations.packaged import Packaged
from tests.registry.registry_parts import flip_bit

REVIEWED = ("commands/accent=scottish",)
SIGNED = {"mode": "signed", "quorum": 1, "timeout_s": 3600}


def _newest(context: Context) -> LedgerEvent:
    return context.ledger(FAMILY).events()[-1]


def _yes(context: Context, evidence: Digest, key_name: str = "anna") -> None:
    approve.record(context, FAMILY, evidence, decision="promote", key_name=key_name, reviewed_slices=REVIEWED)


def _break(context: Context, harm: str, digest: Digest) -> str:
    """Damage or lose a blob; what is said of it."""
    if harm == "lost":
        context.store.delete_blob(digest)
        return f"no blob {short(digest)}"
    flip_bit(context.store, blob_key(digest), 1000)
    return "a blob's bytes are not what its digest says"


@pytest.mark.parametrize("harm", ["damaged", "lost"])
def test_fault_21_beside_a_decision_that_cannot_be_read_nothing_is_promoted(
    harm: str, context: Context, tmp_path: Path
) -> None:
    """It was a rejection; without its bytes a quorum for promotion would win over it."""
    packaged = Packaged(context, tmp_path / "one")
    evidence = packaged.ask()
    approve.record(context, FAMILY, evidence, decision="reject", key_name="cleo")
    rejection = _newest(context)
    _yes(context, evidence)
    signature = rejection.outputs["signature"]
    why = _break(context, harm, signature)
    captured = {"release": packaged.release, "policy": packaged.inputs["policy"]}
    with pytest.raises(Stopped) as stop:
        promote(context, FAMILY, captured, evidence)
    assert stop.value.verdict.value == Value.INCONCLUSIVE
    assert str(stop.value) == (
        f"the release of {FAMILY} v2 stopped at the approve step: inconclusive\n"
        f"  where: {FAMILY} v2\n"
        f"  got: a decision cannot be read: event {rejection.sequence}, signature {short(signature)}: {why}\n"
        "  expected: pass\n"
        "  next step: put the blob back from the store's backup (soundcheck verify names it), or release a new version"
    )
    assert all(event.step != "promote" for event in context.ledger(FAMILY).events())


def test_an_unsigned_decision_that_cannot_be_read_promotes_nothing(context: Context) -> None:
    release = GatedRelease(context)
    evidence = release.ask_approval()
    approve.record(context, FAMILY, evidence, decision="reject", approver="r.manager")
    approval = _newest(context).outputs["approval"]
    _yes(context, evidence)
    assert approve.outcome(context, release.policy, evidence) == "reject"
    _break(context, "damaged", approval)
    with pytest.raises(Stopped, match="inconclusive"):
        approve.outcome(context, release.policy, evidence)


def test_an_unsigned_decision_counts_for_its_own_evidence_alone(context: Context) -> None:
    first, second = GatedRelease(context), GatedRelease(context, version="v3", payload="c" * 64)
    given, asked = first.ask_approval(), second.ask_approval()
    approve.record(context, FAMILY, given, decision="promote", approver="r.manager", reviewed_slices=REVIEWED)
    context.ledger(FAMILY).append(
        "approve", "complete", at="2026", release=second.captured["release"], inputs={"evidence": asked},
        outputs=_newest(context).outputs,
    )  # fmt: skip
    assert [row.approver for row in approve.decisions(context, first.policy, given)] == ["r.manager"]
    assert approve.decisions(context, second.policy, asked) == []


def test_a_rejection_that_can_be_read_is_final_beside_one_that_cannot(context: Context) -> None:
    release = GatedRelease(context, approvals=SIGNED)
    evidence = release.ask_approval()
    _yes(context, evidence)
    _break(context, "damaged", _newest(context).outputs["signature"])
    approve.record(context, FAMILY, evidence, decision="reject", key_name="cleo")
    assert approve.outcome(context, release.policy, evidence) == "reject"


def test_law_an_unreadable_decision_never_passes() -> None:
    yes = Approval(family=FAMILY, evidence="e" * 64, decision="promote", approver="anna", mode="signed", at="2026")
    assert judge_decisions([yes], quorum=1).value == Value.PASS
    for given in ([], [yes], [yes.model_copy(update={"decision": "hold"})]):
        verdict = judge_decisions(given, quorum=1, unreadable=["event 7"])
        assert (verdict.value, verdict.reasons) == (Value.INCONCLUSIVE, ("a decision cannot be read: event 7",))
    rejected = judge_decisions([yes.model_copy(update={"decision": "reject"})], quorum=1, unreadable=["event 7"])
    assert rejected.value == Value.FAIL


def _dated_back(context: Context, release: GatedRelease, evidence: Digest, *, asked: str, recorded: str) -> None:
    """A yes whose document says that it was given at once."""
    anna = keys.load(context, "anna")
    said = Approval(
        family=FAMILY, evidence=evidence, decision="promote", approver="anna", mode="signed", key_id=anna.key_id,
        reviewed_slices=REVIEWED, at=asked,
    )  # fmt: skip
    (approval,) = put(context, said)
    envelope = context.store.put_blob(sign(said, {FAMILY: evidence}, APPROVAL_TYPE, anna))
    context.ledger(FAMILY).append(
        "approve", "complete", at=recorded, release=release.captured["release"], inputs={"evidence": evidence},
        outputs={"approval": approval, "signature": envelope},
    )  # fmt: skip


def test_fault_64_an_approval_that_is_dated_back_is_late_by_when_it_was_recorded(context: Context) -> None:
    """Fault 36."""
    release = GatedRelease(context, approvals=SIGNED)
    evidence = release.ask_approval()
    asked = _newest(context).at
    assert asked.startswith("2026-11-20T00:")
    _dated_back(context, release, evidence, asked=asked, recorded="2026-11-20T09:00:00.000Z")
    with pytest.raises(Refused) as raised:
        approve.require_approval(context, release.policy, evidence)
    assert raised.value.what == "the approval came too late, which counts as a rejection"
    assert raised.value.expected == "within 3600 s (approvals.timeout_s)"


@pytest.mark.parametrize(("waited_s", "late"), [(3600, False), (3601, True)])
def test_fault_64_a_slow_clock_on_the_approver_s_machine_makes_no_answer_timely(
    waited_s: int, late: bool, tmp_path: Path
) -> None:
    """Fault 36: the event is dated back too; the store has one clock for all."""
    now = [1000.0]
    context = open_installation(tmp_path, MemoryStore(clock=lambda: now[0]))
    release = GatedRelease(context, approvals=SIGNED)
    evidence = release.ask_approval()
    asked = _newest(context).at
    now[0] += waited_s
    _dated_back(context, release, evidence, asked=asked, recorded=asked)
    if not late:
        assert approve.require_approval(context, release.policy, evidence) == ["anna"]
        return
    with pytest.raises(Refused) as raised:
        approve.require_approval(context, release.policy, evidence)
    assert (raised.value.what, raised.value.got) == (
        "the approval came too late, which counts as a rejection",
        "3601 s after it was asked for",
    )


def test_a_release_is_shown_as_what_happened_last(context: Context) -> None:
    """People who wait are overtaken by a canary that is stopped, and a stop by people who reject."""
    release = GatedRelease(context)
    evidence = release.ask_approval()
    outcomes = []

    def shown() -> None:
        view = release_view(context, FAMILY, release.captured["release"])
        outcomes.append((view.outcome, view.stopped_at))

    approve.record(context, FAMILY, evidence, decision="hold", key_name="anna")
    shown()
    context.ledger(FAMILY).append(
        "canary", "complete", at=context.timestamp(), release=release.captured["release"],
        data={"decision": "rollback", "verdict": "fail", "reasons": ["worse"]},
    )  # fmt: skip
    shown()
    approve.record(context, FAMILY, evidence, decision="reject", key_name="cleo")
    shown()
    assert outcomes == [("held", "approve"), ("stopped", "canary"), ("rejected", "approve")]
