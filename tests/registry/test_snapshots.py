"""Snapshots: a view of the ledger that saves time and never decides."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import Corrupt
from registry import snapshots
from registry.ledger import Ledger
from registry.release_state import KEPT_RELEASES, fold
from registry.store import Store
from registry.store.memory import MemoryStore
from tests.registry.test_release_state import Story

AT = "2026-11-20T14:02:31Z"
BUNDLES = tuple(character * 64 for character in "abc")


@pytest.fixture(autouse=True)
def every_ten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "EVERY", 10)


def filled(store: Store, count: int) -> Ledger:
    ledger = Ledger(store, "asr")
    for number in range(count):
        bundle = BUNDLES[number % 3]
        if number % 2:
            ledger.append("promote", "complete", at=AT, release=f"r{number // 2}", outputs={"bundle": bundle})
        else:
            ledger.append("package", "complete", at=AT, release=f"r{number // 2}", outputs={"bundle": bundle})
    return ledger


class Counting(MemoryStore):
    """Counts the objects that are read."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[str] = []

    def read(self, key: str) -> bytes:
        self.reads.append(key)
        return super().read(key)


def test_a_new_reader_reads_what_came_after_the_snapshot_alone() -> None:
    store = Counting()
    writer = filled(store, 37)
    assert list(store.list("snapshots/")) == [snapshots.key("asr", number) for number in (9, 19, 29)]
    store.reads.clear()
    reader = Ledger(store, "asr")
    assert reader.state() == writer.state() == fold(writer.events())
    events = sorted({key for key in store.reads if key.startswith("ledger/")})
    assert events == [f"ledger/asr/{number:012d}" for number in range(29, 38)]


def test_all_events_are_still_there(store: Store) -> None:
    writer = filled(store, 23)
    reader = Ledger(store, "asr")
    reader.state()
    assert reader.events() == writer.events()
    assert [event.sequence for event in reader.events()] == list(range(23))


def test_a_reader_of_a_snapshot_appends_to_the_same_chain(store: Store) -> None:
    writer = filled(store, 20)
    event = Ledger(store, "asr").append("freeze", "complete", at=AT)
    assert (event.sequence, event.previous) == (20, writer.events()[19].digest())
    assert Ledger(store, "asr").verify() == []
    assert writer.state().frozen


@pytest.mark.parametrize("damaged", [b"", b"nonsense", b"\x00" * 200])
def test_a_snapshot_that_cannot_be_read_is_passed_over_and_named(damaged: bytes) -> None:
    store = MemoryStore()
    writer = filled(store, 25)
    store.objects[snapshots.key("asr", 19)] = damaged
    reader = Ledger(store, "asr")
    assert reader.state() == writer.state()
    assert reader.verify() == [f"snapshot {snapshots.key('asr', 19)} cannot be read; it is passed over"]


def test_a_snapshot_that_says_something_else_than_the_ledger_is_found() -> None:
    store = MemoryStore()
    writer = filled(store, 25)
    forged = fold(writer.events()[:20])
    object.__setattr__(forged, "current", "f" * 64)
    store.objects[snapshots.key("asr", 19)] = snapshots.encode(forged)
    assert Ledger(store, "asr").verify() == [f"snapshot {snapshots.key('asr', 19)} is not what the ledger says"]


def test_a_snapshot_of_another_chain_does_not_count() -> None:
    store, other = MemoryStore(), MemoryStore()
    filled(store, 20)
    longer = Ledger(other, "asr")
    longer.append("freeze", "complete", at=AT)
    for _ in range(19):
        longer.append("unfreeze", "complete", at=AT)
    store.objects[snapshots.key("asr", 19)] = other.objects[snapshots.key("asr", 19)]
    assert Ledger(store, "asr").state() == fold(Ledger(store, "asr").events())


def test_an_event_that_vanished_below_the_snapshot_is_named_when_events_are_read() -> None:
    store = MemoryStore()
    filled(store, 25)
    del store.objects["ledger/asr/000000000007"]
    reader = Ledger(store, "asr")
    reader.state()
    with pytest.raises(Corrupt, match="the ledger is broken: event 7 is missing"):
        reader.events()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["package", "promote", "rollback", "condemn", "freeze", "unfreeze"]), max_size=25))
def test_law_a_snapshot_survives_its_bytes_and_folds_on(steps: list[str]) -> None:
    story = Story()
    for number, step in enumerate(steps):
        story.add(step, outputs={"bundle": BUNDLES[number % 3]}, release=f"r{number % 4}", data={"version": "v"})
    for cut in range(len(story.events) + 1):
        state = snapshots.decode(snapshots.encode(fold(story.events[:cut])))
        assert state is not None
        assert fold(story.events[cut:], state) == story.state


def test_law_a_state_stays_small_however_long_the_ledger_is() -> None:
    story = Story()
    for number in range(2 * KEPT_RELEASES):
        story.add("package", release=f"r{number}", outputs={"bundle": BUNDLES[0]})
    assert list(story.state.releases) == [f"r{number}" for number in range(KEPT_RELEASES, 2 * KEPT_RELEASES)]
    story.add("score", release=f"r{KEPT_RELEASES}")
    assert list(story.state.releases)[-1] == f"r{KEPT_RELEASES}"
