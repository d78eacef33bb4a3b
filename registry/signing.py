"""Signatures: ed25519 keys in files, and signing; the face of the room's signing for the floors above.

Boundary: key files in the folder it is handed; everything else is bytes in, bytes out; no clock (times come in).
Invariants: a private key is written once, readable by its owner alone, and is neither printed nor returned.
Source: DSSE 1.0 and ed25519 through securesystemslib; release-algorithm R5.4, R8.2. Verification is in
registry/envelopes.py, the key ring in registry/keyring.py and keyring_chain.py, the approval policy in
registry/approvals.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from contracts.digest import Digest, canonical_json
from contracts.document import Document
from contracts.errors import AlreadyExists, Refused, WrongCall
from registry.envelopes import (
    APPROVAL_TYPE,
    BUNDLE_TYPE,
    PAYLOAD_TYPE,
    STATEMENT_TYPE,
    WAIVER_TYPE,
    Statement,
    check_statement,
    parse_envelope,
    verify_envelope,
)
from registry.keyring import EnrolledKey, Keyring, PublicKey
from registry.store.files import disk, make_folder, new_file, write_all

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from securesystemslib.dsse import Envelope
    from securesystemslib.signer import CryptoSigner

__all__ = [
    "APPROVAL_TYPE", "BUNDLE_TYPE", "WAIVER_TYPE", "EnrolledKey", "KeyInfo", "KeySigner", "Keyring", "Statement",
    "load_signer", "new_key", "read_public", "sign", "sign_also", "verify_envelope",
]  # fmt: skip

KEY_SUFFIX = ".key"
PUBLIC_SUFFIX = ".pub"


class KeyInfo(PublicKey):
    """A key that was made: its public half, and when (UTC, ISO 8601 with `Z`)."""

    created: str


def new_key(name: str, folder: Path, now: str) -> KeyInfo:
    """Make an ed25519 key: `NAME.key` (PEM, readable by its owner alone) and `NAME.pub` (JSON); its public half.

    Raises AlreadyExists where the name has a key; keys are never overwritten.
    """
    from securesystemslib.signer import CryptoSigner

    signer = CryptoSigner.generate_ed25519()
    public = signer.public_key
    try:
        info = KeyInfo(name=name, key_id=public.keyid, public=public.keyval["public"], created=now)
    except ValueError:
        raise WrongCall("not a name for a key", got=repr(name), expected="a-z, 0-9, dot, dash, underscore") from None
    private, readable = folder / (name + KEY_SUFFIX), folder / (name + PUBLIC_SUFFIX)
    with disk("a key could not be written", str(folder)):
        make_folder(folder)
        try:
            with new_file(private, mode=0o600) as secret, new_file(readable) as shown:
                write_all(secret, signer.private_bytes)
                write_all(shown, info.model_dump_json(indent=2).encode() + b"\n")
        except AlreadyExists as error:
            raise AlreadyExists(
                f"there is a key named {name!r} already", where=error.where, next_step="choose another name"
            ) from None
    return info


def read_public(path: Path) -> KeyInfo:
    """The public half that `new_key` wrote as `NAME.pub`."""
    try:
        return KeyInfo.model_validate_json(path.read_bytes())
    except (OSError, ValueError):
        raise WrongCall("not a public key of Soundcheck", where=str(path), expected="NAME.pub") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySigner:
    """A private key in use: the name of its file, its id, its public half."""

    name: str
    key_id: str
    public: str
    private: CryptoSigner = field(repr=False)

    def public_key(self) -> PublicKey:
        """What goes into the key ring."""
        return PublicKey(name=self.name, key_id=self.key_id, public=self.public)


def load_signer(path: Path) -> KeySigner:
    """The private key `NAME.key`; WrongCall where it is no ed25519 key, Refused where others can read it."""
    from securesystemslib.signer import CryptoSigner

    if not path.is_file():
        raise WrongCall("no such key", where=str(path), next_step="make one with `soundcheck keys new NAME`")
    with disk("a key could not be read", str(path)):
        mode = path.stat().st_mode & 0o777
        content = path.read_bytes()
    if mode & 0o077:
        raise Refused(
            "a private key can be read by others",
            where=str(path),
            got=f"mode {mode:o}",
            expected="mode 600",
            next_step=f"chmod 600 {path}",
        )
    private = CryptoSigner(_ed25519(content, path))
    public = private.public_key
    return KeySigner(name=path.stem, key_id=public.keyid, public=public.keyval["public"], private=private)


def _ed25519(content: bytes, path: Path) -> Ed25519PrivateKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    with suppress(ValueError, TypeError):
        private = load_pem_private_key(content, None)
        if isinstance(private, Ed25519PrivateKey):
            return private
    raise WrongCall("not an ed25519 private key", where=str(path), expected="a file that `soundcheck keys new` made")


def sign(
    payload: Document | Mapping[str, JsonValue],
    subjects: Mapping[str, Digest],
    predicate_type: str,
    *signers: KeySigner,
) -> bytes:
    """A DSSE envelope (canonical JSON) of an in-toto statement about `subjects` (name -> digest), signed by each.

    Raises WrongCall for a statement that the in-toto specification does not allow (no subject, empty predicate).
    """
    from securesystemslib.dsse import Envelope

    statement = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": digest}} for name, digest in sorted(subjects.items())],
        "predicateType": predicate_type,
        "predicate": payload.as_json() if isinstance(payload, Document) else dict(payload),
    }
    try:
        check_statement(statement)
    except ValueError as error:
        raise WrongCall("a statement cannot be signed", where=predicate_type, got=str(error)) from None
    return _signed(Envelope(canonical_json(statement), PAYLOAD_TYPE, {}), signers)


def sign_also(envelope: bytes, signers: Iterable[KeySigner]) -> bytes:
    """The same envelope with these signatures added; Corrupt where it is none."""
    return _signed(parse_envelope(envelope), signers)


def _signed(envelope: Envelope, signers: Iterable[KeySigner]) -> bytes:
    for signer in signers:
        envelope.sign(signer.private)
    return canonical_json(envelope.to_dict())
