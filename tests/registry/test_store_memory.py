"""The simulator itself, and how a pointer move is made to survive any fault."""

from __future__ import annotations

import itertools

import pytest

from contracts.errors import Conflict, DependencyFailed
from registry.documents import get_document, put_document
from registry.ledger import Ledger
from registry.store import Store
from registry.store.memory import Crash, FaultKind, MemoryStore

AT = "2026-11-20T14:02:31Z"


@pytest.mark.parametrize(
    ("kind", "raised", "happened"),
    [
        (FaultKind.FAIL, DependencyFailed, False),
        (FaultKind.LOST_ANSWER, DependencyFailed, True),
        (FaultKind.CRASH_BEFORE, Crash, False),
        (FaultKind.CRASH_AFTER, Crash, True),
    ],
)
def test_a_fault_strikes_the_call_it_is_planned_for_once(
    kind: FaultKind, raised: type[BaseException], happened: bool
) -> None:
    store = MemoryStore()
    store.create("a", b"")
    store.inject(2, kind)
    store.create("b", b"")
    with pytest.raises(raised):
        store.create("c", b"")
    assert list(store.list("")) == (["a", "b", "c"] if happened else ["a", "b"])
    store.create("c", b"")
    assert store.calls == 5


def _promote(store: Store) -> None:
    """Intent, move, outcome (R9.1), each done only where it is not done already."""
    ledger = Ledger(store, "asr")
    state = ledger.state()
    if state.current == "b" * 64:
        return
    if not state.open_intents:
        ledger.append("promote", "start", at=AT, release="r1")
    pointer = store.pointer("asr")
    if pointer is None:
        store.swap("asr", b"table", expected=None)
    ledger.append("promote", "complete", at=AT, release="r1", outputs={"bundle": "b" * 64}, data={"version": "v1"})


@pytest.mark.parametrize("kind", list(FaultKind))
def test_a_promotion_that_is_run_again_after_a_fault_at_any_call_is_one_promotion(kind: FaultKind) -> None:
    """Faults 1, 3, 12: every N from the first call to the last."""
    for call in itertools.count(1):
        store = MemoryStore()
        store.inject(call, kind)
        for _ in range(3):
            try:
                _promote(store)
                break
            except (DependencyFailed, Crash):
                continue
        if store.calls < call:
            break
        state = Ledger(store, "asr").state()
        assert [move.version for move in state.history] == ["v1"], (kind, call)
        assert state.open_intents == ()
        pointer = store.pointer("asr")
        assert pointer is not None
        assert pointer.content == b"table"
        assert pointer.version.startswith("0-"), "moved once"
    assert call > 6


def test_a_swap_whose_answer_is_lost_is_found_by_reading_back() -> None:
    """Fault 12: the mover sees its own content where it expected to have failed."""
    store = MemoryStore()
    store.inject(1, FaultKind.LOST_ANSWER)
    with pytest.raises(DependencyFailed, match="call 1 failed, its answer was lost"):
        store.swap("asr", b"table", expected=None)
    pointer = store.pointer("asr")
    assert pointer is not None
    assert pointer.content == b"table"
    with pytest.raises(Conflict):
        store.swap("asr", b"table", expected=None)


def test_documents_are_blobs_of_their_canonical_form(store: Store) -> None:
    from contracts.bundle import Golden, GoldenFixture

    golden = Golden(
        max_word_edits=0,
        fixtures=(GoldenFixture(fixture_id="a", audio="audio/000.wav", text="turn left", slices={"accent": "us"}),),
    )
    digest = put_document(store, golden)
    assert digest == golden.digest()
    assert put_document(store, golden) == digest
    assert get_document(store, Golden, digest) == golden
