"""The versions of the key ring, in the store: each is signed by the root keys of the one before it.

Boundary: the store it is handed; no clock, no private key (signers are handed in).
Invariants: version n has the key `keyring/%012d`, created once, and names the digest of version n-1; it counts only
when the quorum of root keys of version n-1 has signed it, and the quorum of its own root keys too, so that nobody can
be locked out by a slip; a key, once listed, stays listed, and a revocation stands for good; a reader who has seen
version n accepts no ring in which version n is missing or other (its anchor lies outside the store).
Source: root rotation of The Update Framework (5.3), with envelopes as for everything else that is signed here
(docs/adr/0012-a-key-ring-of-our-own.md says why not `tuf`); faults 23, 24, 26.
"""

from __future__ import annotations

from typing import NamedTuple

from contracts.digest import Digest, sha256_bytes, short
from contracts.errors import AlreadyExists, Conflict, Corrupt, NotFound, Refused
from registry.envelopes import KEYRING_TYPE, parse_envelope, signed_by, statement_of
from registry.keyring import Keyring, ring_fault
from registry.signing import KeySigner, sign
from registry.store import Store

SUBJECT = "keyring"


class Anchor(NamedTuple):
    """The newest version that a reader has accepted: its number, and the digest of its envelope."""

    version: int
    digest: Digest


class Ring(NamedTuple):
    """The key ring as it stands, and the anchor to keep; no anchor: there is none yet, and nobody can sign."""

    keyring: Keyring
    anchor: Anchor | None


class NotEnough(Refused):
    """A version of the key ring lacks signatures."""


EMPTY = Ring(Keyring(), None)


def ring_key(version: int) -> str:
    """The key of a version in the store."""
    return f"keyring/{version:012d}"


def load_ring(store: Store, anchor: Anchor | None) -> Ring:
    """The newest version.

    1. Begin at the anchor: its version must be there, and be the one that was accepted (Corrupt).
    2. Without an anchor begin at version 0, which is signed by its own root keys: trust on first use.
    3. Go up while there is a next version; each must follow from the one before it (`follow`).
    """
    ring = EMPTY
    if anchor is not None:  # 1
        content = _read(store, anchor.version)
        if content is None:
            raise _rolled_back(store, anchor)
        if sha256_bytes(content) != anchor.digest:
            raise Corrupt(
                "the key ring was replaced",
                where=f"{store.url}, {ring_key(anchor.version)}",
                got=short(sha256_bytes(content)),
                expected=f"version {anchor.version} as it was accepted here, {short(anchor.digest)}",
                next_step="trust no signature until the store is restored from its backup",
            )
        ring = Ring(_keyring_of(content, store, anchor.version), anchor)
    while (content := _read(store, _next(ring))) is not None:  # 2, 3
        ring = follow(ring, content, where=f"{store.url}, {ring_key(_next(ring))}")
    return ring


def follow(ring: Ring, envelope: bytes, *, where: str) -> Ring:
    """The ring after one more version; Corrupt or Refused for one that does not follow from this one.

    1. It is a well-formed key ring in a well-formed envelope, and about itself.
    2. It is the next version, and names the one before it.
    3. Every key of before is in it, and no revocation is taken back or changed.
    4. It is signed by the quorum of root keys of before, and by the quorum of its own.
    """
    before, after = ring.keyring, _document(envelope, where)  # 1
    if (after.version, after.previous) != (_next(ring), ring.anchor.digest if ring.anchor else Keyring().previous):  # 2
        raise Corrupt("a version of the key ring is not the next one", where=where, got=f"version {after.version}")
    for key in before.keys:  # 3
        known = after.by_id(key.key_id)
        if known is None or (key.revoked and key != known) or key.name != known.name:
            raise Refused("a version of the key ring forgets a key or a revocation", where=where, got=key.name)
    for rule in (before, after) if ring.anchor else (after,):  # 4
        _require_quorum(envelope, rule, where)
    return Ring(after, Anchor(after.version, sha256_bytes(envelope)))


def _require_quorum(envelope: bytes, rule: Keyring, where: str) -> None:
    signers = signed_by(parse_envelope(envelope), rule.holders("root"))
    if len(signers) < rule.quorums.root:
        raise NotEnough(
            "a version of the key ring is not signed by enough root keys",
            where=where,
            got=f"{len(signers)} signatures that count" + (f": {', '.join(signers)}" if signers else ""),
            expected=f"{rule.quorums.root} of {', '.join(key.name for key in rule.holders('root'))}",
            next_step="let another holder of a root key sign the draft: soundcheck keys sign DRAFT",
        )


def draft(ring: Ring, after: Keyring, *, at: str, change: str, signers: list[KeySigner]) -> bytes:
    """The envelope of a next version, with the signatures that can be given here."""
    previous = ring.anchor.digest if ring.anchor else Keyring().previous
    stated = {"version": _next(ring), "previous": previous, "at": at, "change": change}
    version = after.model_copy(update=stated)
    if fault := ring_fault(version):
        raise Refused("a key ring cannot be like that", where=change, got=fault)
    return sign(version, {SUBJECT: version.digest()}, KEYRING_TYPE, *signers)


def publish(store: Store, ring: Ring, envelope: bytes) -> Ring:
    """Write the next version; Refused where its signatures do not suffice, Conflict where another was faster."""
    where = f"{store.url}, {ring_key(_next(ring))}"
    after = follow(ring, envelope, where=where)
    try:
        store.create(ring_key(_next(ring)), envelope)
    except AlreadyExists:
        raise Conflict(
            "the key ring has changed meanwhile",
            where=where,
            got=f"another version {after.keyring.version}",
            next_step="run the same command again; it begins from the ring as it is now",
        ) from None
    return after


def _next(ring: Ring) -> int:
    return ring.anchor.version + 1 if ring.anchor else 0


def _read(store: Store, version: int) -> bytes | None:
    try:
        return store.read(ring_key(version))
    except NotFound:
        return None


def _rolled_back(store: Store, anchor: Anchor) -> Corrupt:
    return Corrupt(
        "the key ring was rolled back",
        where=f"{store.url}, {ring_key(anchor.version)}",
        got="no such version",
        expected=f"version {anchor.version}, {short(anchor.digest)}, which was accepted here before",
        next_step="trust no signature until the store is restored from its backup",
    )


def _keyring_of(envelope: bytes, store: Store, version: int) -> Keyring:
    return _document(envelope, f"{store.url}, {ring_key(version)}")


def _document(envelope: bytes, where: str) -> Keyring:
    """The key ring in an envelope, whoever signed it."""
    body = statement_of(parse_envelope(envelope), where=where)
    if body.predicate_type != KEYRING_TYPE:
        raise Corrupt("an envelope is not of a key ring", where=where, got=body.predicate_type, expected=KEYRING_TYPE)
    keyring = Keyring.parse(body.predicate_bytes(), where=where)
    fault = ring_fault(keyring)
    if fault is None and body.subjects() != {SUBJECT: keyring.digest()}:
        fault = "its subject is not its digest"
    if fault:
        raise Corrupt("a version of the key ring does not satisfy its contract", where=where, got=fault)
    return keyring
