"""The key ring: its edits, its versions in the store, and the attacks on it, on every kind of store."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from contracts.approval import Approval
from contracts.digest import canonical_json, sha256_bytes
from contracts.errors import Conflict, Corrupt, Refused, WrongCall
from registry.approvals import read_approval
from registry.keyring import (
    EVERY_REASON,
    EnrolledKey,
    Keyring,
    Position,
    PublicKey,
    Quorums,
    Reason,
    Revocation,
    Role,
    enrol,
    revoke,
    ring_fault,
    rotate,
)
from registry.keyring_chain import EMPTY, Anchor, NotEnough, Ring, draft, load_ring, publish, ring_key
from registry.signing import APPROVAL_TYPE, KeySigner, load_signer, new_key, sign, sign_also, verify_envelope
from registry.store import Store
from registry.store.local import LocalStore
from registry.store.memory import MemoryStore

NOW = "2026-11-20T14:02:31Z"
EVIDENCE = sha256_bytes(b"evidence")
NAMES = ("root", "second", "third", "anna", "anna-2", "ben", "stranger")


@pytest.fixture(scope="module")
def signers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, KeySigner]:
    folder = tmp_path_factory.mktemp("keys")
    for name in NAMES:
        new_key(name, folder, NOW)
    return {name: load_signer(folder / f"{name}.key") for name in NAMES}


def _public(signer: KeySigner, name: str = "") -> PublicKey:
    return PublicKey(name=name or signer.name, key_id=signer.key_id, public=signer.public)


def _ring(signers: dict[str, KeySigner], *roots: str, quorum: int = 1, **people: tuple[Role, ...]) -> Keyring:
    keyring = Keyring(quorums=Quorums(root=quorum))
    for name in roots:
        keyring = enrol(keyring, _public(signers[name]), ("root",))
    for name, roles in people.items():
        keyring = enrol(keyring, _public(signers[name]), roles)
    return keyring


class Chain:
    """A key ring in a store, and hands that change it."""

    def __init__(self, store: Store, signers: dict[str, KeySigner], first: Keyring, *by: str) -> None:
        self.store, self.signers = store, signers
        self.ring = self.publish(EMPTY, first, *by)

    def draft(self, ring: Ring, after: Keyring, *by: str) -> bytes:
        return draft(ring, after, at=NOW, change="a change", signers=[self.signers[name] for name in by])

    def publish(self, ring: Ring, after: Keyring, *by: str) -> Ring:
        return publish(self.store, ring, self.draft(ring, after, *by))

    def change(self, after: Keyring, *by: str) -> Ring:
        self.ring = self.publish(self.ring, after, *by)
        return self.ring


@pytest.fixture
def chain(store: Store, signers: dict[str, KeySigner]) -> Chain:
    return Chain(store, signers, _ring(signers, "root", "second", "third", quorum=2), "root", "second")


@pytest.fixture
def plain(signers: dict[str, KeySigner]) -> Chain:
    return Chain(MemoryStore(), signers, _ring(signers, "root", "second", "third", quorum=2), "root", "second")


def test_a_ring_is_read_back_from_the_store_alone_and_from_an_anchor(chain: Chain) -> None:
    first = chain.ring
    chain.change(enrol(chain.ring.keyring, _public(chain.signers["anna"]), ("approver",)), "root", "third")
    newest = chain.change(revoke(chain.ring.keyring, "anna", Revocation(reason="retired", at=NOW)), "root", "second")
    assert newest.keyring.version == 2
    assert load_ring(chain.store, None) == newest
    assert load_ring(chain.store, first.anchor) == newest
    assert load_ring(chain.store, newest.anchor) == newest
    assert newest.keyring.by_id(chain.signers["anna"].key_id) is not None, "a revoked key stays listed"


def test_an_empty_store_has_no_ring() -> None:
    assert load_ring(MemoryStore(), None) == EMPTY
    assert EMPTY.keyring.keys == ()


class Older:
    """A store as it was before its last versions of the key ring, or with other bytes under a key (an attacker's)."""

    def __init__(self, store: Store, *, newest: int, **other: bytes) -> None:
        self.url = store.url
        self._store, self._newest, self._other = store, newest, other

    def read(self, key: str) -> bytes:
        if key in self._other:
            return self._other[key]
        return self._store.read(key if int(key.rsplit("/", 1)[1]) <= self._newest else "keyring/absent")


def test_fault_24_a_ring_that_was_rolled_back_is_refused(chain: Chain) -> None:
    chain.change(enrol(chain.ring.keyring, _public(chain.signers["anna"]), ("approver",)), "root", "third")
    compromised = Revocation(reason="compromised", at=NOW)
    newest = chain.change(revoke(chain.ring.keyring, "anna", compromised), "root", "second")
    older: Any = Older(chain.store, newest=1)
    with pytest.raises(Corrupt) as raised:
        load_ring(older, newest.anchor)
    assert raised.value.what == "the key ring was rolled back"
    assert raised.value.expected.startswith("version 2, ")
    trusted = load_ring(older, None).keyring.active("anna")
    assert trusted is not None, "without an anchor nobody can tell: that is what the anchor is for"


def test_fault_23_a_ring_that_was_replaced_is_refused(chain: Chain, signers: dict[str, KeySigner]) -> None:
    evil = Chain(MemoryStore(), signers, _ring(signers, "stranger"), "stranger")
    theirs: Any = evil.store
    with pytest.raises(Corrupt, match="the key ring was replaced"):
        load_ring(theirs, chain.ring.anchor)


def test_a_replaced_next_version_is_refused(chain: Chain, signers: dict[str, KeySigner]) -> None:
    """Somebody who can write the store adds a version of their own to a ring that was accepted."""
    after = enrol(chain.ring.keyring, _public(signers["stranger"]), ("root", "approver", "builder"))
    forged = sign(
        after.model_copy(update={"version": 1, "previous": chain.ring.anchor.digest if chain.ring.anchor else ""}),
        {"keyring": EVIDENCE}, "https://soundcheck.invalid/predicates/keyring/v1", signers["stranger"],
    )  # fmt: skip
    chain.store.create(ring_key(1), forged)
    with pytest.raises(Corrupt, match="does not satisfy its contract"):
        load_ring(chain.store, chain.ring.anchor)


@pytest.mark.parametrize(
    ("by", "got"),
    [
        (("stranger",), "0 signatures that count"),
        (("root",), "1 signatures that count: root"),
        (("root", "stranger"), "1 signatures that count: root"),
        (("root", "root"), "1 signatures that count: root"),
        (("anna", "root"), "1 signatures that count: root"),
    ],
)
def test_a_change_without_the_quorum_is_refused(by: tuple[str, ...], got: str, plain: Chain) -> None:
    plain.change(enrol(plain.ring.keyring, _public(plain.signers["anna"]), ("approver",)), "root", "second")
    after = enrol(plain.ring.keyring, _public(plain.signers["ben"]), ("approver",))
    with pytest.raises(NotEnough) as raised:
        plain.publish(plain.ring, after, *by)
    assert (raised.value.got, raised.value.expected) == (got, "2 of root, second, third")
    assert load_ring(plain.store, None) == plain.ring, "nothing was written"


def test_a_key_added_by_a_revoked_key_is_refused(plain: Chain) -> None:
    plain.change(revoke(plain.ring.keyring, "second", Revocation(reason="compromised", at=NOW)), "root", "third")
    after = enrol(plain.ring.keyring, _public(plain.signers["stranger"]), ("root",))
    with pytest.raises(NotEnough) as raised:
        plain.publish(plain.ring, after, "root", "second")
    assert raised.value.got == "1 signatures that count: root"
    plain.store.create(ring_key(2), plain.draft(plain.ring, after, "root", "second"))
    with pytest.raises(NotEnough):
        load_ring(plain.store, None)


def test_a_threshold_that_was_lowered_by_fewer_than_the_old_one_asks_for_is_refused(plain: Chain) -> None:
    lowered = plain.ring.keyring.model_copy(update={"quorums": Quorums(root=1)})
    with pytest.raises(NotEnough) as raised:
        plain.publish(plain.ring, lowered, "root")
    assert raised.value.expected == "2 of root, second, third"
    assert plain.change(lowered, "root", "third").keyring.quorums.root == 1


def test_a_threshold_that_was_raised_needs_the_new_quorum_too(plain: Chain) -> None:
    """Nobody is locked out by a slip: those who will have to agree have agreed."""
    raised_quorum = plain.ring.keyring.model_copy(update={"quorums": Quorums(root=3)})
    with pytest.raises(NotEnough):
        plain.publish(plain.ring, raised_quorum, "root", "second")
    assert plain.change(raised_quorum, "root", "second", "third").keyring.quorums.root == 3


def test_a_whole_set_of_root_keys_is_rotated_by_old_and_new(plain: Chain) -> None:
    after = plain.ring.keyring
    for name, other in (("second", "anna"), ("third", "ben")):
        after = rotate(after, _public(plain.signers[other], name), since={}, at=NOW)
    with pytest.raises(NotEnough):
        plain.publish(plain.ring, after, "root", "second")
    newest = plain.change(after, "root", "second", "anna")
    assert {key.key_id for key in newest.keyring.holders("root")} == {
        plain.signers[name].key_id for name in ("root", "anna", "ben")
    }


@pytest.mark.parametrize(
    "edit",
    [
        lambda keys: keys[1:],
        lambda keys: (keys[0].model_copy(update={"revoked": None}), *keys[1:]),
        lambda keys: (
            keys[0].model_copy(update={"revoked": Revocation(reason="retired", since={"asr": 99}, at=NOW)}), *keys[1:]
        ),
        lambda keys: (keys[0].model_copy(update={"name": "somebody"}), *keys[1:]),
    ],
)  # fmt: skip
def test_no_key_is_forgotten_and_no_revocation_taken_back(
    edit: Callable[[tuple[EnrolledKey, ...]], tuple[EnrolledKey, ...]], signers: dict[str, KeySigner]
) -> None:
    first = enrol(_ring(signers), _public(signers["anna"]), ("approver",))
    first = enrol(first, _public(signers["root"]), ("root",))
    chain = Chain(MemoryStore(), signers, first, "root")
    chain.change(revoke(chain.ring.keyring, "anna", Revocation(reason="compromised", at=NOW)), "root")
    keyring = chain.ring.keyring
    keys = tuple(sorted(keyring.keys, key=lambda key: not key.revoked))
    with pytest.raises(Refused, match="forgets a key or a revocation"):
        chain.publish(chain.ring, keyring.model_copy(update={"keys": edit(keys)}), "root")


def test_an_older_version_put_again_is_not_the_next_one(plain: Chain) -> None:
    """Fault 24: a validly signed version of before cannot be replayed as a newer one."""
    old = plain.store.read(ring_key(0))
    plain.store.create(ring_key(1), old)
    with pytest.raises(Corrupt, match="a version of the key ring is not the next one"):
        load_ring(plain.store, plain.ring.anchor)


def test_a_fork_is_not_followed(plain: Chain, signers: dict[str, KeySigner]) -> None:
    """Two versions 1 were signed; version 2 follows the other one."""
    fork = Chain(MemoryStore(), signers, plain.ring.keyring, "root", "second")
    assert fork.ring == plain.ring
    for chain, name in ((plain, "anna"), (fork, "ben")):
        chain.change(enrol(chain.ring.keyring, _public(signers[name]), ("approver",)), "root", "second")
    late = fork.draft(fork.ring, fork.ring.keyring, "root", "second")
    plain.store.create(ring_key(2), late)
    with pytest.raises(Corrupt, match="is not the next one"):
        load_ring(plain.store, None)


def test_of_two_changes_at_once_one_wins(plain: Chain) -> None:
    base = plain.ring
    plain.change(enrol(base.keyring, _public(plain.signers["anna"]), ("approver",)), "root", "second")
    with pytest.raises(Conflict, match="the key ring has changed meanwhile"):
        plain.publish(base, enrol(base.keyring, _public(plain.signers["ben"]), ("approver",)), "root", "second")
    assert load_ring(plain.store, None) == plain.ring


def test_signatures_of_several_machines_are_gathered_on_one_draft(plain: Chain) -> None:
    after = enrol(plain.ring.keyring, _public(plain.signers["anna"]), ("approver",))
    alone = plain.draft(plain.ring, after, "root")
    with pytest.raises(NotEnough):
        publish(plain.store, plain.ring, alone)
    together = sign_also(alone, [plain.signers["third"]])
    assert publish(plain.store, plain.ring, together).keyring.active("anna") is not None


@pytest.mark.parametrize("place", range(0, 4000, 97))
def test_a_flipped_bit_in_a_version_is_found(place: int, plain: Chain) -> None:
    content = bytearray(plain.store.read(ring_key(0)))
    content[place % len(content)] ^= 1
    evil: Any = Older(plain.store, newest=0, **{ring_key(0): bytes(content)})
    with pytest.raises(Refused):
        load_ring(evil, plain.ring.anchor)
    for reader in (None, Anchor(0, sha256_bytes(bytes(content)))):
        try:
            read = load_ring(evil, reader)
        except Refused:
            continue
        assert read.keyring == plain.ring.keyring, "only what is not signed (a signature too many) may differ"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda keys: keys[0].update(public="0" * 62 + "01"), "the id of 'anna' is not the id of its key"),
        (lambda keys: keys.append(keys[0]), "a key is listed twice"),
        (lambda keys: keys[1].update(name="anna"), "a name has two keys that are not revoked"),
        (lambda keys: keys.pop(), "1 must agree on a change, but 0 keys are root"),
    ],
)
def test_fault_26_a_ring_that_cannot_be_is_named(
    change: Callable[[list[dict[str, Any]]], None], said: str, signers: dict[str, KeySigner]
) -> None:
    """A trusted id cannot be bound to another key, and nobody can be locked out."""
    value = _ring(signers, anna=("approver",), root=("root",)).model_dump(mode="json")
    change(value["keys"])
    assert ring_fault(Keyring.model_validate(value)) == said


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"kind":"keyring","keys":[{"name":"a","scheme":"rsa"}]}', "does not satisfy its contract"),
        (b'{"kind":"keyring","version":1,"version":2}', "is not JSON"),
        (b'{"kind":"approval"}', "a document is of another kind"),
    ],
)
def test_fault_26_no_weaker_algorithm_and_no_key_twice(content: bytes, said: str) -> None:
    with pytest.raises(Corrupt, match=said):
        Keyring.parse(content)


def test_enrolling_and_revoking(signers: dict[str, KeySigner]) -> None:
    anna, second = _public(signers["anna"]), _public(signers["anna-2"], "anna")
    ring = enrol(enrol(Keyring(), anna, ("approver",)), anna, ("operator",))
    assert [key.roles for key in ring.keys] == [("approver", "operator")]
    with pytest.raises(Refused) as raised:
        enrol(ring, second, ("approver",))
    assert raised.value.next_step.startswith("soundcheck keys rotate anna")
    gone = revoke(ring, "anna", Revocation(reason="compromised", at=NOW))
    assert gone.active("anna") is None
    with pytest.raises(Refused, match="the key is revoked"):
        enrol(gone, anna, ("approver",))
    with pytest.raises(Refused, match="the key is revoked already"):
        revoke(gone, anna.key_id, Revocation(reason="retired", at=NOW))
    with pytest.raises(Refused, match="the key belongs to 'anna'"):
        enrol(ring, anna.model_copy(update={"name": "ben"}), ("approver",))
    with pytest.raises(WrongCall, match="a key needs a role"):
        enrol(ring, anna, ())
    with pytest.raises(WrongCall) as wrong:
        revoke(ring, "nobody", Revocation(reason="retired", at=NOW))
    assert (wrong.value.got, wrong.value.expected) == ("'nobody'", "anna")
    after = rotate(gone, second, since={"asr": 7}, at=NOW)
    assert (after.keys[0], after.keys[1].roles) == (gone.keys[0], ("approver", "operator")), "revoked as it was"
    with pytest.raises(WrongCall, match="no such key"):
        rotate(ring, _public(signers["ben"]), since={}, at=NOW)
    rotated = rotate(ring, second, since={"asr": 7}, at=NOW)
    assert [(key.key_id, key.roles, bool(key.revoked)) for key in rotated.keys] == [
        (anna.key_id, ("approver", "operator"), True),
        (second.key_id, ("approver", "operator"), False),
    ]


def _approval(signer: KeySigner) -> bytes:
    approval = Approval(family="asr", evidence=EVIDENCE, decision="promote", approver=signer.name, mode="signed",
                        key_id=signer.key_id, at=NOW)  # fmt: skip
    return sign(approval, {"asr": EVIDENCE}, APPROVAL_TYPE, signer)


@pytest.mark.parametrize(
    ("reason", "policy", "at", "counts"),
    [
        ("superseded", "refuse", Position("asr", 5), True),
        ("superseded", "refuse", Position("asr", 6), False),
        ("retired", "refuse", Position("asr", 5), True),
        ("retired", "refuse", Position("asr", 6), False),
        ("retired", "refuse", Position("tts", 0), False),
        ("retired", "refuse", None, False),
        ("compromised", "refuse", Position("asr", 0), False),
        ("compromised", "keep_earlier", Position("asr", 5), True),
        ("compromised", "keep_earlier", Position("asr", 6), False),
    ],
)
def test_fault_36_a_decision_by_a_key_that_was_revoked_later(
    reason: Reason, policy: str, at: Position | None, counts: bool, signers: dict[str, KeySigner]
) -> None:
    """Time is a place in the ledger: what stood there before the revocation may count, nothing after it does."""
    ring = enrol(Keyring.model_validate({"compromised": policy}), _public(signers["anna"]), ("approver",))
    ring = revoke(ring, "anna", Revocation(reason=reason, since={"asr": 5}, at=NOW))
    envelope = _approval(signers["anna"])
    if counts:
        assert read_approval(envelope, EVIDENCE, ring, at=at).approver == "anna"
        return
    with pytest.raises(Refused) as raised:
        read_approval(envelope, EVIDENCE, ring, at=at)
    assert raised.value.what == "a signature is by a revoked key"
    assert raised.value.got.endswith(f"of anna ({reason})")


def test_what_may_be_kept_is_the_callers_to_say(signers: dict[str, KeySigner]) -> None:
    ring = enrol(Keyring(), _public(signers["anna"]), ("approver",))
    ring = revoke(ring, "anna", Revocation(reason="compromised", since={"asr": 5}, at=NOW))
    at = Position("asr", 3)
    assert verify_envelope(_approval(signers["anna"]), ring, at=at, kept=EVERY_REASON).signers[0].name == "anna"
    with pytest.raises(Refused, match="by a revoked key"):
        verify_envelope(_approval(signers["anna"]), ring, at=at)


def test_the_ring_in_the_store_is_plain_dsse(tmp_path: Path, signers: dict[str, KeySigner]) -> None:
    chain = Chain(LocalStore(tmp_path), signers, _ring(signers, "root"), "root")
    envelope = json.loads(chain.store.read(ring_key(0)))
    assert envelope["payloadType"] == "application/vnd.in-toto+json"
    assert chain.store.read(ring_key(0)) == canonical_json(envelope)
