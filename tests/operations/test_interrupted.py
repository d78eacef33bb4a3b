"""A store that does not answer, a rollback that died after its move, a race that was lost: what is said and done."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from pydantic import JsonValue

from contracts.digest import Digest, short
from contracts.errors import Conflict, DependencyFailed, Refused
from flows.cli import soundcheck
from operations import pointer
from operations.approve import decisions, record
from operations.context import Context
from operations.golden import Proof
from operations.restore import healthy, verify_family
from operations.rollback import rollback
from registry.keyring_chain import ring_key
from registry.store.memory import FaultKind, MemoryStore
from tests.operations.gated_releases import FAMILY, GatedRelease
from tests.operations.packaged import Packaged
from tests.registry.registry_parts import flip_bit


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


@pytest.fixture
def family(context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Packaged]:
    """v1, v2 and v3 were promoted, in this order; no model is there to prove or to compare."""
    monkeypatch.setattr("operations.rollback.prove", lambda *_: Proof(1, 1, ()))
    monkeypatch.setattr("operations.rollback.incompatible", lambda *_: None)
    bundles = [Packaged(context, tmp_path / name, name, weights=name.encode()) for name in ("v1", "v2", "v3")]
    for one in bundles:
        one.promote()
    return bundles


def _moved_and_died(context: Context, target: Packaged, **facts: JsonValue) -> None:
    """A rollback's intent and its move; nobody came to write down the outcome."""
    said = {"version": target.manifest.version, "kind": "rollback", "actor": "bert", "reason": "v3 mishears", **facts}
    context.ledger(FAMILY).append(
        "rollback", "start", at=context.timestamp(), outputs={"bundle": target.bundle}, data=said
    )
    seen = pointer.current(context, FAMILY)
    pointer.move(context, FAMILY, seen, stable=target.bundle, actor=str(said["actor"]), reason=str(said["reason"]))


def _rollbacks(context: Context) -> list[Digest]:
    """Where the family has gone back to, one after the other."""
    return [move.bundle for move in context.ledger(FAMILY).state().history if move.kind == "rollback"]


def test_a_rollback_that_died_after_its_move_is_ended_by_the_same_command(
    context: Context, family: list[Packaged]
) -> None:
    """Fault 3."""
    _, second, _ = family
    _moved_and_died(context, second)
    done = rollback(context, FAMILY, key_name="bert", reason="v3 mishears")
    assert (done.repeated, done.target, done.version) == (True, second.bundle, "v2")
    assert _rollbacks(context) == [second.bundle]
    assert context.ledger(FAMILY).state().open_intents == ()


def test_somebody_else_s_rollback_that_died_after_its_move_is_recorded_and_nothing_more_is_done(
    context: Context, family: list[Packaged]
) -> None:
    """Fault 3."""
    first, second, _ = family
    _moved_and_died(context, second, actor="cleo")
    with pytest.raises(Refused) as refusal:
        rollback(context, FAMILY, key_name="bert", reason="v3 mishears")
    assert str(refusal.value) == (
        "an interrupted rollback had moved the pointer; it is recorded now, and nothing more was done\n"
        f"  where: {FAMILY}\n"
        f"  got: stable is v2 {short(second.bundle)}\n"
        f"  next step: soundcheck status {FAMILY}; to go further back, run the same command again"
    )
    assert _rollbacks(context) == [second.bundle]
    assert context.ledger(FAMILY).state().open_intents == ()
    assert rollback(context, FAMILY, key_name="bert", reason="v3 mishears").target == first.bundle


def test_the_same_rollback_again_moves_once(context: Context, family: list[Packaged]) -> None:
    """Fault 3: killed after its outcome, it is run again by somebody who cannot know."""
    first, second, third = family
    done = rollback(context, FAMILY, key_name="bert", reason="v3 mishears")
    events = len(context.ledger(FAMILY).events())
    again = rollback(context, FAMILY, key_name="bert", reason="v3 mishears")
    assert (done.repeated, done.left, done.target) == (False, third.bundle, second.bundle)
    assert (again.repeated, again.left, again.target) == (True, third.bundle, second.bundle)
    assert len(context.ledger(FAMILY).events()) == events
    further = rollback(context, FAMILY, key_name="bert", reason="v2 mishears too")
    assert (further.repeated, further.target) == (False, first.bundle)


def test_the_same_rollback_to_a_named_bundle_again_moves_once(context: Context, family: list[Packaged]) -> None:
    first, _, third = family
    assert rollback(context, FAMILY, key_name="bert", reason="back", to="v1").target == first.bundle
    assert rollback(context, FAMILY, key_name="bert", reason="back", to="v1").repeated
    forward = rollback(context, FAMILY, key_name="bert", reason="back", to="v3")
    assert (forward.repeated, forward.kind, forward.target) == (False, "forward", third.bundle)
    again = rollback(context, FAMILY, key_name="bert", reason="back", to="v3")
    assert (again.repeated, again.kind, again.target) == (True, "forward", third.bundle)
    assert pointer.current(context, FAMILY).stable == third.bundle


@pytest.mark.parametrize("between", ["a promotion", "a rollback of one slice"])
def test_a_rollback_for_the_same_reason_is_made_where_something_moved_meanwhile(
    between: str, context: Context, family: list[Packaged], tmp_path: Path
) -> None:
    first, second, _ = family
    rollback(context, FAMILY, key_name="bert", reason="callers complain")
    if between == "a promotion":
        Packaged(context, tmp_path / "v4", "v4", weights=b"v4").promote()
    else:
        rollback(context, FAMILY, key_name="bert", reason="phones suffer", to="v1", slices=("device=phone",))
    done = rollback(context, FAMILY, key_name="bert", reason="callers complain")
    assert (done.repeated, done.target) == (False, second.bundle if between == "a promotion" else first.bundle)


def test_the_command_says_that_it_was_carried_out_before(
    context: Context, family: list[Packaged], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "params.yaml").write_text(f"families: {{{FAMILY}: {{}}}}\n")
    monkeypatch.setattr("flows.wiring.open_context", lambda *_: context)
    monkeypatch.setattr(type(context.settings), "policy", lambda *_: None)
    words = ["rollback", FAMILY, "--key", "bert", "--reason", "v3 mishears"]
    assert CliRunner().invoke(soundcheck, words).exit_code == 0
    again = CliRunner().invoke(soundcheck, words)
    assert (again.exit_code, again.stdout) == (
        0,
        f"{FAMILY}: already rolled back to v2 ({short(family[1].bundle)}) by this request; to go further back name "
        "--to or give another reason\n",
    )


@pytest.mark.parametrize(("earlier", "expected"), [(0, "no route table yet"), (2, "version 2")])
def test_the_loser_of_a_race_is_told_who_won(earlier: int, expected: str, context: Context) -> None:
    """Fault 31."""
    for _ in range(earlier):
        pointer.move(
            context, FAMILY, pointer.current(context, FAMILY), stable="a" * 64, actor="anna", reason="release v1"
        )
    seen = pointer.current(context, FAMILY)
    pointer.move(context, FAMILY, seen, stable="b" * 64, actor="anna", reason="release v2")
    with pytest.raises(Conflict) as lost:
        pointer.move(context, FAMILY, seen, stable="c" * 64, actor="cleo", reason="release v3")
    assert str(lost.value) == (
        "somebody else moved the pointer first\n"
        f"  where: families/{FAMILY}\n"
        f"  got: version {earlier + 1}: release v2, by anna, stable {short('b' * 64)}\n"
        f"  expected: {expected}\n"
        f"  next step: soundcheck status {FAMILY}, then decide again"
    )


def test_damage_in_an_early_version_of_the_key_ring_is_found_by_verify(context: Context, packaged: Packaged) -> None:
    """Fault 23: an installation that has accepted a later one never reads it again; a new machine begins there."""
    assert verify_family(context, FAMILY) == []
    flip_bit(context.store, ring_key(0), 1000)
    assert [fault.partition(":")[0] for fault in verify_family(context, FAMILY)] == ["key ring"]
