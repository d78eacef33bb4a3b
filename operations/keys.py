"""Keys of this installation: the builder's own, those of approvers and operators, and API keys of clients.

Boundary: reads and writes HOME/keys, HOME/approvers.json and HOME/api_keys.json.
Invariants: a private key never leaves its file (mode 0600); the builder's key is made once, at first use, and has no
other role (R8.2); the gateway knows API keys by digest alone, their text lies in HOME/keys.
"""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path

from contracts.bundle import BundleManifest
from contracts.digest import Digest, sha256_bytes
from contracts.errors import Refused
from operations.context import Context
from registry.keyring import EnrolledKey, Keyring, Role
from registry.signing import (
    BUNDLE_TYPE,
    KeyInfo,
    KeySigner,
    enrol,
    load_signer,
    new_key,
    read_keyring,
    sign,
    verify_envelope,
)
from registry.signing import revoke as revoke_key

ANY_TENANT = "*"
"""An API key of this installation speaks for whichever tenant a request names."""
BUILDER = "builder"
ROLLBACK_TYPE = "https://soundcheck.invalid/predicates/rollback/v1"


def folder(home: Path) -> Path:
    """Where private keys lie."""
    return home / "keys"


def ring_path(home: Path) -> Path:
    """The approvers' file: public keys, roles, revocations."""
    return home / "approvers.json"


def ring(context: Context) -> Keyring:
    """The public keys."""
    return read_keyring(ring_path(context.home))


def new(context: Context, name: str, roles: tuple[str, ...]) -> KeyInfo:
    """Make a key and enrol its public half; AlreadyExists where the name has one."""
    made = new_key(name, folder(context.home), context.timestamp())
    known: tuple[Role, ...] = tuple(role for role in ("approver", "builder", "operator") if role in roles)
    enrol(ring_path(context.home), made, known)
    return made


def revoke(context: Context, name: str) -> None:
    """Revoke a name's key."""
    revoke_key(ring_path(context.home), name)


def load(context: Context, name: str) -> KeySigner:
    """A person's key, by name."""
    return load_signer(folder(context.home) / f"{name}.key")


def builder(context: Context) -> KeySigner:
    """The builder's key; made and enrolled at first use."""
    if not (folder(context.home) / f"{BUILDER}.key").is_file():
        new(context, BUILDER, ("builder",))
    return load(context, BUILDER)


def builder_id(context: Context) -> str:
    """The id of the builder's key, "" before there is one."""
    key = ring(context).active(BUILDER)
    return key.key_id if key else ""


def require_role(context: Context, signer: KeySigner, role: Role) -> EnrolledKey:
    """The enrolled key of a signer; Refused where it is unknown, revoked, or has not this role."""
    key = ring(context).by_id(signer.key_id)
    if key is None or key.revoked or role not in key.roles:
        raise Refused(
            f"the key {signer.name!r} may not act as {role}",
            where=str(ring_path(context.home)),
            got="not enrolled" if key is None else "revoked" if key.revoked else "roles: " + ", ".join(key.roles),
            expected=f"an enrolled key with the role {role}",
            next_step=f"soundcheck keys new NAME --role {role}",
        )
    return key


def sign_bundle(context: Context, manifest: BundleManifest, bundle: Digest) -> bytes:
    """The builder's statement about a bundle (R5.4); the same bytes each time."""
    return sign(manifest, {manifest.family: bundle}, BUNDLE_TYPE, builder(context))


def verify_bundle(context: Context, envelope: bytes, bundle: Digest) -> None:
    """Refused or Corrupt where the envelope is not the builder's word about this bundle (B3)."""
    verify_envelope(envelope, ring(context), role="builder", predicate_type=BUNDLE_TYPE, subject=bundle)


def sign_rollback(context: Context, signer: KeySigner, family: str, target: Digest, reason: str) -> bytes:
    """An operator's signed word to go to a bundle, with the reason (B0)."""
    predicate = {"family": family, "target": target, "reason": reason, "at": context.timestamp()}
    return sign(predicate, {family: target}, ROLLBACK_TYPE, signer)


def ensure_api_key(home: Path, name: str) -> str:
    """The API key of a client; made at first use, its digest goes into the gateway's file."""
    path = folder(home) / f"{name}.api"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        key = f"sk-{secrets.token_urlsafe(24)}"
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
            stream.write(key)
        _enrol_api_key(home / "api_keys.json", key, name)
    return path.read_text()


def _enrol_api_key(path: Path, key: str, name: str) -> None:
    known = json.loads(path.read_text()) if path.is_file() else {"keys": {}}
    known["keys"][sha256_bytes(key.encode())] = {"name": name, "tenant": ANY_TENANT}
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(known, indent=2))
    temporary.replace(path)
