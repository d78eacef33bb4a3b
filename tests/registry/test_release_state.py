"""The fold: what a family's events say, as named stories and as laws."""

from __future__ import annotations

import time
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.digest import sha256_bytes
from contracts.ledger_event import GENESIS, LedgerEvent, Outcome
from registry.release_state import ReleaseState, fold

V1, V2, V3 = (sha256_bytes(name.encode()) for name in ("v1", "v2", "v3"))
NAMES = {V1: "v1", V2: "v2", V3: "v3"}
AT = "2026-11-20T14:02:31Z"


class Story:
    """Events written one after the other."""

    def __init__(self) -> None:
        self.events: list[LedgerEvent] = []

    def add(self, step: str, outcome: Outcome = "complete", **fields: Any) -> Story:
        self.events.append(
            LedgerEvent(
                family="asr",
                sequence=len(self.events),
                previous=self.events[-1].digest() if self.events else GENESIS,
                at=AT,
                step=step,
                outcome=outcome,
                **fields,
            )
        )
        return self

    def promote(self, bundle: str, **data: Any) -> Story:
        return self.move("promote", bundle, kind="promote", **data)

    def rollback(self, bundle: str, kind: str = "rollback", **data: Any) -> Story:
        return self.move("rollback", bundle, kind=kind, **data)

    def move(self, step: str, bundle: str, **data: Any) -> Story:
        data = {"version": NAMES.get(bundle, ""), "actor": "r.manager", "reason": "because", **data}
        release = f"release of {data['version']}" if step == "promote" else ""
        return self.add(step, release=release, outputs={"bundle": bundle, "route_table": self._table()}, data=data)

    def _table(self) -> str:
        return sha256_bytes(b"table %d" % len(self.events))

    @property
    def state(self) -> ReleaseState:
        return fold(self.events)


def test_an_empty_ledger_has_no_stable() -> None:
    assert fold([]) == ReleaseState()
    assert (fold([]).sequence, fold([]).head, fold([]).current) == (-1, GENESIS, None)


def test_history_names_every_move_of_the_family() -> None:
    state = Story().promote(V1).promote(V2).rollback(V1).rollback(V2, kind="forward").state
    assert [move.version for move in state.history] == ["v1", "v2", "v1", "v2"]
    assert [move.kind for move in state.history] == ["promote", "promote", "rollback", "forward"]
    assert [move.sequence for move in state.history] == [0, 1, 2, 3]
    assert (state.history[0].actor, state.history[0].reason, state.history[0].at) == ("r.manager", "because", AT)
    assert state.current == V2
    assert state.sequence == 3


def test_a_rollback_withdraws_the_bundle_it_leaves() -> None:
    """B0."""
    assert Story().promote(V1).promote(V2).rollback(V1).state.withdrawn == {V2}


def test_going_forward_reinstates_its_target_and_withdraws_nothing() -> None:
    state = Story().promote(V1).promote(V2).rollback(V1).rollback(V2, kind="forward").state
    assert state.withdrawn == frozenset()


def test_a_new_promotion_reinstates_a_withdrawn_bundle() -> None:
    """B1."""
    story = Story().promote(V1).promote(V2).rollback(V1)
    assert story.promote(V2).state.withdrawn == frozenset()


def test_a_rollback_of_slices_changes_neither_current_nor_withdrawn() -> None:
    """B6."""
    state = Story().promote(V1).promote(V2).rollback(V1, slices=["device=phone"]).state
    assert (state.current, state.withdrawn) == (V2, frozenset())
    assert [move.version for move in state.history] == ["v1", "v2"]
    assert [(move.version, move.slices) for move in state.slice_moves] == [("v1", ("device=phone",))]
    assert Story().promote(V1).rollback(V2, slices={"a": "b"}).state.slice_moves[0].slices == ("a=b",)


def test_a_move_without_its_outcome_has_not_happened() -> None:
    """R9.1."""
    story = Story().promote(V1).add("promote", "start", release="r2", inputs={"bundle": V2})
    assert story.state.current == V1
    assert [event.sequence for event in story.state.open_intents] == [1]
    assert story.add("promote", release="r2", outputs={"bundle": V2}).state.open_intents == ()
    assert story.state.current == V2


def test_an_intent_is_settled_by_its_own_release_or_by_name() -> None:
    story = Story().add("promote", "start", release="r1").add("promote", "start", release="r2")
    story.add("rollback", "start").add("rollback", "start")
    assert [event.sequence for event in story.state.open_intents] == [0, 1, 2, 3]
    assert [event.sequence for event in story.add("promote", "fail", release="r2").state.open_intents] == [0, 2, 3]
    named = story.add("rollback", "fail", data={"intent": 3})
    assert [event.sequence for event in named.state.open_intents] == [0, 2]
    assert [event.sequence for event in story.add("rollback", "fail").state.open_intents] == [0]


def test_one_move_that_two_processes_recorded_is_one_move() -> None:
    """Fault 3: the mover writes its outcome after a start-up has reconciled its intent."""
    story = Story().promote(V1).add("promote", "start", release="r2")
    for _ in range(2):
        story.add("promote", release="r2", outputs={"bundle": V2}, data={"version": "v2", "intent": 1})
    assert [move.version for move in story.state.history] == ["v1", "v2"]
    table = {"bundle": V3, "route_table": "e" * 64}
    for _ in range(2):
        story.add("promote", release="r3", outputs=table, data={"version": "v3"})
    assert [move.version for move in story.state.history] == ["v1", "v2", "v3"]


def test_moves_stand_in_the_order_of_the_pointer_and_not_of_the_outcomes() -> None:
    """B7, faults 32 and 64: the promotion moved first, the rollback second, and wrote its outcome first."""
    story = Story().promote(V1, route_version=1).promote(V2, route_version=2)
    story.rollback(V1, route_version=4)
    assert story.state.withdrawn == {V2}
    state = story.promote(V3, route_version=3).state
    assert [move.version for move in state.history] == ["v1", "v2", "v3", "v1"]
    assert state.current == V1, "as the pointer says"
    assert state.withdrawn == {V3}, "the rollback left v3"


def test_packages_are_remembered_with_their_version() -> None:
    story = Story().add("package", release="r1", outputs={"bundle": V1, "signature": "e" * 64}, data={"version": "v1"})
    story.add("capture", release="r2", data={"version": "v2"}).add("package", release="r2", outputs={"bundle": V2})
    story.add("package", "start", release="r3", data={"version": "v3"})
    assert story.state.packaged == {V1: "v1", V2: "v2"}


def test_condemned_and_frozen() -> None:
    story = Story().add("condemn", outputs={"bundle": V3}, data={"reason": "flipped bit"}).add("freeze")
    assert story.state.condemned == {V3}
    assert story.state.frozen
    assert not story.add("unfreeze").state.frozen


def test_how_far_a_release_has_come() -> None:
    story = Story().add("capture", "start", release="r1", data={"version": "v1"})
    story.add("capture", release="r1", outputs={"payload": "b" * 64}).add("score", "start", release="r1")
    release = story.state.releases["r1"]
    assert (release.version, release.payload_digest) == ("v1", "b" * 64)
    assert list(release.steps) == ["capture"]
    assert list(release.pending) == ["score"]
    assert release.failed_step is None


def test_a_step_that_failed_stops_its_release_until_it_is_tried_again() -> None:
    story = Story().add("gate", "fail", release="r1", data={"reason": "accent=scottish"}).add("gate", release="r2")
    assert story.state.releases["r1"].failed_step == "gate"
    assert story.state.releases["r2"].failed_step is None
    assert story.add("capture", "start", release="r1").state.releases["r1"].failed_step is None


def test_an_abort_stands_against_the_step_that_was_still_running() -> None:
    """B7."""
    story = Story().add("canary", "start", release="r1").add("abort", release="r1", data={"actor": "a"})
    assert story.add("canary", release="r1").state.releases["r1"].failed_step == "abort"


def test_an_unknown_step_moves_the_head_alone() -> None:
    before = Story().promote(V1).state
    after = Story().promote(V1).add("audit", data={"anything": 1}).state
    assert after.sequence == before.sequence + 1
    assert (after.history, after.current, after.releases) == (before.history, before.current, before.releases)


def test_malformed_facts_do_not_break_the_fold() -> None:
    story = Story().add("promote", data={"version": 7}).add("promote", outputs={"bundle": V1}, data={"actor": None})
    story.add("condemn").add("package")
    assert [move.bundle for move in story.state.history] == [V1]
    assert story.state.history[0].actor == ""


STEPS = ["capture", "gate", "package", "promote", "rollback", "condemn", "freeze", "unfreeze", "abort", "drift"]
event_fields = st.fixed_dictionaries(
    {
        "step": st.sampled_from(STEPS),
        "outcome": st.sampled_from(get_args(Outcome)),
        "release": st.sampled_from(["", "r1", "r2"]),
        "outputs": st.sampled_from([{}, {"bundle": V1}, {"bundle": V2}, {"bundle": V3}]),
        "data": st.fixed_dictionaries(
            {},
            optional={
                "version": st.sampled_from(["v1", "v2"]),
                "kind": st.sampled_from(["promote", "rollback", "forward"]),
                "slices": st.just(["a=b"]),
                "intent": st.integers(0, 10),
                "route_version": st.integers(0, 10),
            },
        ),
    }
)


@given(drawn=st.lists(event_fields, max_size=25), data=st.data())
@settings(max_examples=80, deadline=None)
def test_law_the_fold_is_prefix_stable(drawn: list[dict[str, Any]], data: st.DataObject) -> None:
    """A state can be kept as a snapshot and folded on; the state it was folded from does not change."""
    story = Story()
    for fields in drawn:
        story.add(**fields)
    cut = data.draw(st.integers(0, len(drawn)))
    snapshot = fold(story.events[:cut])
    assert fold(story.events[cut:], snapshot) == story.state
    assert snapshot == fold(story.events[:cut])


@given(drawn=st.lists(event_fields, max_size=25))
@settings(max_examples=80, deadline=None)
def test_law_what_is_current_was_moved_to_and_is_not_withdrawn(drawn: list[dict[str, Any]]) -> None:
    story = Story()
    for fields in drawn:
        story.add(**fields)
    state = story.state
    moved = {move.bundle for move in state.history}
    assert (state.current in moved) if state.history else state.current is None
    assert state.current not in state.withdrawn
    assert state.withdrawn <= moved
    assert all(event.outcome == "start" for event in state.open_intents)


@pytest.mark.slow
def test_many_events_fold_in_time_proportional_to_their_number() -> None:
    story = Story()
    for number in range(3000):
        story.add("score", release=f"r{number % 700}", data={"version": "v1"})
    started_s = time.perf_counter()
    fold(story.events)
    assert time.perf_counter() - started_s < 1.0
