"""Keys, envelopes and the approval policy."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.approval import Approval, Decision
from contracts.digest import canonical_json, sha256_bytes
from contracts.errors import AlreadyExists, Corrupt, Refused, SoundcheckError, WrongCall
from contracts.verdict import Value
from registry.approvals import judge_decisions, read_approval
from registry.keyring import Revocation, revoke
from registry.signing import (
    APPROVAL_TYPE,
    BUNDLE_TYPE,
    EnrolledKey,
    Keyring,
    KeySigner,
    load_signer,
    new_key,
    read_public,
    sign,
    verify_envelope,
)

NOW = "2026-11-20T14:02:31Z"
EVIDENCE, OTHER = sha256_bytes(b"evidence"), sha256_bytes(b"other evidence")
COMPROMISED = Revocation(reason="compromised", at=NOW)
PEOPLE = ("anna", "ben", "carol", "builder")


@pytest.fixture(scope="module")
def signers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, KeySigner]:
    folder = tmp_path_factory.mktemp("keys")
    for name in (*PEOPLE, "stranger"):
        new_key(name, folder, NOW)
    return {name: load_signer(folder / f"{name}.key") for name in (*PEOPLE, "stranger")}


@pytest.fixture(scope="module")
def keyring(signers: dict[str, KeySigner]) -> Keyring:
    return Keyring(keys=tuple(_enrolled(signers[name]) for name in PEOPLE))


def _enrolled(signer: KeySigner, **changes: Any) -> EnrolledKey:
    roles = ("approver", "builder") if signer.name == "builder" else ("approver",)
    fields = {"name": signer.name, "key_id": signer.key_id, "public": signer.public, "roles": roles, **changes}
    return EnrolledKey.model_validate(fields)


def _approval(signer: KeySigner, decision: Decision = "promote", evidence: str = EVIDENCE, **changes: Any) -> bytes:
    fields = {
        "family": "asr",
        "evidence": evidence,
        "decision": decision,
        "approver": signer.name,
        "mode": "signed",
        "key_id": signer.key_id,
        "at": NOW,
        **changes,
    }
    return sign(Approval.model_validate(fields), {"evidence": evidence}, APPROVAL_TYPE, signer)


def test_a_private_key_is_readable_by_its_owner_alone_and_never_overwritten(tmp_path: Path) -> None:
    made = new_key("r.manager", tmp_path / "keys", NOW)
    path = tmp_path / "keys" / "r.manager.key"
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_public(tmp_path / "keys" / "r.manager.pub") == made
    before = path.read_bytes()
    with pytest.raises(AlreadyExists, match=r"there is a key named 'r\.manager' already"):
        new_key("r.manager", tmp_path / "keys", NOW)
    assert path.read_bytes() == before
    signer = load_signer(path)
    assert (signer.name, signer.key_id, signer.public) == ("r.manager", made.key_id, made.public)
    assert "PRIVATE" not in repr(signer) + made.model_dump_json()


def test_a_half_made_key_is_not_left_behind(tmp_path: Path) -> None:
    (tmp_path / "anna.pub").write_bytes(b"mine")
    with pytest.raises(AlreadyExists):
        new_key("anna", tmp_path, NOW)
    assert not (tmp_path / "anna.key").exists()
    assert (tmp_path / "anna.pub").read_bytes() == b"mine"


@pytest.mark.parametrize("name", ["", "../up", "Anna", "a b", "x" * 65])
def test_a_key_has_a_plain_name(name: str, tmp_path: Path) -> None:
    with pytest.raises(WrongCall, match="not a name for a key"):
        new_key(name, tmp_path, NOW)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_private_key_is_told(tmp_path: Path) -> None:
    new_key("anna", tmp_path, NOW)
    with pytest.raises(WrongCall, match="no such key"):
        load_signer(tmp_path / "nobody.key")
    (tmp_path / "rsa.key").write_bytes(b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    (tmp_path / "rsa.key").chmod(0o600)
    with pytest.raises(WrongCall, match="not an ed25519 private key"):
        load_signer(tmp_path / "rsa.key")
    with pytest.raises(WrongCall, match="not a public key"):
        read_public(tmp_path / "anna.key")
    (tmp_path / "anna.key").chmod(0o644)
    with pytest.raises(Refused) as raised:
        load_signer(tmp_path / "anna.key")
    assert (raised.value.got, raised.value.next_step) == ("mode 644", f"chmod 600 {tmp_path / 'anna.key'}")


def test_what_was_signed_is_read_back(signers: dict[str, KeySigner], keyring: Keyring) -> None:
    envelope = sign({"format": 1, "words": ["a"]}, {"bundle": OTHER}, BUNDLE_TYPE, signers["builder"])
    statement = verify_envelope(envelope, keyring, role="builder", predicate_type=BUNDLE_TYPE, subject=OTHER)
    assert [key.name for key in statement.signers] == ["builder"]
    assert statement.subjects == {"bundle": OTHER}
    assert statement.predicate == {"format": 1, "words": ["a"]}
    approval = verify_envelope(_approval(signers["anna"]), keyring).document(Approval)
    assert (approval.approver, approval.decision) == ("anna", "promote")
    assert sign({"format": 1}, {"bundle": OTHER}, BUNDLE_TYPE, signers["anna"]) == sign(
        {"format": 1}, {"bundle": OTHER}, BUNDLE_TYPE, signers["anna"]
    ), "ed25519 is deterministic, so a rerun writes the same blob"


def test_the_envelope_is_dsse_of_in_toto(signers: dict[str, KeySigner]) -> None:
    envelope = json.loads(_approval(signers["anna"]))
    assert envelope["payloadType"] == "application/vnd.in-toto+json"
    assert [signature["keyid"] for signature in envelope["signatures"]] == [signers["anna"].key_id]
    statement = json.loads(base64.b64decode(envelope["payload"]))
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["subject"] == [{"name": "evidence", "digest": {"sha256": EVIDENCE}}]


@pytest.mark.parametrize(
    ("subjects", "predicate", "predicate_type", "said"),
    [
        ({}, {"a": 1}, BUNDLE_TYPE, "At least one subject required"),
        ({"bundle": "abc"}, {"a": 1}, BUNDLE_TYPE, "subject.0.digest.sha256"),
        ({"bundle": OTHER}, {}, BUNDLE_TYPE, "Predicate object required"),
        ({"bundle": OTHER}, {"a": 1}, "", "Predicate type required"),
    ],
)
def test_what_in_toto_does_not_allow_cannot_be_signed(
    subjects: dict[str, str], predicate: dict[str, int], predicate_type: str, said: str, signers: dict[str, KeySigner]
) -> None:
    with pytest.raises(WrongCall) as raised:
        sign(dict(predicate), subjects, predicate_type, signers["anna"])
    assert said in raised.value.got


def _refusal(envelope: bytes, keyring: Keyring, **expected: Any) -> SoundcheckError:
    with pytest.raises(Refused) as raised:
        verify_envelope(envelope, keyring, **expected)
    return raised.value


def test_an_unknown_key_is_refused(signers: dict[str, KeySigner], keyring: Keyring) -> None:
    """Fault 23."""
    error = _refusal(_approval(signers["stranger"]), keyring)
    assert error.what == "a signature is by an unknown key"
    assert error.got == f"key {signers['stranger'].key_id[:12]!r}"
    assert _refusal(_approval(signers["anna"]), Keyring()).what == "a signature is by an unknown key"


def test_a_revoked_key_is_refused(signers: dict[str, KeySigner]) -> None:
    revoked = Keyring(keys=(_enrolled(signers["anna"], revoked=COMPROMISED),))
    error = _refusal(_approval(signers["anna"]), revoked)
    assert error.what == "a signature is by a revoked key"
    assert error.got == f"key {signers['anna'].key_id[:12]} of anna (compromised)"


def test_a_key_without_the_role_is_refused(signers: dict[str, KeySigner], keyring: Keyring) -> None:
    error = _refusal(_approval(signers["anna"]), keyring, role="operator")
    assert (error.what, error.got) == ("anna may not sign as operator", "roles approver")


def test_another_type_or_subject_is_refused(signers: dict[str, KeySigner], keyring: Keyring) -> None:
    envelope = _approval(signers["anna"])
    error = _refusal(envelope, keyring, predicate_type=BUNDLE_TYPE)
    assert (error.what, error.got) == ("a statement is of another type", APPROVAL_TYPE)
    error = _refusal(envelope, keyring, subject=OTHER)
    assert (error.what, error.got, error.expected) == (
        "a statement is about something else",
        EVIDENCE[:12],
        OTHER[:12],
    )


def _edit(envelope: bytes, change: Callable[[dict[str, Any]], None]) -> bytes:
    value = json.loads(envelope)
    change(value)
    return canonical_json(value)


def _repack(envelope: dict[str, Any], change: Callable[[dict[str, Any]], None]) -> None:
    statement = json.loads(base64.b64decode(envelope["payload"]))
    change(statement)
    envelope["payload"] = base64.b64encode(canonical_json(statement)).decode()


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (
            lambda e: _repack(e, lambda s: s["predicate"].update(decision="reject")),
            "a signature does not verify",
        ),
        (
            lambda e: _repack(e, lambda s: s["subject"][0]["digest"].update(sha256=OTHER)),
            "a signature does not verify",
        ),
        (lambda e: e["signatures"][0].update(sig=base64.b64encode(b"0" * 64).decode()), "a signature does not verify"),
        (lambda e: e.update(signatures=[]), "an envelope has no signature"),
        (lambda e: e.update(signatures=e["signatures"] * 2), "not a DSSE envelope"),
        (lambda e: e.update(payloadType="text/plain"), "an envelope has another payload type"),
        (lambda e: e.pop("payload"), "not a DSSE envelope"),
        (lambda e: e["signatures"][0].update(sig=7), "not a DSSE envelope"),
    ],
)
def test_an_edited_envelope_is_refused(
    change: Callable[[dict[str, Any]], None], what: str, signers: dict[str, KeySigner], keyring: Keyring
) -> None:
    """Faults 23 and 26."""
    assert _refusal(_edit(_approval(signers["anna"]), change), keyring).what == what


@pytest.mark.parametrize(
    "envelope", [b"", b"{}", b"[]", b"null", b"\xff", b'{"payload":"","payload":"","payloadType":"","signatures":[]}']
)
def test_what_is_no_envelope_is_corrupt(envelope: bytes, keyring: Keyring) -> None:
    with pytest.raises(Corrupt, match="not a DSSE envelope"):
        verify_envelope(envelope, keyring)


def test_a_second_signature_by_a_stranger_spoils_the_envelope(signers: dict[str, KeySigner], keyring: Keyring) -> None:
    stranger = json.loads(_approval(signers["stranger"]))["signatures"]
    both = _edit(_approval(signers["anna"]), lambda e: e["signatures"].extend(stranger))
    assert _refusal(both, keyring).what == "a signature is by an unknown key"


@pytest.mark.parametrize(
    "payload",
    [b"not json", b"[]", b'{"a": 1}', b'{"_type":"https://in-toto.io/Statement/v1"}', b'{"a":1,"a":1}', b'{"a":NaN}'],
)
def test_a_signed_statement_that_is_malformed_is_corrupt(
    payload: bytes, signers: dict[str, KeySigner], keyring: Keyring
) -> None:
    from securesystemslib.dsse import Envelope

    envelope = Envelope(payload, "application/vnd.in-toto+json", {})
    envelope.sign(signers["anna"].private)
    with pytest.raises(Corrupt, match="a signed statement is malformed"):
        verify_envelope(canonical_json(envelope.to_dict()), keyring)


@given(place=st.integers(0, 10_000), change=st.integers(1, 255))
@settings(max_examples=150, deadline=None)
def test_law_an_envelope_with_an_edited_byte_says_the_same_or_is_refused(
    place: int, change: int, signers: dict[str, KeySigner], keyring: Keyring
) -> None:
    original = _approval(signers["anna"])
    edited = bytearray(original)
    edited[place % len(edited)] ^= change
    try:
        statement = verify_envelope(bytes(edited), keyring)
    except Refused:
        return
    assert statement == verify_envelope(original, keyring), "only what is not signed (key order, padding) may differ"


Given = list[tuple[str, Decision]]


@pytest.mark.parametrize(
    ("given_decisions", "quorum", "mandatory", "value", "reason"),
    [
        ([("anna", "promote")], 1, (), Value.PASS, "approved by anna"),
        ([("anna", "promote"), ("ben", "promote")], 2, ("ben",), Value.PASS, "approved by anna, ben"),
        ([], 1, (), Value.INCONCLUSIVE, "0 of 1 approvals"),
        ([("anna", "promote")], 2, (), Value.INCONCLUSIVE, "1 of 2 approvals"),
        ([("anna", "promote"), ("anna", "promote")], 2, (), Value.INCONCLUSIVE, "1 of 2 approvals"),
        ([("anna", "promote")], 1, ("carol",), Value.INCONCLUSIVE, "the approval of carol is mandatory"),
        (
            [("builder", "promote")],
            1,
            (),
            Value.INCONCLUSIVE,
            "builder built this bundle and cannot be its only approver",
        ),
        ([("builder", "promote"), ("anna", "promote")], 2, (), Value.PASS, "approved by anna, builder"),
        ([("anna", "promote"), ("ben", "reject")], 1, (), Value.FAIL, "rejected by ben"),
        ([("anna", "reject"), ("anna", "promote")], 1, (), Value.FAIL, "rejected by anna"),
        ([("anna", "promote"), ("ben", "hold")], 1, (), Value.INCONCLUSIVE, "held by ben"),
        ([("anna", "hold"), ("anna", "promote")], 1, (), Value.PASS, "approved by anna"),
        ([("anna", "promote"), ("anna", "hold")], 1, (), Value.INCONCLUSIVE, "0 of 1 approvals"),
        ([], 0, (), Value.INCONCLUSIVE, "0 of 1 approvals"),
    ],
)
def test_the_approval_policy(
    given_decisions: Given,
    quorum: int,
    mandatory: tuple[str, ...],
    value: Value,
    reason: str,
    signers: dict[str, KeySigner],
    keyring: Keyring,
) -> None:
    """R8.2 and R8.3."""
    envelopes = [_approval(signers[name], decision) for name, decision in given_decisions]
    counted = [read_approval(envelope, EVIDENCE, keyring) for envelope in envelopes]
    verdict = judge_decisions(counted, quorum=quorum, mandatory=mandatory, builder="builder")
    assert (verdict.value, verdict.reasons[0]) == (value, reason)


def test_everything_that_is_missing_is_said_at_once(signers: dict[str, KeySigner], keyring: Keyring) -> None:
    given_alone = [read_approval(_approval(signers["builder"]), EVIDENCE, keyring)]
    assert judge_decisions(given_alone, quorum=2, mandatory=("carol", "anna"), builder="builder").reasons == (
        "1 of 2 approvals",
        "the approval of anna, carol is mandatory",
        "builder built this bundle and cannot be its only approver",
    )


def _about(signer: KeySigner, subject: str, **changes: Any) -> bytes:
    """A decision whose subject is not what its text says."""
    text = verify_envelope(_approval(signer, **changes), Keyring(keys=(_enrolled(signer),))).document(Approval)
    return sign(text, {"evidence": subject}, APPROVAL_TYPE, signer)


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda s: _approval(s["carol"], evidence=OTHER), "a statement is about something else"),
        (lambda s: _about(s["carol"], EVIDENCE, evidence=OTHER), "carol decided about other evidence"),
        (lambda s: _approval(s["ben"]), "a signature is by a revoked key"),
        (lambda s: _approval(s["stranger"]), "a signature is by an unknown key"),
        (lambda s: _approval(s["carol"], approver="ben"), "a decision names another approver than its signature"),
        (
            lambda s: _approval(s["carol"], key_id=s["ben"].key_id),
            "a decision names another approver than its signature",
        ),
        (lambda s: sign({"a": 1}, {"evidence": EVIDENCE}, BUNDLE_TYPE, s["carol"]), "a statement is of another type"),
        (lambda s: sign({"a": 1}, {"evidence": EVIDENCE}, APPROVAL_TYPE, s["carol"]), "a document is of another kind"),
        (lambda _s: b"not an envelope", "not a DSSE envelope"),
    ],
)
def test_a_decision_that_does_not_count_is_refused(
    make: Callable[[dict[str, KeySigner]], bytes], what: str, signers: dict[str, KeySigner], keyring: Keyring
) -> None:
    """Fault 36: an approval of A used for B, a revoked approver, an unknown one, a borrowed name."""
    revoked = revoke(keyring, "ben", COMPROMISED)
    with pytest.raises(Refused) as raised:
        read_approval(make(signers), EVIDENCE, revoked)
    assert raised.value.what == what


def test_an_operator_who_is_no_approver_cannot_approve(signers: dict[str, KeySigner]) -> None:
    keyring = Keyring(keys=(_enrolled(signers["anna"], roles=("operator",)),))
    with pytest.raises(Refused, match="anna may not sign as approver"):
        read_approval(_approval(signers["anna"]), EVIDENCE, keyring)
