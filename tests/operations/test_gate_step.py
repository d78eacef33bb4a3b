"""The gate step and what hangs on it: policy difference (R4.7), manual review (R4.6), waivers at promotion (R4.2)."""

from __future__ import annotations

import pytest

from contracts.approval import Evidence
from contracts.errors import Refused
from contracts.policy import FamilyPolicy
from contracts.reports import GateReport
from operations import approve, keys
from operations.context import Context
from operations.gate import Stopped, previous_policy
from operations.waive import Subject, waive
from registry.documents import get_document
from tests.operations.gated_releases import FAMILY, WELSH, GatedRelease

RISKY = "commands/accent=scottish"
"""The slice that the pack of the tests marks as high risk."""


def report_of(release: GatedRelease) -> GateReport:
    return get_document(release.context.store, GateReport, release.gate()["gate_report"])


def test_the_policy_is_compared_with_that_of_the_last_promoted_release(context: Context) -> None:
    first = GatedRelease(context)
    assert report_of(first).policy_changes == ()
    first.promote()
    GatedRelease(context, payload="c" * 64, version="v3", bake_time_s=9).gate()  # passes, and is never promoted
    last = GatedRelease(context, payload="d" * 64, version="v4", high_risk_slices=["accent=us"])
    assert report_of(last).policy_changes == ("high_risk_slices[accent=us]: added (stricter)",)
    assert previous_policy(context, FAMILY) == first.captured["policy"]


def test_a_policy_that_is_the_last_one_has_no_difference(context: Context) -> None:
    GatedRelease(context).promote()
    assert report_of(GatedRelease(context, payload="c" * 64, version="v3")).policy_changes == ()


def test_the_family_s_models_are_compared_by_cost_and_quality(context: Context) -> None:
    GatedRelease(context, version="v2").promote()
    GatedRelease(context, version="v3", payload="c" * 64, harm=0.02).promote()
    report = report_of(GatedRelease(context, version="v4", payload="d" * 64, harm=-0.1))
    assert report.exchange[-1] == (
        "worth having: v4 0.03 USD; v2 is worse or dearer than v4 and in nothing better; "
        "v3 is worse or dearer than v2, v4 and in nothing better "
        "(cost an audio hour against WER on every gated slice, earlier models as measured at their release)"
    )


def test_the_gates_are_asked_once_for_the_same_inputs(context: Context) -> None:
    release = GatedRelease(context, quality=[WELSH])
    for _ in range(2):
        with pytest.raises(Stopped):
            release.gate()
    assert [event.step for event in context.ledger(FAMILY).events()] == ["capture", "gate"]
    assert context.ledger(FAMILY).events()[-1].data["slice"] == "accent=welsh"


def test_a_yes_without_review_of_a_high_risk_slice_is_refused(context: Context) -> None:
    evidence = GatedRelease(context).ask_approval()
    before = len(context.ledger(FAMILY).events())
    with pytest.raises(Refused) as refused:
        approve.record(context, FAMILY, evidence, decision="promote", key_name="anna")
    assert refused.value.diagnostics() == (
        "high-risk slices were not reviewed\n"
        f"  where: asr-commands, evidence {evidence[:12]}\n"
        f"  got: {RISKY}\n"
        "  expected: each looked at by a person who says yes (R4.6)\n"
        f"  next step: soundcheck approve asr-commands --key KEY --evidence {evidence} --decision promote "
        f"--reviewed {RISKY}"
    )
    assert len(context.ledger(FAMILY).events()) == before


@pytest.mark.parametrize("named", [RISKY, "accent=scottish"])
def test_a_yes_with_review_suffices(context: Context, named: str) -> None:
    release = GatedRelease(context)
    evidence = release.ask_approval()
    approve.record(context, FAMILY, evidence, decision="promote", key_name="anna", reviewed_slices=(named,))
    assert approve.outcome(context, release.policy, evidence) == "promote"
    assert approve.require_approval(context, release.policy, evidence) == ["anna"]


def test_a_form_without_review_is_asked_again_and_promotes_nothing(
    context: Context, caplog: pytest.LogCaptureFixture
) -> None:
    release = GatedRelease(context)
    evidence = release.ask_approval()
    approve.record(context, FAMILY, evidence, decision="promote", approver="r.manager")
    assert approve.outcome(context, release.policy, evidence) is None
    assert f"not approved yet: nobody who says yes has reviewed {RISKY} (R4.6)" in caplog.messages
    with pytest.raises(Refused, match="high-risk slices were not reviewed"):
        approve.require_approval(context, release.policy, evidence)
    reviewed = ("accent=scottish",)
    approve.record(context, FAMILY, evidence, decision="promote", approver="r.manager", reviewed_slices=reviewed)
    assert approve.outcome(context, release.policy, evidence) == "promote"


def test_a_review_by_somebody_who_says_no_is_none(context: Context) -> None:
    release = GatedRelease(context, approvals={"mode": "ui", "quorum": 1, "timeout_s": 3600})
    evidence = release.ask_approval()
    approve.record(context, FAMILY, evidence, decision="hold", approver="anna", reviewed_slices=(RISKY,))
    approve.record(context, FAMILY, evidence, decision="promote", approver="bert")
    with pytest.raises(Refused, match="high-risk slices were not reviewed"):
        approve.require_approval(context, release.policy, evidence)


def test_hold_and_reject_need_no_review(context: Context) -> None:
    release = GatedRelease(context)
    evidence = release.ask_approval()
    approve.record(context, FAMILY, evidence, decision="hold", key_name="anna")
    assert approve.outcome(context, release.policy, evidence) == "hold"
    approve.record(context, FAMILY, evidence, decision="reject", key_name="anna")
    assert approve.outcome(context, release.policy, evidence) == "reject"


def test_fault_36_the_key_ring_s_quorum_is_a_floor_that_no_policy_lowers(context: Context) -> None:
    keys.set_policy(context, approver=2)
    release = GatedRelease(context, approvals={"mode": "signed", "quorum": 1, "timeout_s": 60})
    assert release.policy.approvals.quorum == 1
    evidence = release.ask_approval()
    approve.record(context, FAMILY, evidence, decision="promote", key_name="anna", reviewed_slices=(RISKY,))
    with pytest.raises(Refused) as raised:
        approve.require_approval(context, release.policy, evidence)
    assert raised.value.expected == "2 approval(s)"
    approve.record(context, FAMILY, evidence, decision="promote", key_name="cleo", reviewed_slices=(RISKY,))
    assert approve.require_approval(context, release.policy, evidence) == ["anna", "cleo"]


def test_fault_36_an_approval_after_the_timeout_is_a_rejection(context: Context) -> None:
    release = GatedRelease(context, approvals={"mode": "signed", "quorum": 1, "timeout_s": 1})
    evidence = release.ask_approval()
    context.timestamp(), context.timestamp()  # each look at the clock takes a second here
    approve.record(context, FAMILY, evidence, decision="promote", key_name="anna", reviewed_slices=(RISKY,))
    with pytest.raises(Refused) as raised:
        approve.require_approval(context, release.policy, evidence)
    assert raised.value.what == "the approval came too late, which counts as a rejection"


def test_fault_36_the_builder_cannot_approve_its_own_bundle_alone(context: Context) -> None:
    keys.enrol(context, keys.builder(context).public_key(), ("approver",))
    release = GatedRelease(context, approvals={"mode": "signed", "quorum": 1, "timeout_s": 60})
    evidence = release.ask_approval()
    approve.record(context, FAMILY, evidence, decision="promote", key_name=keys.BUILDER, reviewed_slices=(RISKY,))
    assert approve.outcome(context, release.policy, evidence) is None
    approve.record(context, FAMILY, evidence, decision="promote", key_name="anna", reviewed_slices=(RISKY,))
    assert approve.outcome(context, release.policy, evidence) == "promote"


def test_fault_36_an_approval_of_one_evidence_is_none_of_another(context: Context) -> None:
    first, second = GatedRelease(context), GatedRelease(context, version="v3", payload="c" * 64)
    given, asked = first.ask_approval(), second.ask_approval()
    approve.record(context, FAMILY, given, decision="promote", key_name="anna", reviewed_slices=(RISKY,))
    replayed = context.ledger(FAMILY).events()[-1]
    context.ledger(FAMILY).append(
        "approve", "complete", at="2026", release=second.captured["release"], inputs={"evidence": asked},
        outputs=replayed.outputs,
    )  # fmt: skip
    assert approve.decisions(context, first.policy, given) != []
    assert approve.decisions(context, second.policy, asked) == []


@pytest.mark.parametrize(("change", "counts"), [("rotate", True), ("retired", True), ("compromised", False)])
def test_fault_36_a_decision_whose_key_was_changed_later(change: str, counts: bool, context: Context) -> None:
    release = GatedRelease(context)
    evidence = release.ask_approval()
    approve.record(context, FAMILY, evidence, decision="promote", key_name="anna", reviewed_slices=(RISKY,))
    if change == "rotate":
        keys.rotate(context, "anna")
    else:
        keys.revoke(context, "anna", "retired" if change == "retired" else "compromised")
    if counts:
        assert approve.require_approval(context, release.policy, evidence) == ["anna"]
        return
    with pytest.raises(Refused, match="the evidence is not approved"):
        approve.require_approval(context, release.policy, evidence)


def test_nothing_is_promoted_on_a_waiver_whose_key_was_revoked(context: Context) -> None:
    release = GatedRelease(context, quality=[WELSH])
    with pytest.raises(Stopped):
        release.gate()
    waive(context, FAMILY, Subject("commands", "accent=welsh", "wer"), key_name="cleo", reason="none are to be had")
    evidence = release.ask_approval()
    approve.record(context, FAMILY, evidence, decision="promote", key_name="anna", reviewed_slices=(RISKY,))
    assert approve.require_approval(context, release.policy, evidence) == ["anna"]
    keys.revoke(context, "cleo")
    with pytest.raises(Refused, match="a waiver that the gates relied on no longer holds"):
        approve.require_approval(context, release.policy, evidence)
    shown = get_document(context.store, Evidence, evidence)
    assert get_document(context.store, FamilyPolicy, shown.policy) == release.policy
