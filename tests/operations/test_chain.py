"""S1: the chain behind a bundle that was promoted, and every document that a family's ledger names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from contracts.approval import Approval
from contracts.digest import Digest, short
from contracts.errors import Refused
from contracts.ledger_event import LedgerEvent
from operations import keys
from operations.approve import record
from operations.chain import chain_faults
from operations.context import Context, put
from operations.erase import erase
from operations.named import unread
from operations.restore import examine_family, healthy, restore, verify_family
from registry.envelopes import APPROVAL_TYPE
from registry.ledger import Ledger
from registry.signing import KeySigner, load_signer, new_key, sign
from registry.store.keys import BLOBS, blob_key, blob_of_key
from registry.store.memory import MemoryStore
from tests.operations.gated_releases import FAMILY
from tests.operations.packaged import Packaged
from tests.registry.registry_parts import flip_bit

DAMAGED = "a blob's bytes are not what its digest says"


def _event(context: Context, step: str) -> LedgerEvent:
    """The family's newest event of a step."""
    return next(event for event in reversed(context.ledger(FAMILY).events()) if event.step == step)


def _store(context: Context) -> MemoryStore:
    assert isinstance(context.store, MemoryStore)
    return context.store


def test_a_bundle_that_was_promoted_is_restored_with_its_approval(
    context: Context, packaged: Packaged, tmp_path: Path
) -> None:
    packaged.promote()
    assert chain_faults(context, FAMILY, packaged.bundle) == []
    assert verify_family(context, FAMILY) == []
    assert restore(context, FAMILY, packaged.bundle, tmp_path / "out").files == len(packaged.manifest.files)


@pytest.mark.parametrize(("step", "role"), [("request_approval", "evidence"), ("approve", "signature")])
@pytest.mark.parametrize("harm", ["damaged", "lost"])
def test_fault_21_a_broken_approval_is_named_and_its_bundle_is_not_restored(
    step: str, role: str, harm: str, context: Context, packaged: Packaged, tmp_path: Path
) -> None:
    packaged.promote()
    broken = _event(context, step)
    digest = broken.outputs[role]
    if harm == "damaged":
        flip_bit(context.store, blob_key(digest), 1000)
    else:
        context.store.delete_blob(digest)
    why = DAMAGED if harm == "damaged" else f"no blob {short(digest)}"
    chain = f"evidence {short(digest)}: {why}"
    if role == "signature":
        chain = f"approval: a decision cannot be read: event {broken.sequence}, signature {short(digest)}: {why}"
    assert healthy(context, FAMILY, packaged.bundle) == [chain]
    assert verify_family(context, FAMILY) == [
        f"bundle v2 {short(packaged.bundle)}: {chain}",
        f"event {broken.sequence} {step}: {role} {short(digest)}: {why}",
    ]
    with pytest.raises(Refused) as refused:
        restore(context, FAMILY, packaged.bundle, tmp_path / "out")
    assert str(refused.value) == (
        "the chain of evidence is broken\n"
        f"  where: bundle {short(packaged.bundle)}\n"
        f"  got: {chain}\n"
        "  expected: train manifest, registry entry, scores, bundle and its approval, each whole\n"
        "  next step: soundcheck verify names every fault; restore the store from its backup"
    )
    assert not (tmp_path / "out").exists()


def _signed(context: Context, packaged: Packaged, evidence: Digest, signer: KeySigner) -> None:
    """A yes in the ledger that nothing has checked."""
    said = Approval(
        family=FAMILY, evidence=evidence, decision="promote", approver=signer.name, mode="signed",
        key_id=signer.key_id, at=context.timestamp(),
    )  # fmt: skip
    (approval,) = put(context, said)
    envelope = sign(said, {FAMILY: evidence}, APPROVAL_TYPE, signer)
    context.ledger(FAMILY).append(
        "approve", "complete", at=context.timestamp(), release=packaged.release, inputs={"evidence": evidence},
        outputs={"approval": approval, "signature": context.store.put_blob(envelope)},
    )  # fmt: skip


def _by_nobody(context: Context, packaged: Packaged, folder: Path) -> Digest:
    return packaged.ask()


def _by_an_operator(context: Context, packaged: Packaged, folder: Path) -> Digest:
    evidence = packaged.ask()
    _signed(context, packaged, evidence, keys.load(context, "bert"))
    return evidence


def _by_a_stranger(context: Context, packaged: Packaged, folder: Path) -> Digest:
    evidence = packaged.ask()
    new_key("stranger", folder, "2026")
    _signed(context, packaged, evidence, load_signer(folder / "stranger.key"))
    return evidence


def _rejected(context: Context, packaged: Packaged, folder: Path) -> Digest:
    evidence = packaged.approve()
    record(context, FAMILY, evidence, decision="reject", key_name="cleo")
    return evidence


def _of_another(context: Context, packaged: Packaged, folder: Path) -> Digest:
    return Packaged(context, folder / "two", version="v3", weights=b"other weights").approve()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (_by_nobody, "approval: 0 of 1 approvals"),
        (_by_an_operator, "bert may not sign as approver"),
        (_by_a_stranger, "a signature is by an unknown key"),
        (_rejected, "approval: rejected by cleo"),
        (_of_another, "it is about another bundle"),
    ],
)
def test_fault_36_a_promotion_that_nobody_had_approved_is_found(
    make: Callable[[Context, Packaged, Path], Digest], said: str, context: Context, packaged: Packaged, tmp_path: Path
) -> None:
    packaged.promote(make(context, packaged, tmp_path))
    assert said in "; ".join(chain_faults(context, FAMILY, packaged.bundle))


def test_a_promotion_without_evidence_is_found(context: Context, packaged: Packaged) -> None:
    context.ledger(FAMILY).append(
        "promote", "complete", at=context.timestamp(), release=packaged.release, outputs={"bundle": packaged.bundle}
    )
    number = _event(context, "promote").sequence
    assert chain_faults(context, FAMILY, packaged.bundle) == [f"evidence: the promotion (event {number}) names none"]


def test_what_is_decided_after_a_promotion_changes_nothing_of_it(context: Context, packaged: Packaged) -> None:
    evidence = packaged.approve()
    packaged.promote(evidence)
    record(context, FAMILY, evidence, decision="reject", key_name="cleo")
    assert chain_faults(context, FAMILY, packaged.bundle) == []
    keys.set_policy(context, approver=2)
    assert chain_faults(context, FAMILY, packaged.bundle) == []


def test_a_yes_that_came_after_the_promotion_does_not_mend_it(context: Context, packaged: Packaged) -> None:
    evidence = packaged.ask()
    packaged.promote(evidence)
    record(context, FAMILY, evidence, decision="promote", key_name="anna",
           reviewed_slices=("commands/accent=scottish",))  # fmt: skip
    assert chain_faults(context, FAMILY, packaged.bundle) == ["approval: 0 of 1 approvals"]


@pytest.mark.parametrize("reason", ["compromised", "retired"])
def test_a_bundle_whose_approver_was_revoked_later_is_restorable_and_says_so(
    reason: str, context: Context, packaged: Packaged, caplog: pytest.LogCaptureFixture
) -> None:
    packaged.promote()
    keys.revoke(context, "anna", "compromised" if reason == "compromised" else "retired")
    assert chain_faults(context, FAMILY, packaged.bundle) == []
    said = f"bundle {short(packaged.bundle)} was approved with key"
    assert caplog.text.count(said) == (reason == "compromised")


def _blobs(store: MemoryStore) -> list[Digest]:
    """Every blob that has a bit to flip."""
    return [digest for key in store.list(BLOBS) if (digest := blob_of_key(key)) and store.read_blob(digest)]


def test_fault_21_a_flipped_bit_in_any_blob_is_found_and_named(
    context: Context, packaged: Packaged, tmp_path: Path
) -> None:
    """Of two bundles, one promoted, one that a person rejected: all that the store holds is named by the ledger."""
    packaged.promote()
    other = Packaged(context, tmp_path / "two", version="v3", weights=b"other weights")
    record(context, FAMILY, other.ask(), decision="reject", key_name="cleo")
    blobs = _blobs(_store(context))
    assert len(blobs) > 30
    for digest in blobs:
        flip_bit(context.store, blob_key(digest), 7)
        found = verify_family(context, FAMILY)
        flip_bit(context.store, blob_key(digest), 7)
        paths = [path for one in (packaged, other) for path, entry in one.manifest.files.items()
                 if entry.sha256 == digest]  # fmt: skip
        assert any(short(digest) in fault for fault in found) or any(
            f" {path}: corrupt" in fault for path in paths for fault in found
        ), (short(digest), found)
    assert verify_family(context, FAMILY) == []


def test_fault_15_every_document_that_an_event_names_must_be_there(context: Context, packaged: Packaged) -> None:
    packaged.promote()
    store = _store(context)
    events = context.ledger(FAMILY).events()
    wanted = {d for e in events for r, d in (*e.inputs.items(), *e.outputs.items()) if r != "payload"}
    for digest in wanted:
        content = store.objects.pop(blob_key(digest))
        (fault,) = unread(store, events, checked=())
        assert str(fault).endswith(f"{short(digest)}: no blob {short(digest)}")
        store.objects[blob_key(digest)] = content
    assert unread(store, events, checked=()) == []


def test_what_only_a_document_names_is_digested_where_it_is_there(context: Context) -> None:
    store = _store(context)
    inner = store.put_blob(b"a table")
    outer = store.put_blob(b'{"data":"%s","never":"%s"}' % (inner.encode(), b"f" * 64))
    event = Ledger(store, "asr").append("capture", "complete", at="2026", outputs={"train_manifest": outer})
    assert unread(store, [event], checked=()) == []
    flip_bit(store, blob_key(inner), 3)
    (fault,) = unread(store, [event], checked=())
    assert str(fault) == (f"event 0 capture: train_manifest {short(outer)}, which names {short(inner)}: {DAMAGED}")
    assert unread(store, [event], checked={inner}) == [], "who has digested it says so"


def test_a_document_under_a_tombstone_is_absent_and_no_fault(context: Context, tmp_path: Path) -> None:
    """An event that came to name it after the erasure, as one of an older version may."""
    (tmp_path / "params.yaml").write_text(f"families: {{{FAMILY}: {{}}}}\n")
    path = "golden/audio/000.wav"
    packaged = Packaged(context, tmp_path / "one", more={path: b"RIFF voice"})
    voice = packaged.manifest.files[path].sha256
    erase(context, voice, key_name="bert", reason="consent withdrawn")
    late = context.ledger(FAMILY).append("drift", "complete", at="2026", outputs={"voice": voice})
    found = examine_family(context, FAMILY)
    said = "erased on 2026-11-20 by bert: consent withdrawn"
    assert found.faults == []
    assert found.absent == [
        f"bundle v2 {short(packaged.bundle)}: {path}: {said}",
        f"event {late.sequence} drift: voice {short(voice)}: {said}",
    ]


def test_each_blob_is_read_once(context: Context, packaged: Packaged, monkeypatch: pytest.MonkeyPatch) -> None:
    packaged.promote()
    reads: list[Digest] = []
    real = MemoryStore.read_blob  # `check_blob` of this store asks it too

    def counted(self: MemoryStore, digest: Digest) -> bytes:
        reads.append(digest)
        return real(self, digest)

    monkeypatch.setattr(MemoryStore, "read_blob", counted)
    unread(context.store, context.ledger(FAMILY).events(), checked=())
    assert len(reads) == len(set(reads)) > 20
