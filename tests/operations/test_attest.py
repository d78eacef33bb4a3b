"""What the builder signs about a bundle, and how an attack on it is found: in the store, with real keys."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from contracts.errors import Corrupt, Refused
from contracts.routing import pointer_name
from operations import keys, pointer
from operations.attest import ENVELOPES, attestation_faults
from operations.chain import chain_faults
from operations.context import Context
from operations.restore import verify_family
from registry.provenance import PROVENANCE_TYPE, SCORE_TYPE
from registry.signing import load_signer, new_key, sign
from tests.operations.gated_releases import FAMILY
from tests.operations.packaged import Packaged


def test_an_honest_bundle_has_no_faults_and_is_signed_alike_each_time(context: Context, packaged: Packaged) -> None:
    assert attestation_faults(context, packaged.event) == []
    assert chain_faults(context, FAMILY, packaged.bundle) == []
    assert packaged.attest() == packaged.envelopes


def test_the_provenance_is_slsa_v1_and_names_everything_by_digest(packaged: Packaged) -> None:
    said = packaged.statement("provenance")
    assert said["predicateType"] == "https://slsa.dev/provenance/v1"
    assert said["subject"] == [{"name": FAMILY, "digest": {"sha256": packaged.bundle}}]
    definition, run = said["predicate"]["buildDefinition"], said["predicate"]["runDetails"]
    assert definition["externalParameters"] == {
        "family": FAMILY,
        "version": "v2",
        "candidate": packaged.candidate,
        "policy": packaged.inputs["policy"],
    }
    named = {row["name"]: row["digest"] for row in definition["resolvedDependencies"]}
    assert named["train_manifest"] == {"sha256": packaged.inputs["train_manifest"]}
    assert named["training_code"] == {"gitCommit": "0" * 40}
    assert named["payload"] == {"sha256": packaged.manifest.payload_digest}
    assert run["metadata"] == {"invocationId": packaged.release}
    assert run["builder"]["id"] == "https://soundcheck.invalid/builders/builder"
    assert {row["name"] for row in run["byproducts"]} >= {"score_report", "gate_report"}


def test_the_scores_are_attested_about_the_payload(packaged: Packaged) -> None:
    said = packaged.statement("scores_attested")
    assert said["predicateType"] == "https://soundcheck.invalid/predicates/score/v1"
    assert said["subject"][0]["digest"]["sha256"] == packaged.manifest.payload_digest
    assert said["predicate"]["verdict"] == "pass"
    assert said["predicate"]["scoreReport"] == packaged.inputs["score_report"]


@pytest.mark.parametrize("role", ENVELOPES)
def test_fault_25_an_envelope_of_another_valid_bundle_is_found(
    role: str, context: Context, packaged: Packaged, tmp_path: Path
) -> None:
    other = Packaged(context, tmp_path / "two", version="v3", weights=b"other weights")
    assert attestation_faults(context, other.event) == []
    (fault,) = attestation_faults(context, packaged.append(**{role: other.envelopes[role]}))
    assert fault.startswith(f"{role.replace('_', ' ')}: a statement is about something else")


@pytest.mark.parametrize("role", ["train_manifest", "score_report", "model_card"])
def test_fault_25_a_document_of_another_bundle_is_found(
    role: str, context: Context, packaged: Packaged, tmp_path: Path
) -> None:
    other = Packaged(context, tmp_path / "two", version="v3", weights=b"other weights")
    swapped = other.inputs[role] if role != "model_card" else other.inputs["registry_entry"]
    faults = attestation_faults(context, packaged.append(**{role: swapped}))
    assert [fault.partition(": ")[2] for fault in faults] == [
        f"the bundle holds another {role.replace('_', ' ')} than the ledger names"
    ]


@pytest.mark.parametrize(
    ("role", "change", "named"),
    [
        ("provenance", lambda p: p["buildDefinition"]["externalParameters"].update(candidate="0" * 64),
         "buildDefinition.externalParameters.candidate"),
        ("provenance", lambda p: p["buildDefinition"]["resolvedDependencies"][0]["digest"].update(sha256="0" * 64),
         "buildDefinition.resolvedDependencies[0].digest.sha256"),
        ("provenance", lambda p: p["runDetails"]["metadata"].update(invocationId="0" * 64),
         "runDetails.metadata.invocationId"),
        ("provenance", lambda p: p["runDetails"]["builder"].update(id="https://example.invalid"),
         "runDetails.builder.id"),
        ("scores_attested", lambda p: p.update(verdict="fail"), "verdict"),
        ("scores_attested", lambda p: p["packs"].update(commands="0" * 64), "packs.commands"),
    ],
)  # fmt: skip
def test_a_validly_signed_predicate_that_says_something_else_is_found(
    role: str, change: Callable[[dict[str, Any]], None], named: str, context: Context, packaged: Packaged
) -> None:
    """The signature alone proves nothing: fields are compared with the bundle's own documents."""
    said = packaged.statement(role)
    change(said["predicate"])
    kind, subject = said["predicateType"], said["subject"][0]["digest"]["sha256"]
    assert kind in (PROVENANCE_TYPE, SCORE_TYPE)
    lie = context.store.put_blob(sign(said["predicate"], {FAMILY: subject}, kind, keys.builder(context)))
    assert attestation_faults(context, packaged.append(**{role: lie})) == [
        f"{role.replace('_', ' ')}: it does not say what the bundle's documents say ({named})"
    ]


def test_a_predicate_that_is_not_slsa_is_corrupt(context: Context, packaged: Packaged) -> None:
    lie = sign({"buildDefinition": {"made": "up"}}, {FAMILY: packaged.bundle}, PROVENANCE_TYPE, keys.builder(context))
    event = packaged.append(provenance=context.store.put_blob(lie))
    assert attestation_faults(context, event)[0].startswith("provenance: not SLSA provenance v1")


def test_fault_23_an_edited_manifest_has_nobody_s_signature(context: Context, packaged: Packaged) -> None:
    edited = packaged.manifest.model_copy(update={"version": "v9"})
    forged = context.store.put_blob(edited.canonical())
    assert all("a statement is about something else" in fault or "invocation" in fault or "release" in fault
               for fault in attestation_faults(context, packaged.append(bundle=forged)))  # fmt: skip
    assert len(attestation_faults(context, packaged.append(bundle=forged))) == len(ENVELOPES)


def test_fault_23_a_signature_by_an_unknown_key_is_found(context: Context, packaged: Packaged, tmp_path: Path) -> None:
    stranger = new_key("stranger", tmp_path, "2026")
    assert keys.ring(context).by_id(stranger.key_id) is None
    signer = load_signer(tmp_path / "stranger.key")
    said = packaged.statement("signature")
    forged = sign(said["predicate"], {FAMILY: packaged.bundle}, said["predicateType"], signer)
    event = packaged.append(signature=context.store.put_blob(forged))
    assert attestation_faults(context, event) == [
        f"signature: a signature is by an unknown key (key {stranger.key_id[:12]!r})"
    ]


def test_an_approver_cannot_sign_a_bundle(context: Context, packaged: Packaged) -> None:
    said = packaged.statement("signature")
    forged = sign(said["predicate"], {FAMILY: packaged.bundle}, said["predicateType"], keys.load(context, "anna"))
    event = packaged.append(signature=context.store.put_blob(forged))
    assert attestation_faults(context, event) == ["signature: anna may not sign as builder (roles approver)"]


@pytest.mark.parametrize("reason", ["compromised", "retired"])
def test_a_bundle_signed_before_its_builder_was_revoked_is_restorable_and_says_so(
    reason: Any, context: Context, packaged: Packaged, caplog: pytest.LogCaptureFixture
) -> None:
    keys.revoke(context, keys.BUILDER, reason)
    assert attestation_faults(context, packaged.event) == []
    assert caplog.text.count("revoked later as compromised") == (reason == "compromised")
    with pytest.raises(Refused) as raised:
        packaged.attest()
    assert (raised.value.what, raised.value.got) == ("the builder's key is revoked", reason)
    keys.rotate(context, keys.BUILDER)
    packaged.attest()
    later = packaged.append()
    assert attestation_faults(context, later)[0].startswith("signature: a signature is by a revoked key")


def test_a_bundle_is_restorable_after_its_builder_s_key_was_rotated(context: Context, packaged: Packaged) -> None:
    before = keys.load(context, keys.BUILDER)
    after = keys.rotate(context, keys.BUILDER)
    assert keys.builder(context).key_id == after.key_id != before.key_id
    assert attestation_faults(context, packaged.event) == []
    assert "revoked key" in attestation_faults(context, packaged.append())[0], "the old key signs nothing new"
    packaged.envelopes = packaged.attest()
    assert attestation_faults(context, packaged.append()) == []


def test_a_bundle_without_provenance_is_found(context: Context, packaged: Packaged) -> None:
    del packaged.envelopes["provenance"]
    assert attestation_faults(context, packaged.append()) == ["provenance: the ledger names no such envelope"]


def test_a_key_ring_that_was_rolled_back_stops_verification(context: Context, packaged: Packaged) -> None:
    """The reader knows which version it has accepted; nothing that is signed counts by an older one."""
    newest = keys.ring(context)
    key = f"keyring/{newest.version:012d}"
    original = type(context.store).read

    def without_the_newest(store: Any, name: str) -> bytes:
        return original(store, "keyring/absent" if name == key else name)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(type(context.store), "read", without_the_newest)
        with pytest.raises(Corrupt, match="the key ring was rolled back"):
            keys.ring(context)


def test_fault_24_an_old_table_that_is_presented_as_the_newest_is_found(
    context: Context, packaged: Packaged, tmp_path: Path
) -> None:
    newer = Packaged(context, tmp_path / "two", version="v3", weights=b"other weights")
    contents = []
    for release in (packaged, newer):
        release.promote()
        table = pointer.current(context, FAMILY).table
        assert table is not None
        contents.append(table.canonical())
    assert verify_family(context, FAMILY) == []
    name = pointer_name(FAMILY)
    context.store.swap(name, contents[0], expected=pointer.current(context, FAMILY).version)
    assert verify_family(context, FAMILY) == [
        f"pointer: stable is {packaged.bundle[:12]}, the ledger says {newer.bundle[:12]}"
    ]
