"""The ledger: create-once, chained, never trusting a listing."""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.digest import sha256_bytes
from contracts.errors import Conflict, Corrupt, DependencyFailed, WrongCall
from contracts.ledger_event import GENESIS, LedgerEvent
from registry.ledger import Ledger, chain_faults
from registry.store import Store
from registry.store.memory import Crash, FaultKind, MemoryStore
from tests.registry.registry_parts import Damage

AT = "2026-11-20T14:02:31Z"


def _filled(store: Store, count: int = 5, family: str = "asr") -> Ledger:
    ledger = Ledger(store, family)
    for number in range(count):
        ledger.append("score", "complete", at=AT, release="r1", data={"number": number})
    return ledger


def test_events_are_numbered_and_chained(store: Store) -> None:
    ledger = Ledger(store, "asr")
    first = ledger.append("capture", "complete", at=AT, release="r1", outputs={"train_manifest": "a" * 64})
    second = ledger.append("register", "start", at=AT, release="r1", inputs={"train_manifest": "a" * 64})
    assert (first.sequence, first.previous) == (0, GENESIS)
    assert (second.sequence, second.previous) == (1, first.digest())
    assert store.read("ledger/asr/000000000001") == second.to_bytes()
    assert Ledger(store, "asr").events() == (first, second)
    assert ledger.verify() == []


def test_families_have_ledgers_of_their_own(store: Store) -> None:
    _filled(store, 2, "asr")
    _filled(store, 3, "asr-en")
    assert len(Ledger(store, "asr").events()) == 2
    assert Ledger(store, "asr").verify() == Ledger(store, "asr-en").verify() == []
    assert Ledger(store, "nobody").events() == ()
    assert Ledger(store, "nobody").state().sequence == -1


@pytest.mark.parametrize("family", ["", "a/b", "..", "a\nb"])
def test_a_family_has_a_plain_name(family: str) -> None:
    with pytest.raises(WrongCall, match="not a family's name"):
        Ledger(MemoryStore(), family)


def test_a_second_look_reads_the_new_events_alone() -> None:
    store = MemoryStore()
    reader, writer = Ledger(store, "asr"), _filled(store, 50)
    assert len(reader.events()) == 50
    writer.append("gate", "complete", at=AT)
    before = store.calls
    assert len(reader.events()) == 51
    assert store.calls - before == 2, "the new event, and the gap after it"


def test_of_two_writers_of_one_sequence_the_loser_takes_the_next(store: Store) -> None:
    first, second = Ledger(store, "asr"), Ledger(store, "asr")
    first.events(), second.events()  # both know an empty ledger
    a = first.append("freeze", "complete", at=AT, data={"actor": "a"})
    b = second.append("unfreeze", "complete", at=AT, data={"actor": "b"})
    assert (a.sequence, b.sequence) == (0, 1)
    assert first.events() == second.events() == (a, b)


def test_racing_writers_lose_no_event(store: Store) -> None:
    def write(number: int) -> list[int]:
        ledger = Ledger(store, "asr")
        return [ledger.append("drift", "complete", at=AT, data={"who": number, "n": n}).sequence for n in range(5)]

    with ThreadPoolExecutor(16) as pool:
        sequences = [sequence for written in pool.map(write, range(16)) for sequence in written]
    assert sorted(sequences) == list(range(80))
    events = Ledger(store, "asr").events()
    assert len({(event.data["who"], event.data["n"]) for event in events}) == 80
    assert Ledger(store, "asr").verify() == []


def test_a_decision_on_an_old_state_is_told_that_the_ledger_moved(store: Store) -> None:
    ledger = _filled(store, 2)
    decided_on = ledger.state().sequence
    Ledger(store, "asr").append("freeze", "complete", at=AT)
    with pytest.raises(Conflict) as raised:
        ledger.append("promote", "start", at=AT, expected=decided_on)
    assert str(raised.value) == (
        "the ledger of asr has moved\n"
        f"  where: {store.url}\n"
        "  got: last event 2\n"
        "  expected: last event 1\n"
        "  next step: read the state, decide again on what it says now"
    )
    assert ledger.append("promote", "start", at=AT, expected=2).sequence == 3


def test_an_answer_that_is_lost_after_the_write_is_read_back() -> None:
    """Fault 12."""
    store = MemoryStore()
    ledger = Ledger(store, "asr")
    store.inject(2, FaultKind.LOST_ANSWER)  # 1 reads the gap, 2 creates
    ledger.append("freeze", "complete", at=AT)
    assert [event.step for event in Ledger(store, "asr").events()] == ["freeze"]


def test_a_store_that_is_down_is_told_and_nothing_is_written() -> None:
    """Fault 10."""
    store = MemoryStore()
    ledger = Ledger(store, "asr")
    store.inject(2, FaultKind.FAIL)
    with pytest.raises(DependencyFailed, match="the store did not answer"):
        ledger.append("freeze", "complete", at=AT)
    assert store.objects == {}
    assert ledger.append("freeze", "complete", at=AT).sequence == 0


def test_a_listing_that_is_late_or_empty_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fault 17."""
    store = MemoryStore()
    ledger = _filled(store)
    monkeypatch.setattr(store, "list", lambda _prefix: iter(()))
    assert len(Ledger(store, "asr").events()) == 5
    assert ledger.verify() == []


def test_a_broken_chain_is_corrupt_when_it_is_read(store: Store, damage: Damage) -> None:
    _filled(store)
    damage(store, "ledger/asr/000000000002", 1234)
    with pytest.raises(Corrupt) as raised:
        Ledger(store, "asr").events()
    assert "000000000002" in raised.value.where or "000000000003" in raised.value.where


def test_a_missing_event_in_the_middle_is_a_gap() -> None:
    store = MemoryStore()
    _filled(store)
    del store.objects["ledger/asr/000000000002"]
    assert Ledger(store, "asr").verify() == [
        "event 2 is missing, but there are 2 after it, from ledger/asr/000000000003 on"
    ]


def test_a_cut_off_tail_is_found_by_the_anchor() -> None:
    store = MemoryStore()
    ledger = _filled(store)
    anchor = (ledger.state().sequence, ledger.state().head)
    assert ledger.verify(anchor=anchor) == []
    del store.objects["ledger/asr/000000000004"]
    assert ledger.verify() == [], "a shorter chain is whole in itself"
    assert ledger.verify(anchor=anchor) == ["event 4 is missing: the ledger ends at event 3"]


def test_an_event_of_another_family_is_found() -> None:
    store = MemoryStore()
    _filled(store, 1, "other")
    store.objects["ledger/asr/000000000000"] = store.objects["ledger/other/000000000000"]
    assert Ledger(store, "asr").verify() == ["event 0 belongs to family 'other'"]


@pytest.mark.parametrize("fact", [1e16, 2**60, "\ud800", float("nan")])
def test_an_event_that_could_not_be_read_again_is_not_written(fact: float | str) -> None:
    store = MemoryStore()
    with pytest.raises((WrongCall, ValueError)) as raised:
        Ledger(store, "asr").append("score", "complete", at=AT, data={"fact": fact})
    assert "an event cannot be written" in str(raised.value) or "finite" in str(raised.value)
    assert store.objects == {}


def test_an_event_edited_beyond_what_json_can_hold_is_corrupt() -> None:
    store = MemoryStore()
    Ledger(store, "asr").append("score", "complete", at=AT, data={"n": 9007199254740990})
    content = store.objects["ledger/asr/000000000000"].replace(b"9007199254740990", b"9907199254740990")
    store.objects["ledger/asr/000000000000"] = content
    assert Ledger(store, "asr").verify() == ["event 0: a ledger event is not in its canonical form"]
    with pytest.raises(Corrupt, match="not in its canonical form"):
        Ledger(store, "asr").state()


def test_errors_cross_process_borders() -> None:
    store = MemoryStore()
    ledger = _filled(store, 1)
    with pytest.raises(Conflict) as raised:
        ledger.append("promote", "start", at=AT, expected=7)
    assert str(pickle.loads(pickle.dumps(raised.value))) == str(raised.value)


def _chain(count: int) -> list[bytes]:
    store = MemoryStore()
    return [event.to_bytes() for event in _filled(store, count).events()]


CHAIN = _chain(6)
ANCHOR = (5, sha256_bytes(CHAIN[-1]))


def _faults(stored: Sequence[bytes]) -> list[str]:
    return chain_faults(stored, "asr", anchor=ANCHOR)


def test_law_an_untouched_chain_has_no_fault() -> None:
    assert _faults(CHAIN) == []


@given(event=st.integers(0, 5), place=st.integers(0, 10_000), change=st.integers(1, 255))
@settings(max_examples=400, deadline=None)
def test_law_any_edit_of_one_byte_is_found(event: int, place: int, change: int) -> None:
    edited = bytearray(CHAIN[event])
    edited[place % len(edited)] ^= change
    assert _faults([*CHAIN[:event], bytes(edited), *CHAIN[event + 1 :]])


@given(st.sets(st.integers(0, 5), min_size=1))
def test_law_any_dropped_event_is_found(dropped: set[int]) -> None:
    assert _faults([content for number, content in enumerate(CHAIN) if number not in dropped])


@given(st.permutations(range(6)).filter(lambda order: order != list(range(6))))
def test_law_any_reordering_is_found(order: list[int]) -> None:
    assert _faults([CHAIN[number] for number in order])


@given(place=st.integers(0, 6), copied=st.integers(0, 5))
def test_law_any_inserted_copy_is_found(place: int, copied: int) -> None:
    assert _faults([*CHAIN[:place], CHAIN[copied], *CHAIN[place:]])


@pytest.mark.parametrize("kind", list(FaultKind))
def test_a_rerun_after_a_fault_at_any_call_converges(kind: FaultKind) -> None:
    """Faults 1, 6, 10, 12: steps are appended once each, whatever call goes wrong."""
    steps = ["capture", "register", "score", "gate"]

    def release(store: MemoryStore) -> None:
        ledger = Ledger(store, "asr")
        for step in steps:
            if step not in {event.step for event in ledger.events()}:
                ledger.append(step, "complete", at=AT, release="r1")

    for call in itertools.count(1):
        store = MemoryStore()
        store.inject(call, kind)
        for _ in range(3):
            try:
                release(store)
                break
            except (DependencyFailed, Crash):
                continue
        if store.calls < call:
            break
        events = Ledger(store, "asr").events()
        assert [event.step for event in events] == steps, (call, kind)
        assert Ledger(store, "asr").verify() == []
    assert call > 10


@given(
    data=st.dictionaries(
        st.text(max_size=8),
        st.one_of(st.none(), st.booleans(), st.integers(1 - 2**53, 2**53 - 1), st.text(max_size=20)),
    )
)
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_law_an_event_survives_its_bytes(data: dict[str, bool | int | str | None]) -> None:
    event = LedgerEvent(
        family="asr", sequence=0, previous=GENESIS, at=AT, step="promote", outcome="start", data=dict(data)
    )
    assert LedgerEvent.from_bytes(event.to_bytes()) == event


def test_the_writer_has_an_event_as_every_reader_has_it() -> None:
    store = MemoryStore()
    written = Ledger(store, "asr").append("score", "complete", at=AT, data={"version": "v1", "actor": "demo"})
    (read,) = Ledger(store, "asr").events()
    assert list(written.data) == list(read.data) == ["actor", "version"]
