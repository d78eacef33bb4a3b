"""Keys of this installation: the root's and the builder's own, those of approvers and operators, API keys of clients.

Boundary: reads and writes HOME/keys, HOME/keyring.json and HOME/api_keys.json; the key ring lies in the store.
Invariants: a private key never leaves its file (mode 0600); the root's and the builder's keys are made once, at first
use, and the builder's has no other role (R8.2); every change of the key ring is a version of it, signed by root keys;
the newest version this installation has accepted is kept in HOME/keyring.json, so that an older or another ring is
noticed; the gateway knows API keys by digest alone, their text lies in HOME/keys.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from pydantic import NonNegativeInt, ValidationError

from contracts.digest import Digest, sha256_bytes
from contracts.document import Part
from contracts.errors import Conflict, Corrupt, Refused, WrongCall
from operations.context import Context, log
from registry.keyring import ROLES, EnrolledKey, Keyring, PublicKey, Quorums, Reason, Revocation, Role
from registry.keyring import enrol as enrolled
from registry.keyring import revoke as revoked
from registry.keyring import rotate as rotated
from registry.keyring_chain import EMPTY, Anchor, NotEnough, Ring, draft, load_ring, publish
from registry.signing import (
    KeySigner,
    load_signer,
    new_key,
    read_public,
    sign,
    sign_also,
)
from registry.store.files import disk, exclusive, make_folder, replace_file

ANY_TENANT = "*"
"""An API key of this installation speaks for whichever tenant a request names."""
BUILDER, ROOT = "builder", "root"
ROLLBACK_TYPE = "https://soundcheck.invalid/predicates/rollback/v1"
LOCK_TIMEOUT_S = 30.0
ATTEMPTS = 8
NEXT = "next"
"""Folder in HOME/keys: a new key until the ring has it in place of the old one."""


class _Accepted(Part):
    """HOME/keyring.json: the newest version of the key ring that this installation has accepted."""

    version: NonNegativeInt
    digest: Digest


def folder(home: Path) -> Path:
    """Where private keys lie."""
    return home / "keys"


def anchor_path(home: Path) -> Path:
    """Which version of the key ring was accepted here last."""
    return home / "keyring.json"


def ring(context: Context) -> Keyring:
    """The key ring as it stands; Corrupt where it is older than, or other than, what was accepted here before."""
    return _ring(context).keyring


def _ring(context: Context) -> Ring:
    anchor = _anchor(context.home)
    found = load_ring(context.store, anchor)
    if found.anchor and found.anchor != anchor:
        if anchor is None and found.anchor.version and not _own_roots(context, found.keyring):
            log.warning(
                "the key ring of %s is trusted on first use, at version %d, %s: compare it with `soundcheck keys list` "
                "of another installation", context.store.url, found.anchor.version, found.anchor.digest,
            )  # fmt: skip
        _accept(context.home, found.anchor)
    return found


def _anchor(home: Path) -> Anchor | None:
    path = anchor_path(home)
    with disk("the accepted key ring could not be read", str(path)):
        if not path.exists():
            return None
        content = path.read_bytes()
    try:
        return Anchor(**_Accepted.model_validate_json(content).model_dump())
    except ValidationError:
        raise Corrupt(
            "the file of the accepted key ring cannot be read",
            where=str(path),
            expected="version and digest",
            next_step="remove it, if nobody else can write here; the ring is then trusted on first use",
        ) from None


def _accept(home: Path, anchor: Anchor) -> None:
    """Remember a version; one that is newer already stays."""
    path = anchor_path(home)
    with disk("the accepted key ring could not be written", str(path)):
        make_folder(home)
        with exclusive(path.with_suffix(".accept.lock"), timeout_s=LOCK_TIMEOUT_S):
            known = _anchor(home)
            if known is None or known.version < anchor.version:
                content = _Accepted(**anchor._asdict()).model_dump_json().encode() + b"\n"
                replace_file(path, content, scratch=home)


def _own_roots(context: Context, keyring: Keyring, place: str = "") -> list[KeySigner]:
    """The root keys of this ring whose private half lies here."""
    paths = [folder(context.home) / place / f"{key.name}.key" for key in keyring.holders("root")]
    here = [load_signer(path) for path in paths if path.is_file()]
    roots = {key.key_id for key in keyring.holders("root")}
    return [signer for signer in here if signer.key_id in roots]


@contextmanager
def _changing(context: Context) -> Iterator[None]:
    """One change of the key ring at a time in this installation."""
    with disk("the key ring could not be changed", str(context.home)):
        make_folder(folder(context.home))
        with exclusive(folder(context.home) / "keyring.lock", timeout_s=LOCK_TIMEOUT_S):
            yield


def _change(context: Context, change: str, edit: Callable[[Keyring], Keyring]) -> Keyring:
    """Publish the next version of the key ring, signed by the root keys that lie here.

    Where they are not enough, the draft is kept for other holders of root keys, and Refused says where. Another
    installation that was faster is not overwritten: the edit is made again on its version.
    """
    for attempt in range(ATTEMPTS):
        before = _ring(context)
        if before.anchor is None:
            before = _founded(context)
        after = edit(before.keyring)
        if after == before.keyring:
            return after
        signers = {signer.key_id: signer for signer in _own_roots(context, before.keyring)}
        signers |= {signer.key_id: signer for place in ("", NEXT) for signer in _own_roots(context, after, place)}
        if not signers:
            raise _no_root(context, before.keyring)
        made = draft(before, after, at=context.timestamp(), change=change, signers=list(signers.values()))
        try:
            return _publish(context, before, made)
        except Conflict:
            if attempt + 1 == ATTEMPTS:
                raise
    raise AssertionError("the last attempt returns or raises")


def _publish(context: Context, before: Ring, made: bytes) -> Keyring:
    """Publish a draft, or keep it where signatures are missing."""
    path = folder(context.home) / "draft.json"
    try:
        after = publish(context.store, before, made)
    except NotEnough as error:
        replace_file(path, made, scratch=path.parent)
        raise NotEnough(
            error.what, where=error.where, got=error.got, expected=error.expected,
            next_step=f"its other signers run `soundcheck keys sign DRAFT`; the last one publishes. The draft: {path}",
        ) from None  # fmt: skip
    path.unlink(missing_ok=True)
    assert after.anchor is not None
    _accept(context.home, after.anchor)
    return after.keyring


def _founded(context: Context) -> Ring:
    """Version 0: the root key of this installation alone."""
    if not (folder(context.home) / f"{ROOT}.key").is_file():
        new_key(ROOT, folder(context.home), context.timestamp())
    signer = load(context, ROOT)
    first = enrolled(Keyring(), signer.public_key(), ("root",))
    made = draft(EMPTY, first, at=context.timestamp(), change="the first key ring", signers=[signer])
    founded = publish(context.store, EMPTY, made)
    assert founded.anchor is not None
    _accept(context.home, founded.anchor)
    return founded


def _no_root(context: Context, keyring: Keyring) -> Refused:
    return Refused(
        "only a root key may change the key ring, and none lies here",
        where=str(folder(context.home)),
        expected="the key of " + " or ".join(key.name for key in keyring.holders("root")),
        next_step="carry NAME.pub to its holder, who runs `soundcheck keys enrol NAME.pub --role ROLE`",
    )


def sign_draft(context: Context, path: Path) -> Keyring:
    """Add the root keys of this installation to a draft of the next version, and publish it if that is enough."""
    with _changing(context):
        before = _ring(context)
        try:
            made = path.read_bytes()
        except OSError:
            raise WrongCall("no such draft", where=str(path)) from None
        signers = _own_roots(context, before.keyring)
        if not signers:
            raise _no_root(context, before.keyring)
        return _publish(context, before, sign_also(made, signers))


def new(context: Context, name: str, roles: tuple[str, ...]) -> KeySigner:
    """Make a key and enrol its public half; AlreadyExists where the name has one that was enrolled."""
    path = folder(context.home) / f"{name}.key"
    if not path.is_file() or ring(context).by_id(load_signer(path).key_id):
        new_key(name, path.parent, context.timestamp())
    made = load_signer(path)  # where it was there, this was killed before it was enrolled
    enrol(context, made.public_key(), roles)
    return made


def enrol(context: Context, key: PublicKey, roles: tuple[str, ...]) -> Keyring:
    """Let a key sign with these roles."""
    known = tuple(role for role in ROLES if role in roles)
    with _changing(context):
        return _change(context, f"enrol {key.name} as {', '.join(known)}", lambda ring: enrolled(ring, key, known))


def enrol_file(context: Context, path: Path, roles: tuple[str, ...]) -> Keyring:
    """Enrol the public half that somebody else has made (`NAME.pub`)."""
    info = read_public(path)
    return enrol(context, PublicKey(name=info.name, key_id=info.key_id, public=info.public), roles)


def revoke(
    context: Context, name: str, reason: Reason = "compromised", since: Mapping[str, int] | None = None
) -> Keyring:
    """Revoke a name's key: what it signs from now on (or from after `since`, by family) is refused.

    Of a compromised key earlier decisions are refused too, unless the ring's `compromised` says `keep_earlier`.
    """
    revocation = Revocation(reason=reason, since={**_here(context), **(since or {})}, at=context.timestamp())
    with _changing(context):
        return _change(context, f"revoke {name}: {reason}", lambda ring: revoked(ring, name, revocation))


def rotate(context: Context, name: str) -> KeySigner:
    """Give a name of this installation a new key; what the old one has signed stays signed, its private half goes.

    Started again after it was killed, or when a draft that it left was published by others, it goes on.
    """
    keys, key_file = folder(context.home), f"{name}.key"
    load(context, name)
    with _changing(context):
        if not (keys / NEXT / key_file).is_file():
            new_key(name, keys / NEXT, context.timestamp())
        made = load_signer(keys / NEXT / key_file)
        since, at = _here(context), context.timestamp()

        def replace(ring: Keyring) -> Keyring:
            return ring if ring.by_id(made.key_id) else rotated(ring, made.public_key(), since=since, at=at)

        _change(context, f"rotate {name}", replace)
        with suppress(FileNotFoundError):  # moved before this was killed
            (keys / NEXT / f"{name}.pub").replace(keys / f"{name}.pub")
        (keys / NEXT / key_file).replace(keys / key_file)
    return made


def set_policy(
    context: Context,
    *,
    root: int | None = None,
    approver: int | None = None,
    compromised: Literal["refuse", "keep_earlier"] | None = None,
) -> Keyring:
    """Change how many must agree, and what a compromised key's earlier decisions count for; None leaves it as it is."""

    def edit(ring: Keyring) -> Keyring:
        quorums = Quorums(root=root or ring.quorums.root, approver=approver or ring.quorums.approver)
        return ring.model_copy(update={"quorums": quorums, "compromised": compromised or ring.compromised})

    asked = {"root quorum": root, "approver quorum": approver, "compromised": compromised}
    change = ", ".join(f"{name} {value}" for name, value in asked.items() if value is not None)
    with _changing(context):
        return _change(context, f"policy: {change}", edit)


def _here(context: Context) -> dict[str, int]:
    """The last event of every family that has a ledger: what was signed up to now stands there."""
    families = {key.split("/")[1] for key in context.store.list("ledger/")}
    return {family: context.ledger(family).state().sequence for family in sorted(families)}


def load(context: Context, name: str) -> KeySigner:
    """A person's key, by name."""
    return load_signer(folder(context.home) / f"{name}.key")


def builder(context: Context) -> KeySigner:
    """The builder's key, made and enrolled at first use; Refused where it was revoked."""
    path = folder(context.home) / f"{BUILDER}.key"
    known = ring(context).by_id(load_signer(path).key_id) if path.is_file() else None
    if known is None:
        return new(context, BUILDER, ("builder",))
    if known.revoked:
        raise Refused(
            "the builder's key is revoked",
            where=str(path),
            got=known.revoked.reason,
            next_step=f"soundcheck keys rotate {BUILDER}, on a machine that is safe",
        )
    return load_signer(path)


def require_role(context: Context, signer: KeySigner, role: Role) -> EnrolledKey:
    """The enrolled key of a signer; Refused where it is unknown, revoked, or has not this role."""
    key = ring(context).by_id(signer.key_id)
    if key is None or key.revoked or role not in key.roles:
        raise Refused(
            f"the key {signer.name!r} may not act as {role}",
            where=f"the key ring of {context.store.url}",
            got="not enrolled" if key is None else "revoked" if key.revoked else "roles: " + ", ".join(key.roles),
            expected=f"an enrolled key with the role {role}",
            next_step=f"soundcheck keys new NAME --role {role}",
        )
    return key


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
