"""DSSE envelopes of in-toto statements: what they must be like, and how one is verified.

Boundary: no I/O, no clock; bytes and a keyring in, a statement out.
Invariants: what is signed is the canonical JSON of an in-toto Statement v1 whose subjects are sha256 digests; every
signature of an envelope must be by an enrolled key that counts, else the whole is refused; a revoked key counts only
for what stood in the ledger before its revocation, and only where the caller says so.
Source: DSSE 1.0 (securesystemslib), in-toto Statement v1 (in-toto-attestation); release-algorithm R5.4, R8.2; faults
23, 26, 36.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from pydantic import Field, JsonValue, ValidationError

from contracts.digest import Digest, canonical_json, short
from contracts.document import Document, Part
from contracts.errors import Corrupt, Refused
from registry.keyring import EnrolledKey, Keyring, Position, Reason, Role

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
BUNDLE_TYPE = "https://soundcheck.invalid/predicates/bundle/v1"
"""Predicate of a builder's signature: the subject is the bundle's digest."""
APPROVAL_TYPE = "https://soundcheck.invalid/predicates/approval/v1"
"""Predicate of an approver's signature: an Approval; the subject is the evidence's digest."""
WAIVER_TYPE = "https://soundcheck.invalid/predicates/waiver/v1"
"""Predicate of an approver's signature: a SignedWaiver; the subject is the payload's digest."""
KEYRING_TYPE = "https://soundcheck.invalid/predicates/keyring/v1"
"""Predicate of root keys: a version of the key ring; the subject is its digest."""
Kind = TypeVar("Kind", bound=Document)


class _Subject(Part):
    name: str
    digest: dict[Literal["sha256"], Digest] = Field(min_length=1)


class StatementBody(Part):
    """The in-toto Statement v1 that is signed; its JSON has the aliases as keys."""

    type_: Literal["https://in-toto.io/Statement/v1"] = Field(alias="_type")
    subject: tuple[_Subject, ...]
    predicate_type: str = Field(alias="predicateType")
    predicate: dict[str, JsonValue]

    def subjects(self) -> dict[str, Digest]:
        """Name -> digest."""
        return {entry.name: entry.digest["sha256"] for entry in self.subject}

    def predicate_bytes(self) -> bytes:
        """The predicate as it was signed."""
        return canonical_json(self.predicate)


def check_statement(value: Any) -> StatementBody:
    """A JSON value as a statement; raises ValueError, in one line, where the specification does not allow it."""
    from in_toto_attestation.v1.resource_descriptor import ResourceDescriptor
    from in_toto_attestation.v1.statement import Statement as InTotoStatement

    try:
        body = StatementBody.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    subjects = [ResourceDescriptor(name=entry.name, digest=dict(entry.digest)).pb for entry in body.subject]
    InTotoStatement(subjects, body.predicate_type, body.predicate).validate()
    return body


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """What an envelope says, after its signatures were verified.

    `signers` are the enrolled keys that signed; `subjects` maps a name to a digest; `predicate` is the JSON value.
    """

    signers: tuple[EnrolledKey, ...]
    subjects: Mapping[str, Digest]
    predicate_type: str
    predicate: dict[str, Any]

    def document(self, cls: type[Kind]) -> Kind:
        """The predicate as a document; raises Corrupt where it is of another kind."""
        return cls.parse(canonical_json(self.predicate), where=f"statement of {self.signers[0].name}")


def verify_envelope(
    envelope: bytes,
    keyring: Keyring,
    *,
    role: Role | None = None,
    predicate_type: str | None = None,
    subject: Digest | None = None,
    at: Position | None = None,
    kept: Collection[Reason] = (),
) -> Statement:
    """Check an envelope and return what it says.

    1. It is a DSSE envelope of an in-toto statement, by structure (Corrupt).
    2. Every signature is by an enrolled key with `role`, not revoked (Refused). A key that was revoked for one of the
       `kept` reasons counts for an envelope that stands in the ledger `at` a place before the revocation.
    3. Every signature verifies over the pre-authentication encoding (Refused).
    4. The statement is valid, of `predicate_type`, about `subject` (Corrupt, Refused).
    """
    parsed = parse_envelope(envelope)  # 1
    signers = tuple(_signer(key_id, keyring, role, at, kept) for key_id in parsed.signatures)  # 2
    for key in signers:
        _check_signature(parsed, key)  # 3
    return _statement(parsed, signers, predicate_type, subject)  # 4


def parse_envelope(envelope: bytes) -> Any:
    """The library's Envelope, with at least one signature; nothing is verified yet. Raises Corrupt, Refused."""
    from securesystemslib.dsse import Envelope

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(pairs) != len(dict(pairs)):
            raise ValueError("a JSON key stands twice")
        return dict(pairs)

    try:
        parsed = Envelope.from_dict(json.loads(envelope, object_pairs_hook=once))
    except Exception as error:  # the library lets many kinds through for malformed input; none of them is a signature
        raise Corrupt("not a DSSE envelope", got=f"{type(error).__name__}: {error}") from None
    if parsed.payload_type != PAYLOAD_TYPE:
        raise Corrupt("an envelope has another payload type", got=repr(parsed.payload_type), expected=PAYLOAD_TYPE)
    if not parsed.signatures:
        raise Refused("an envelope has no signature", expected="a signature by an enrolled key")
    return parsed


def _signer(
    key_id: str, keyring: Keyring, role: Role | None, at: Position | None, kept: Collection[Reason]
) -> EnrolledKey:
    key = keyring.by_id(key_id)
    if key is None:
        raise Refused(
            "a signature is by an unknown key",
            got=f"key {key_id[:12]!a}",
            expected="a key of the key ring",
            next_step="enrol it with `soundcheck keys enrol`, if you trust its holder",
        )
    if key.revoked and not (at and key.revoked.reason in kept and key.revoked.covers(at)):
        raise Refused(
            "a signature is by a revoked key", got=f"key {short(key_id)} of {key.name} ({key.revoked.reason})"
        )
    if role and role not in key.roles:
        raise Refused(
            f"{key.name} may not sign as {role}",
            got=f"roles {', '.join(key.roles)}",
            next_step=f"`soundcheck keys enrol --role {role}`, if {key.name} is to have it",
        )
    return key


def _verifies(parsed: Any, key: EnrolledKey) -> bool:
    from securesystemslib.exceptions import UnverifiedSignatureError
    from securesystemslib.signer import SSlibKey

    public = SSlibKey(key.key_id, "ed25519", "ed25519", {"public": key.public})
    try:
        public.verify_signature(parsed.signatures[key.key_id], parsed.pae())
    except UnverifiedSignatureError:
        return False
    return True


def signed_by(parsed: Any, keys: Iterable[EnrolledKey]) -> list[str]:
    """Names of those of these keys whose signature is there and verifies; other signatures count for nothing."""
    return sorted(key.name for key in keys if key.key_id in parsed.signatures and _verifies(parsed, key))


def _check_signature(parsed: Any, key: EnrolledKey) -> None:
    if not _verifies(parsed, key):
        raise Refused(
            "a signature does not verify",
            got=f"signature of {key.name} (key {short(key.key_id)})",
            expected="the signature of exactly these bytes",
        )


def statement_of(parsed: Any, *, where: str) -> StatementBody:
    """The statement in an envelope, by structure; Corrupt where it is none, or not in canonical form."""
    payload: bytes = parsed.payload
    try:
        value = json.loads(payload)
        if canonical_json(value) != payload:
            raise ValueError("not in canonical form")
        return check_statement(value)
    except ValueError as error:
        raise Corrupt("a signed statement is malformed", where=where, got=str(error)) from None


def _statement(
    parsed: Any, signers: tuple[EnrolledKey, ...], predicate_type: str | None, subject: Digest | None
) -> Statement:
    body = statement_of(parsed, where=f"signed by {signers[0].name}")
    subjects = body.subjects()
    if predicate_type and body.predicate_type != predicate_type:
        raise Refused("a statement is of another type", got=body.predicate_type, expected=predicate_type)
    if subject and subject not in subjects.values():
        raise Refused(
            "a statement is about something else",
            got=", ".join(short(digest) for digest in subjects.values()),
            expected=short(subject),
        )
    return Statement(signers=signers, subjects=subjects, predicate_type=body.predicate_type, predicate=body.predicate)
