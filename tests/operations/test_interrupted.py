"""A store that does not answer, a rollback that died after its move, a race that was lost: what is said and done."""

from __future__ import annotations

from pathlib import Path

import pytest

from contracts.digest import short
from contracts.errors import Conflict, DependencyFailed, Refused
from operations import pointer
from operations.approve import decisions, record
from operations.context import Context
from operations.restore import healthy, verify_family
from operations.rollback import rollback
from registry.keyring_chain import ring_key
from registry.store.memory import FaultKind, MemoryStore
from tests.operations.gated_releases import FAMILY, GatedRelease, open_installation
from tests.operations.test_attest import Packaged
from tests.registry.registry_parts import flip_bit


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return open_installation(tmp_path)


@pytest.fixture
def packaged(context: Context, tmp_path: Path) -> Packaged:
    return Packaged(context, tmp_path / "one")


def _store(context: Context) -> MemoryStore:
    assert isinstance(context.store, MemoryStore)
    return context.store


def test_a_bundle_is_not_called_broken_when_the_store_does_not_answer(context: Context, packaged: Packaged) -> None:
    """Fault 10: a rollback would condemn it for good."""
    store = _store(context)
    assert healthy(context, FAMILY, packaged.bundle) == []
    before = store.calls
    healthy(context, FAMILY, packaged.bundle)
    for call in range(1, store.calls - before + 1):
        store.inject(call, FaultKind.FAIL)
        with pytest.raises(DependencyFailed, match="the store did not answer"):
            healthy(context, FAMILY, packaged.bundle)
    assert healthy(context, FAMILY, packaged.bundle) == []


def test_a_decision_that_cannot_be_read_now_is_not_left_out(context: Context) -> None:
    """It may be a no."""
    release = GatedRelease(context)
    evidence = release.ask_approval()
    record(context, FAMILY, evidence, decision="reject", key_name="anna")
    store = _store(context)
    before = store.calls
    assert [row.decision for row in decisions(context, release.policy, evidence)] == ["reject"]
    store.inject(store.calls - before, FaultKind.FAIL)
    with pytest.raises(DependencyFailed, match="the store did not answer"):
        decisions(context, release.policy, evidence)


def test_a_rollback_that_died_after_its_move_is_recorded_and_not_made_twice(
    context: Context, packaged: Packaged
) -> None:
    """Fault 3."""
    context.ledger(FAMILY).append(
        "rollback", "start", at=context.timestamp(), outputs={"bundle": packaged.bundle},
        data={"version": "v2", "kind": "rollback", "actor": "bert", "reason": "v3 mishears"},
    )  # fmt: skip
    seen = pointer.current(context, FAMILY)
    pointer.move(context, FAMILY, seen, stable=packaged.bundle, actor="bert", reason="v3 mishears")
    with pytest.raises(Refused) as refusal:
        rollback(context, FAMILY, key_name="bert", reason="v3 mishears")
    assert str(refusal.value) == (
        "an interrupted rollback had moved the pointer; it is recorded now, and nothing more was done\n"
        f"  where: {FAMILY}\n"
        f"  got: stable is v2 {short(packaged.bundle)}\n"
        f"  next step: soundcheck status {FAMILY}; to go further back, run the same command again"
    )
    state = context.ledger(FAMILY).state()
    assert [(move.kind, move.bundle) for move in state.history] == [("rollback", packaged.bundle)]
    assert state.open_intents == ()


def test_the_loser_of_a_race_is_told_who_won(context: Context) -> None:
    """Fault 31."""
    seen = pointer.current(context, FAMILY)
    pointer.move(context, FAMILY, seen, stable="b" * 64, actor="anna", reason="release v2")
    with pytest.raises(Conflict) as lost:
        pointer.move(context, FAMILY, seen, stable="c" * 64, actor="cleo", reason="release v3")
    assert str(lost.value) == (
        "somebody else moved the pointer first\n"
        f"  where: families/{FAMILY}\n"
        f"  got: version 1: release v2, by anna, stable {short('b' * 64)}\n"
        "  expected: version 0\n"
        f"  next step: soundcheck status {FAMILY}, then decide again"
    )


def test_damage_in_an_early_version_of_the_key_ring_is_found_by_verify(context: Context, packaged: Packaged) -> None:
    """Fault 23: an installation that has accepted a later one never reads it again; a new machine begins there."""
    assert verify_family(context, FAMILY) == []
    flip_bit(context.store, ring_key(0), 1000)
    assert [fault.partition(":")[0] for fault in verify_family(context, FAMILY)] == ["key ring"]
