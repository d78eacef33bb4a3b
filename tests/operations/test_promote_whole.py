"""Promotion asks for a whole bundle: no damaged one (fault 15), none whose files a collection takes (fault 29)."""

from __future__ import annotations

import pytest

from contracts.approval import Evidence
from contracts.digest import Digest, short
from contracts.errors import Corrupt, Refused
from operations import pointer
from operations.context import Context
from operations.promote import promote
from registry.documents import get_document
from registry.store.keys import blob_key
from tests.operations.gated_releases import FAMILY
from tests.operations.packaged import Packaged
from tests.registry.registry_parts import flip_bit


def _approved(packaged: Packaged) -> tuple[dict[str, Digest], Digest]:
    """The release's captured documents, and evidence that anna has said yes to."""
    return {"release": packaged.release, "policy": packaged.inputs["policy"]}, packaged.approve()


def _moves(context: Context) -> list[tuple[str, str]]:
    return [(event.step, event.outcome) for event in context.ledger(FAMILY).events() if event.step == "promote"]


def test_a_whole_bundle_is_promoted(context: Context, packaged: Packaged) -> None:
    promote(context, FAMILY, *_approved(packaged))
    assert pointer.current(context, FAMILY).stable == packaged.bundle


def test_a_bundle_that_lost_a_blob_is_not_promoted(context: Context, packaged: Packaged) -> None:
    approved = _approved(packaged)
    weights = packaged.manifest.files["payload/weights.safetensors"].sha256
    context.store.delete_blob(weights)
    with pytest.raises(Corrupt) as raised:
        promote(context, FAMILY, *approved)
    assert str(raised.value) == (
        "the bundle is not whole\n"
        f"  where: {FAMILY}, bundle {short(packaged.bundle)}\n"
        f"  got: payload/weights.safetensors: missing (no blob {short(weights)})\n"
        "  expected: every file as it was packaged\n"
        f"  next step: soundcheck verify {FAMILY}; restore the store from its backup, or release a new candidate"
    )
    assert _moves(context) == []


@pytest.mark.parametrize("role", ["timing_report", "safety_report", "replay_report", "canary_report"])
def test_evidence_that_lost_a_report_promotes_nothing(role: str, context: Context, packaged: Packaged) -> None:
    """S1: what approvers were shown can be shown again, or there is no promotion."""
    captured, evidence = _approved(packaged)
    digest = getattr(get_document(context.store, Evidence, evidence), role)
    flip_bit(context.store, blob_key(digest), 3)
    with pytest.raises(Corrupt) as raised:
        promote(context, FAMILY, captured, evidence)
    assert str(raised.value) == (
        "the evidence is not whole\n"
        f"  where: {FAMILY}, evidence {short(evidence)}\n"
        f"  got: {role} {short(digest)}: a blob's bytes are not what its digest says\n"
        "  expected: every report that the approvers were shown\n"
        f"  next step: soundcheck verify {FAMILY}; restore the store from its backup, or release a new version"
    )
    assert _moves(context) == []


def test_a_collection_that_came_first_stops_a_promotion_after_its_intent(
    context: Context, packaged: Packaged, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The collection writes its event between the promotion's checks and its intent."""
    approved = _approved(packaged)
    look = pointer.current

    def collected_meanwhile(*arguments: object) -> pointer.Current:
        context.ledger(FAMILY).append(
            "collect", "complete", at="2026-11-20T12:00:00.000Z", outputs={"bundle": packaged.bundle},
            data={"release": packaged.release},
        )  # fmt: skip
        return look(context, FAMILY)

    monkeypatch.setattr(pointer, "current", collected_meanwhile)
    with pytest.raises(Refused, match="its files were collected"):
        promote(context, FAMILY, *approved)
    assert _moves(context) == [("promote", "start"), ("promote", "fail")]
    assert context.ledger(FAMILY).state().open_intents == ()
    assert look(context, FAMILY).stable is None
