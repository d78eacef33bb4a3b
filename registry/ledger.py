"""The ledger of a family: events appended by create-once, each chained to the one before.

Boundary: the store it is handed; no clock (times come in). The fold itself is pure: registry/release_state.py.
Invariants: event n of a family has the key `ledger/FAMILY/%012d` and names the digest of event n-1; of two writers of
one sequence one wins and the other takes the next; reading goes upward until a key is missing and never trusts a
listing (fault 17); an edited, dropped or reordered event is Corrupt, a cut-off tail is found by an anchor (the route
table carries the sequence and head it was moved at); the state is folded from the newest snapshot on
(registry/snapshots.py), so that it costs time in proportion to what is new.
Source: release-algorithm R5.3, R9.1; OpenLineage 2-0-2 (contracts/ledger_event.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from pydantic import JsonValue

from contracts.bundle import path_fault
from contracts.digest import Digest, sha256_bytes, short
from contracts.errors import AlreadyExists, Conflict, Corrupt, DependencyFailed, NotFound, WrongCall
from contracts.ledger_event import GENESIS, LedgerEvent, Outcome
from registry import snapshots
from registry.release_state import Promotion, ReleaseProgress, ReleaseState, fold
from registry.store import Store

__all__ = ["Ledger", "Promotion", "ReleaseProgress", "ReleaseState", "chain_faults", "fold"]

MAX_ATTEMPTS = 1000
"""Sequences an append tries before it gives up; each lost one is an event that somebody else has written."""

Anchor = tuple[int, Digest]
"""A sequence and the digest of the event that has it, known from elsewhere (a route table)."""


class Ledger:
    """One family's ledger; what has been read is kept, so that a second look reads the new events alone.

    `on_append` is told the family after each append of this object; it must neither wait nor raise.
    """

    def __init__(self, store: Store, family: str, on_append: Callable[[str], None] | None = None) -> None:
        if "/" in family or path_fault(family):
            raise WrongCall("not a family's name", got=repr(family), expected="a name without slashes, in Unicode NFC")
        self.family = family
        self._store = store
        self._on_append = on_append
        self._base: ReleaseState | None = None
        self._earlier: list[LedgerEvent] | None = None
        self._events: list[LedgerEvent] = []
        self._head: Digest = GENESIS
        self._folded = ReleaseState(family=family)

    def key(self, sequence: int) -> str:
        """The key of an event."""
        return f"ledger/{self.family}/{sequence:012d}"

    def append(
        self,
        step: str,
        outcome: Outcome,
        *,
        at: str,
        release: str = "",
        inputs: Mapping[str, Digest] | None = None,
        outputs: Mapping[str, Digest] | None = None,
        data: Mapping[str, JsonValue] | None = None,
        expected: int | None = None,
    ) -> LedgerEvent:
        """Write the next event and return it.

        Args:
            at: UTC time, ISO 8601 with `Z`.
            expected: `state().sequence` the caller decided on; Conflict when the ledger has grown since.

        Raises Corrupt on a broken chain, DependencyFailed when the store does not answer (an answer that was lost after
        the write is found by reading back, fault 12).
        """
        for _ in range(MAX_ATTEMPTS):
            self._refresh()
            if expected is not None and expected != self._length - 1:
                raise self._moved(expected)
            event = LedgerEvent(
                family=self.family,
                sequence=self._length,
                previous=self._head,
                at=at,
                step=step,
                outcome=outcome,
                release=release,
                inputs=dict(inputs or {}),
                outputs=dict(outputs or {}),
                data=dict(data or {}),
            )
            if not _survives(event):
                raise WrongCall(
                    "an event cannot be written: its facts have no exact JSON form",
                    where=f"family {self.family}, step {step}",
                    expected="text, truth values, finite numbers below 2**53",
                )
            if self._create(event):
                event = _read_event(event.to_bytes(), "")  # as every reader has it, keys in canonical order
                self._accept(event)
                if self._length % snapshots.EVERY == 0:
                    snapshots.write(self._store, self.state())
                if self._on_append:
                    self._on_append(self.family)
                return event
        raise DependencyFailed(
            "the ledger could not be appended to: other writers took every sequence",
            where=f"{self._store.url}, family {self.family}",
            got=f"{MAX_ATTEMPTS} attempts",
            next_step="run the same command again when fewer releases run",
        )

    def events(self) -> tuple[LedgerEvent, ...]:
        """All events, in order; raises Corrupt where the chain is broken."""
        self._refresh()
        if self._earlier is None:
            self._earlier = self._read_chain(0, self._first, GENESIS)
            if self._events and self._earlier and self._events[0].previous != self._earlier[-1].digest():
                raise self._broken(f"event {self._first} does not follow event {self._first - 1}", self._first)
        return (*self._earlier, *self._events)

    def state(self) -> ReleaseState:
        """The state that the events fold to; folds what is new since the last look."""
        self._refresh()
        self._folded = fold(self._events[self._folded.sequence + 1 - self._first :], self._folded)
        return self._folded

    def verify(self, *, anchor: Anchor | None = None) -> list[str]:
        """Read everything again and say in sentences what is wrong; [] is a clean ledger.

        `anchor` is an event that is known to have been written; without one a cut-off tail cannot be seen. A listing is
        used only to find events beyond a gap.
        """
        stored: list[bytes] = []
        while (content := self._read(len(stored))) is not None:
            stored.append(content)
        faults = chain_faults(stored, self.family, anchor=anchor)
        beyond = [key for key in self._store.list(f"ledger/{self.family}/") if key > self.key(len(stored))]
        if beyond:
            faults.append(f"event {len(stored)} is missing, but there are {len(beyond)} after it, from {beyond[0]} on")
        if not faults:
            events = [_read_event(content, "") for content in stored]
            faults += snapshots.faults(self._store, self.family, events)
        return faults

    def _read(self, sequence: int) -> bytes | None:
        try:
            return self._store.read(self.key(sequence))
        except NotFound:
            return None

    @property
    def _first(self) -> int:
        """Sequence of the first event that was read; those before it are in the snapshot."""
        return 0 if self._base is None else self._base.sequence + 1

    @property
    def _length(self) -> int:
        return self._first + len(self._events)

    def _refresh(self) -> None:
        if self._base is None and not self._events:
            self._base = snapshots.newest(self._store, self.family, f"ledger/{self.family}/{{sequence:012d}}")
            if self._base is not None:
                self._folded, self._head = self._base, self._base.head
        for event in self._read_chain(self._length, None, self._head):
            self._accept(event)

    def _read_chain(self, start: int, end: int | None, previous: Digest) -> list[LedgerEvent]:
        """Events from `start` to before `end` (None: the last there is), each following the one before it."""
        events: list[LedgerEvent] = []
        while end is None or start + len(events) < end:
            sequence = start + len(events)
            content = self._read(sequence)
            if content is None and end is None:
                break
            if content is None:
                raise self._broken(f"event {sequence} is missing", sequence)
            event = _read_event(content, f"{self._store.url}, {self.key(sequence)}")
            if fault := _link_fault(event, self.family, sequence, previous):
                raise self._broken(fault, sequence)
            events.append(event)
            previous = sha256_bytes(content)
        return events

    def _broken(self, fault: str, sequence: int) -> Corrupt:
        return Corrupt(
            f"the ledger is broken: {fault}",
            where=f"{self._store.url}, {self.key(sequence)}",
            next_step=f"run `soundcheck verify {self.family}`",
        )

    def _accept(self, event: LedgerEvent) -> None:
        self._events.append(event)
        self._head = event.digest()

    def _create(self, event: LedgerEvent) -> bool:
        """Write an event; False when its sequence is taken by another."""
        content = event.to_bytes()
        try:
            self._store.create(self.key(event.sequence), content)
        except AlreadyExists:
            return False
        except DependencyFailed:
            if self._read(event.sequence) != content:
                raise
        return True

    def _moved(self, expected: int) -> Conflict:
        return Conflict(
            f"the ledger of {self.family} has moved",
            where=self._store.url,
            got=f"last event {self._length - 1}",
            expected=f"last event {expected}",
            next_step="read the state, decide again on what it says now",
        )


def _read_event(content: bytes, where: str) -> LedgerEvent:
    try:
        return LedgerEvent.from_bytes(content, where=where)
    except ValueError as error:  # a number that was edited out of the range that has a canonical form
        raise Corrupt("a ledger event is not in its canonical form", where=where, got=str(error)) from None


def _survives(event: LedgerEvent) -> bool:
    """Whether an event comes back equal from its bytes; one that does not would make the ledger unreadable."""
    try:
        return _read_event(event.to_bytes(), "") == event
    except (ValueError, Corrupt):
        return False


def _link_fault(event: LedgerEvent, family: str, sequence: int, previous: Digest) -> str | None:
    """Why an event is not the one that belongs at this place of this chain, or None."""
    if event.family != family:
        return f"event {sequence} belongs to family {event.family!r}"
    if event.sequence != sequence:
        return f"event {sequence} says it is event {event.sequence}"
    if event.previous != previous:
        return f"event {sequence} follows {short(event.previous)}, but the event before it is {short(previous)}"
    return None


def chain_faults(stored: Sequence[bytes], family: str, *, anchor: Anchor | None = None) -> list[str]:
    """What is wrong with a family's stored events, in sentences; pure.

    Every event is checked against the bytes before it, so that an edit is named where it is and where it is noticed.
    """
    faults, previous = [], GENESIS
    for sequence, content in enumerate(stored):
        try:
            event = _read_event(content, "")
        except Corrupt as error:
            faults.append(f"event {sequence}: {error.what}")
        else:
            if fault := _link_fault(event, family, sequence, previous):
                faults.append(fault)
        previous = sha256_bytes(content)
    if anchor is None:
        return faults
    sequence, digest = anchor
    if sequence >= len(stored):
        faults.append(f"event {sequence} is missing: the ledger ends at event {len(stored) - 1}")
    elif sha256_bytes(stored[sequence]) != digest:
        faults.append(f"event {sequence} is not the one that was written: expected {short(digest)}")
    return faults
