"""Who may sign what: the approvers' file.

Boundary: one JSON file, `{"keys": [{"name", "key_id", "public", "roles", "revoked"}]}`; it holds no secret.
Invariants: only ed25519 keys; a key's id is computed from the key, so that an edited file cannot bind a trusted id to
another key (algorithm downgrade has nowhere to stand); one name has at most one key that is not revoked; a revoked key
stays listed, so that what it signed is refused by name.
Source: release-algorithm R8.2; faults 23, 26, 36.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from contracts.document import Part
from contracts.errors import Corrupt, Refused, WrongCall
from registry.store.files import disk, exclusive, make_folder, replace_file

Role = Literal["approver", "builder", "operator"]
LOCK_TIMEOUT_S = 30.0


class PublicKey(Part):
    """An ed25519 public key (64 hexadecimal characters), its computed id, and the name of who holds it."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
    key_id: str = Field(pattern=r"^[0-9a-f]{64}$")
    public: str = Field(pattern=r"^[0-9a-f]{64}$")


class EnrolledKey(PublicKey):
    """A public key and what it may sign."""

    roles: tuple[Role, ...]
    revoked: bool = False


class Keyring(Part):
    """The keys of an installation."""

    keys: tuple[EnrolledKey, ...] = ()

    def by_id(self, key_id: str) -> EnrolledKey | None:
        """The key of an id, revoked or not."""
        return next((key for key in self.keys if key.key_id == key_id), None)

    def active(self, name: str) -> EnrolledKey | None:
        """The key a name signs with now."""
        return next((key for key in self.keys if key.name == name and not key.revoked), None)


def key_id_of(public: str) -> str:
    """The id of an ed25519 public key, as securesystemslib computes it; raises ValueError for something else."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from securesystemslib.signer import SSlibKey

    return str(SSlibKey.from_crypto(Ed25519PublicKey.from_public_bytes(bytes.fromhex(public))).keyid)


def read_keyring(path: Path) -> Keyring:
    """The approvers' file; one that does not exist is an empty keyring, by which nobody can sign."""
    with disk("the approvers' file could not be read", str(path)):
        if not path.exists():
            return Keyring()
        content = path.read_bytes()
    try:
        keyring = Keyring.model_validate(json.loads(content))
        for key in keyring.keys:
            if key_id_of(key.public) != key.key_id:
                raise ValueError(f"the id of {key.name!r} is not the id of its key")
        _check_unique(keyring)
    except ValueError as error:
        raise Corrupt(
            "the approvers' file does not satisfy its contract",
            where=str(path),
            got=_first(error),
            next_step="restore it, or enrol the keys again with `soundcheck keys enrol`",
        ) from None
    return keyring


def _first(error: ValueError) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_input=False)[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return str(error)


def _check_unique(keyring: Keyring) -> None:
    ids = [key.key_id for key in keyring.keys]
    names = [key.name for key in keyring.keys if not key.revoked]
    if len(ids) != len(set(ids)):
        raise ValueError("a key is listed twice")
    if len(names) != len(set(names)):
        raise ValueError("a name has two keys that are not revoked")


def enrol(path: Path, key: PublicKey, roles: tuple[Role, ...]) -> Keyring:
    """Add a key, or roles to a key that is there; the new keyring.

    Raises WrongCall without a role, Refused for a revoked key and for a name that holds another key already.
    """
    if not roles:
        raise WrongCall("a key needs a role", where=key.name, expected="approver, builder or operator")

    def add(keyring: Keyring) -> Keyring:
        known = keyring.by_id(key.key_id)
        holder = keyring.active(key.name)
        if known and (known.revoked or known.name != key.name):
            what = "is revoked" if known.revoked else f"belongs to {known.name!r}"
            raise Refused(f"the key {what}", where=f"{path}, {key.name}", next_step="make a new key")
        if holder and holder.key_id != key.key_id:
            raise Refused(
                f"{key.name!r} has another key",
                where=str(path),
                got=f"key {key.key_id[:12]}",
                expected=f"key {holder.key_id[:12]}",
                next_step=f"revoke the old one first: `soundcheck keys revoke {key.name}`",
            )
        had = known.roles if known else ()
        enrolled = EnrolledKey(name=key.name, key_id=key.key_id, public=key.public, roles=tuple(sorted({*had, *roles})))
        return Keyring(keys=(*(other for other in keyring.keys if other != known), enrolled))

    return _change(path, add)


def revoke(path: Path, name: str) -> Keyring:
    """Revoke the key that a name signs with (or that has this id); the new keyring. WrongCall for an unknown name."""

    def strike(keyring: Keyring) -> Keyring:
        struck = keyring.active(name) or keyring.by_id(name)
        if struck is None:
            raise WrongCall(
                "no such key",
                where=str(path),
                got=repr(name),
                expected=", ".join(key.name for key in keyring.keys if not key.revoked) or "no key is enrolled",
            )
        return Keyring(
            keys=tuple(key.model_copy(update={"revoked": True}) if key == struck else key for key in keyring.keys)
        )

    return _change(path, strike)


def _change(path: Path, edit: Callable[[Keyring], Keyring]) -> Keyring:
    """Read, edit and replace the file in one step, alone among processes."""
    with disk("the approvers' file could not be written", str(path)):
        make_folder(path.parent)
        with exclusive(path.with_name(path.name + ".lock"), timeout_s=LOCK_TIMEOUT_S):
            keyring = edit(read_keyring(path))
            content = json.dumps(keyring.model_dump(mode="json"), indent=2).encode() + b"\n"
            replace_file(path, content, scratch=path.parent)
    return keyring
