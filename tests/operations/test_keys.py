"""The keys of an installation: made, rotated, revoked; by one or several; killed in between; on a new machine."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path

import pytest

from contracts.errors import Corrupt, DependencyFailed, Refused
from operations import keys
from operations.context import Context
from operations.settings import Settings
from registry.keyring_chain import NotEnough
from registry.signing import load_signer, new_key
from registry.store import Store
from registry.store.memory import Crash, FaultKind, MemoryStore


def installation(folder: Path, store: Store) -> Context:
    return Context(Settings(folder, folder / "home"), store, lambda: datetime(2026, 11, 20, tzinfo=UTC))


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def context(tmp_path: Path, store: MemoryStore) -> Context:
    return installation(tmp_path / "one", store)


def test_the_first_key_founds_the_ring(context: Context) -> None:
    assert keys.ring(context).keys == ()
    keys.new(context, "anna", ("approver",))
    ring = keys.ring(context)
    assert [(key.name, key.roles) for key in ring.keys] == [("root", ("root",)), ("anna", ("approver",))]
    assert (keys.folder(context.home) / "root.key").stat().st_mode & 0o777 == 0o600


def test_a_builder_s_key_that_was_made_but_not_enrolled_is_enrolled(context: Context) -> None:
    new_key(keys.BUILDER, keys.folder(context.home), "2026")
    signer = keys.builder(context)
    enrolled = keys.ring(context).by_id(signer.key_id)
    assert enrolled is not None
    assert enrolled.roles == ("builder",)


def test_another_machine_cannot_change_the_ring_but_its_key_can_be_enrolled(
    context: Context, store: MemoryStore, tmp_path: Path
) -> None:
    keys.new(context, "anna", ("approver",))
    other = installation(tmp_path / "two", store)
    with pytest.raises(Refused) as raised:
        keys.new(other, "ben", ("approver",))
    assert (raised.value.what, raised.value.expected) == (
        "only a root key may change the key ring, and none lies here",
        "the key of root",
    )
    ring = keys.enrol_file(context, keys.folder(other.home) / "ben.pub", ("approver",))
    assert keys.ring(other) == ring
    assert keys.require_role(other, keys.load(other, "ben"), "approver").name == "ben"


def test_a_new_machine_trusts_the_ring_on_first_use_and_says_so(
    context: Context, store: MemoryStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keys.new(context, "anna", ("approver",))
    other = installation(tmp_path / "two", store)
    with caplog.at_level(logging.WARNING):
        assert keys.ring(other) == keys.ring(context)
        keys.ring(other)
    assert caplog.text.count("trusted on first use, at version 1") == 1


def test_fault_24_an_installation_remembers_the_ring_it_has_accepted(context: Context, tmp_path: Path) -> None:
    keys.new(context, "anna", ("approver",))
    restored_from_an_old_backup = MemoryStore()
    restored_from_an_old_backup.create("keyring/000000000000", context.store.read("keyring/000000000000"))
    with pytest.raises(Corrupt, match="the key ring was rolled back"):
        keys.ring(installation(tmp_path / "one", restored_from_an_old_backup))
    evil = installation(tmp_path / "evil", MemoryStore())
    keys.new(evil, "anna", ("approver",))
    with pytest.raises(Corrupt, match="the key ring was replaced"):
        keys.ring(installation(tmp_path / "one", evil.store))


def test_an_anchor_that_cannot_be_read_is_corrupt(context: Context) -> None:
    keys.new(context, "anna", ("approver",))
    keys.anchor_path(context.home).write_text("{}")
    with pytest.raises(Corrupt, match="the file of the accepted key ring cannot be read"):
        keys.ring(context)


@pytest.mark.parametrize("name", ["anna", "root", "builder"])
def test_a_rotated_key_takes_the_place_of_the_old_one(name: str, context: Context) -> None:
    keys.new(context, "anna", ("approver", "operator"))
    keys.builder(context)
    old = keys.load(context, name)
    context.ledger("asr").append("drift", "complete", at="2026")
    made = keys.rotate(context, name)
    assert keys.load(context, name).key_id == made.key_id != old.key_id
    ring = keys.ring(context)
    before, after = ring.by_id(old.key_id), ring.by_id(made.key_id)
    assert before is not None
    assert after is not None
    assert (after.roles, after.revoked) == (before.roles, None)
    assert before.revoked is not None
    assert (before.revoked.reason, before.revoked.since) == ("superseded", {"asr": 0})
    keys.new(context, "ben", ("approver",))  # the ring can still be changed


@pytest.mark.parametrize("kind", list(FaultKind))
def test_keys_that_were_made_or_rotated_go_on_after_a_fault_at_any_call(kind: FaultKind, tmp_path: Path) -> None:
    """Faults 1, 6 and 12: a key is enrolled once and rotated once, wherever the process died."""
    for call in range(1, 200):
        store = MemoryStore()
        context = installation(tmp_path / str(call), store)
        keys.new(context, "anna", ("approver",))
        old = keys.load(context, "root").key_id
        before = store.calls
        store.inject(call, kind)
        try:
            _make_and_rotate(context)
        except (Crash, DependencyFailed):
            _make_and_rotate(context)
        if store.calls - before < call:
            break
        ring = keys.ring(context)
        assert sorted(key.name for key in ring.keys) == ["anna", "ben", "root", "root"]
        root = ring.active("root")
        assert root is not None
        assert root.key_id == keys.load(context, "root").key_id != old
    else:
        raise AssertionError("not every call was tried")
    assert call > 9


def _make_and_rotate(context: Context) -> None:
    ring = keys.ring(context)
    if ring.active("ben") is None:
        keys.new(context, "ben", ("approver",))
    rotated = len([key for key in ring.keys if key.name == "root"]) > 1
    if not rotated or (keys.folder(context.home) / "next" / "root.key").exists():
        keys.rotate(context, "root")


def test_a_rotation_that_was_killed_between_the_files_goes_on(context: Context) -> None:
    keys.new(context, "anna", ("approver",))
    made = keys.rotate(context, "anna")
    folder = keys.folder(context.home)
    (folder / "anna.key").replace(folder / "next" / "anna.key")  # as if its public half alone had been moved
    (folder / "anna.key").write_bytes((folder / "root.key").read_bytes())
    (folder / "anna.key").chmod(0o600)
    assert keys.rotate(context, "anna").key_id == made.key_id
    assert load_signer(folder / "anna.key").key_id == made.key_id


def test_a_quorum_of_two_machines(context: Context, store: MemoryStore, tmp_path: Path) -> None:
    other = installation(tmp_path / "two", store)
    new_key("second", keys.folder(other.home), "2026")
    keys.enrol_file(context, keys.folder(other.home) / "second.pub", ("root",))
    with pytest.raises(NotEnough):
        keys.set_policy(context, root=2)
    keys.sign_draft(other, keys.folder(context.home) / "draft.json")
    assert keys.ring(context).quorums.root == 2
    with pytest.raises(NotEnough) as raised:
        keys.new(context, "anna", ("approver",))
    assert "soundcheck keys sign DRAFT" in raised.value.next_step
    assert keys.ring(context).active("anna") is None
    keys.sign_draft(other, keys.folder(context.home) / "draft.json")
    assert keys.ring(context).active("anna") is not None
    with pytest.raises(Corrupt, match="is not the next one"):
        keys.sign_draft(other, keys.folder(context.home) / "draft.json")


def test_a_revocation_says_since_where(context: Context) -> None:
    keys.new(context, "anna", ("approver",))
    for _ in range(3):
        context.ledger("asr").append("drift", "complete", at="2026")
    context.ledger("tts").append("drift", "complete", at="2026")
    key = keys.revoke(context, "anna", "compromised", {"asr": 1}).keys[1]
    assert key.revoked is not None
    assert (key.revoked.since, key.revoked.reason) == ({"asr": 1, "tts": 0}, "compromised")
    with pytest.raises(Refused, match="the key 'anna' may not act as approver"):
        keys.require_role(context, keys.load(context, "anna"), "approver")


def test_who_changed_the_ring_and_how_is_in_its_versions(context: Context) -> None:
    keys.new(context, "anna", ("approver", "operator"))
    assert keys.ring(context).change == "enrol anna as approver, operator"
    assert keys.set_policy(context, approver=2).change == "policy: approver quorum 2"
