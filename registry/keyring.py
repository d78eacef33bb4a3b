"""The key ring: who may sign what, how many must agree, and which keys no longer count.

Boundary: no I/O, no clock; a key ring in, a new one out. registry/keyring_chain.py keeps the versions in the store.
Invariants: only ed25519 keys; a key's id is computed from the key, so that an edited ring cannot bind a trusted id to
another key (algorithm downgrade has nowhere to stand); one name has at most one key that is not revoked; a revoked key
stays listed, so that what it signed is refused, or kept, by name; a revocation is never taken back.
Source: release-algorithm R8.2; roles, thresholds and root rotation as in The Update Framework; faults 23, 26, 36.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, NamedTuple, get_args

from pydantic import Field, NonNegativeInt, PositiveInt

from contracts.digest import Digest
from contracts.document import Document, Part
from contracts.errors import Refused, WrongCall
from contracts.ledger_event import GENESIS

Role = Literal["approver", "builder", "operator", "root"]
"""approver: decides about evidence; builder: signs bundles; operator: rolls back; root: changes the key ring."""
ROLES: tuple[Role, ...] = get_args(Role)
Reason = Literal["compromised", "retired", "superseded"]
"""compromised: somebody else may have had it; retired: its holder left; superseded: its holder has a newer one."""
EVERY_REASON: frozenset[Reason] = frozenset(get_args(Reason))
RING = "the key ring"


class PublicKey(Part):
    """An ed25519 public key (64 hexadecimal characters), its computed id, and the name of who holds it."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
    key_id: str = Field(pattern=r"^[0-9a-f]{64}$")
    public: str = Field(pattern=r"^[0-9a-f]{64}$")


class Position(NamedTuple):
    """A place in a family's ledger. It stands for time: the chain of events cannot be backdated, a clock can."""

    family: str
    sequence: int


class Revocation(Part):
    """Why a key no longer counts, and since where.

    `since` maps a family to the last ledger sequence that the key may have signed (a family that is not in it: none).
    """

    reason: Reason
    since: dict[str, int] = {}
    at: str

    def covers(self, at: Position) -> bool:
        """Whether an event at this place was there before the revocation."""
        return at.sequence <= self.since.get(at.family, -1)


class EnrolledKey(PublicKey):
    """A public key and what it may sign."""

    roles: tuple[Role, ...]
    revoked: Revocation | None = None


class Quorums(Part):
    """How many people must agree: on a change of the key ring (root), and at least on a release (approver).

    A family's policy may ask for more approvers, never for fewer.
    """

    root: PositiveInt = 1
    approver: PositiveInt = 1


class Keyring(Document):
    """One version of the key ring; `previous` is the digest of the version before it, as it was signed.

    `compromised`: whether decisions by a key that was compromised later still count (`keep_earlier`: those that stood
    in the ledger before the revocation's `since`). Bundles that such a key signed earlier can always be restored.
    """

    KIND: ClassVar[str] = "keyring"

    version: NonNegativeInt = 0
    previous: Digest = GENESIS
    at: str = ""
    change: str = ""
    quorums: Quorums = Quorums()
    compromised: Literal["refuse", "keep_earlier"] = "refuse"
    keys: tuple[EnrolledKey, ...] = ()

    def by_id(self, key_id: str) -> EnrolledKey | None:
        """The key of an id, revoked or not."""
        return next((key for key in self.keys if key.key_id == key_id), None)

    def active(self, name: str) -> EnrolledKey | None:
        """The key a name signs with now."""
        return next((key for key in self.keys if key.name == name and not key.revoked), None)

    def holders(self, role: Role) -> list[EnrolledKey]:
        """The keys that have a role now."""
        return [key for key in self.keys if role in key.roles and not key.revoked]

    def decisions_kept(self) -> frozenset[Reason]:
        """The reasons of a revocation that leave decisions standing which were signed before it."""
        return EVERY_REASON if self.compromised == "keep_earlier" else EVERY_REASON - {"compromised"}


def key_id_of(public: str) -> str:
    """The id of an ed25519 public key, as securesystemslib computes it; raises ValueError for something else."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from securesystemslib.signer import SSlibKey

    return str(SSlibKey.from_crypto(Ed25519PublicKey.from_public_bytes(bytes.fromhex(public))).keyid)


def ring_fault(ring: Keyring) -> str | None:
    """Why a key ring is none, in words, or None."""
    for key in ring.keys:
        if key_id_of(key.public) != key.key_id:
            return f"the id of {key.name!r} is not the id of its key"
    ids = [key.key_id for key in ring.keys]
    names = [key.name for key in ring.keys if not key.revoked]
    if len(ids) != len(set(ids)):
        return "a key is listed twice"
    if len(names) != len(set(names)):
        return "a name has two keys that are not revoked"
    roots = len(ring.holders("root"))
    if roots < ring.quorums.root:
        return f"{ring.quorums.root} must agree on a change, but {roots} keys are root"
    return None


def enrol(ring: Keyring, key: PublicKey, roles: tuple[Role, ...]) -> Keyring:
    """Add a key, or roles to a key that is there; the new key ring.

    Raises WrongCall without a role, Refused for a revoked key and for a name that holds another key already.
    """
    if not roles:
        raise WrongCall("a key needs a role", where=key.name, expected=" or ".join(ROLES))
    known = ring.by_id(key.key_id)
    holder = ring.active(key.name)
    if known and (known.revoked or known.name != key.name):
        what = "is revoked" if known.revoked else f"belongs to {known.name!r}"
        raise Refused(f"the key {what}", where=f"{RING}, {key.name}", next_step="make a new key")
    if holder and holder.key_id != key.key_id:
        raise Refused(
            f"{key.name!r} has another key",
            where=RING,
            got=f"key {key.key_id[:12]}",
            expected=f"key {holder.key_id[:12]}",
            next_step=f"soundcheck keys rotate {key.name}, or revoke the old one: soundcheck keys revoke {key.name}",
        )
    had = known.roles if known else ()
    enrolled = EnrolledKey(name=key.name, key_id=key.key_id, public=key.public, roles=tuple(sorted({*had, *roles})))
    return ring.model_copy(update={"keys": (*(other for other in ring.keys if other != known), enrolled)})


def revoke(ring: Keyring, name: str, revocation: Revocation) -> Keyring:
    """Revoke the key that a name signs with (or that has this id); the new key ring. WrongCall for an unknown name."""
    struck = ring.active(name) or ring.by_id(name)
    if struck is None:
        raise WrongCall(
            "no such key",
            where=RING,
            got=repr(name),
            expected=", ".join(key.name for key in ring.keys if not key.revoked) or "no key is enrolled",
        )
    if struck.revoked:
        raise Refused("the key is revoked already", where=f"{RING}, {struck.name}", got=struck.revoked.reason)
    keys = tuple(key.model_copy(update={"revoked": revocation}) if key == struck else key for key in ring.keys)
    return ring.model_copy(update={"keys": keys})


def rotate(ring: Keyring, new: PublicKey, *, since: Mapping[str, int], at: str) -> Keyring:
    """Give a name a new key with the roles of its last one; what the old one signed up to `since` stays signed.

    A key that was revoked before stays revoked as it was. Raises WrongCall for a name that never had a key.
    """
    last = ring.active(new.name) or next((key for key in reversed(ring.keys) if key.name == new.name), None)
    if last is None or not last.revoked:
        ring = revoke(ring, new.name, Revocation(reason="superseded", since=dict(since), at=at))
    assert last is not None  # `revoke` has found it
    return enrol(ring, new, last.roles)
