"""What a family's ledger says: a pure fold of its events into the state that decisions are made on.

Boundary: no I/O, no clock; events in, state out.
Invariants: `fold(events[n:], fold(events[:n])) == fold(events)` for every n, so that a snapshot can be folded on;
an event the fold does not know changes nothing but sequence and head, so that old code reads new ledgers; a move that
has no outcome event has not happened, it is an open intent for the start-up to reconcile (R9.1); one move that two
processes recorded (the mover and a start-up that reconciled) is one move; moves stand in the order of the pointer's
versions, not in the order in which their outcomes were written down (B7, fault 64).
Source: release-algorithm R9, B0, B1, B6.

The steps and fields that are read:
    package COMPLETE            outputs {"bundle"}; data {"version"} (else the release's version)
    promote, rollback COMPLETE  outputs {"bundle", "route_table"}; data {"version", "kind", "actor", "reason"}; and
                                optional: data["slices"] marks a move of slices alone (B6), data["intent"] is the
                                sequence of the START it settles, data["route_version"] the version of its route table
    condemn COMPLETE            outputs {"bundle"}
    freeze, unfreeze COMPLETE
    collect COMPLETE            outputs {"bundle"} where there is one; data {"release"}
    erase, consent COMPLETE     data["unusable"]: bundles that cannot run without the erased blob
    abort COMPLETE              stops its release
    any event of a release      data {"version"}; inputs or outputs {"payload"}, or data {"payload_digest"}
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from pydantic import JsonValue

from contracts.digest import Digest
from contracts.ledger_event import GENESIS, LedgerEvent

MoveKind = Literal["promote", "rollback", "forward"]
MOVES = ("promote", "rollback")
KEPT_RELEASES = 256
"""Releases whose steps are kept, those with the newest events; an older one that is run again begins anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Promotion:
    """One settled move of a family: to which bundle, when (UTC, for people), by whom and why.

    `slices` names the slices that moved (`label=value`); () is a move of the whole family. `route_table` is the digest
    of the table moved to ("" where it is not recorded), `route_version` its version, `intent` the START's sequence.
    """

    bundle: Digest
    version: str
    at: str
    kind: MoveKind
    release: str
    actor: str
    reason: str
    sequence: int
    slices: tuple[str, ...] = ()
    route_table: str = ""
    route_version: int | None = None
    intent: int | None = None

    def is_recorded_in(self, moves: Iterable[Promotion]) -> bool:
        """Whether this very move of the pointer is among `moves` already."""
        return any(
            (self.intent is not None and self.intent == move.intent)
            or (self.route_table != "" and self.route_table == move.route_table)
            for move in moves
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseProgress:
    """How far one release has come.

    Attributes:
        payload_digest: digest of the candidate's payload, "" until an event names it.
        steps: step -> its last COMPLETE event.
        failed: the FAIL or abort that stopped the release; None while it goes on or is tried again.
        pending: step -> its last START that has no outcome yet.
    """

    release: str
    version: str = ""
    payload_digest: str = ""
    steps: Mapping[str, LedgerEvent] = field(default_factory=dict)
    failed: LedgerEvent | None = None
    pending: Mapping[str, LedgerEvent] = field(default_factory=dict)

    @property
    def failed_step(self) -> str | None:
        """The step that stopped this release."""
        return self.failed.step if self.failed else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseState:
    """A family as its ledger says it is.

    Attributes:
        sequence, head: number and digest of the last event; -1 and GENESIS before the first.
        history: settled moves of the whole family, oldest first.
        slice_moves: settled moves of slices alone, oldest first (B6).
        current: the stable bundle, None before the first promotion.
        withdrawn, condemned: bundles that B1 leaves out.
        releases: how far each release has come, the one with the newest event last; at most KEPT_RELEASES.
        packaged: bundle -> version, for every bundle that was ever packaged.
        open_intents: promote and rollback STARTs without an outcome, oldest first.
        collected: release, or bundle, whose files garbage collection took -> when (UTC, for people).
        erased: bundles that lack a file they run from, by a tombstone (S5).
    """

    family: str = ""
    sequence: int = -1
    head: Digest = GENESIS
    history: tuple[Promotion, ...] = ()
    slice_moves: tuple[Promotion, ...] = ()
    current: Digest | None = None
    withdrawn: frozenset[Digest] = frozenset()
    condemned: frozenset[Digest] = frozenset()
    frozen: bool = False
    packaged: Mapping[Digest, str] = field(default_factory=dict)
    releases: Mapping[str, ReleaseProgress] = field(default_factory=dict)
    open_intents: tuple[LedgerEvent, ...] = ()
    collected: Mapping[str, str] = field(default_factory=dict)
    erased: frozenset[Digest] = frozenset()

    def promoted_at(self, bundle: Digest) -> int | None:
        """Sequence of a bundle's newest promotion (its first move where it has none); None: never stable (B2)."""
        moves = [move for move in self.history if move.bundle == bundle]
        promotions = [move for move in moves if move.kind == "promote"]
        return promotions[-1].sequence if promotions else moves[0].sequence if moves else None


def fold(events: Iterable[LedgerEvent], state: ReleaseState | None = None) -> ReleaseState:
    """The state after `events`, which follow those that `state` was folded from (None: from the beginning)."""
    folding = _Folding(state or ReleaseState())
    for event in events:
        folding.apply(event)
    return folding.state()


class _Folding:
    """The state while it is being folded: mutable, so that many events cost time in proportion to their number."""

    def __init__(self, start: ReleaseState) -> None:
        self._start = start
        self._family = start.family
        self._last: LedgerEvent | None = None
        self._history = list(start.history)
        self._slice_moves = list(start.slice_moves)
        self._current = start.current
        self._withdrawn = set(start.withdrawn)
        self._condemned = set(start.condemned)
        self._frozen = start.frozen
        self._packaged = dict(start.packaged)
        self._releases = dict(start.releases)
        self._intents = {event.sequence: event for event in start.open_intents}
        self._collected = dict(start.collected)
        self._erased = set(start.erased)

    def apply(self, event: LedgerEvent) -> None:
        self._family = event.family
        self._last = event
        if event.release:
            known = self._releases.pop(event.release, None) or ReleaseProgress(release=event.release)
            self._releases[event.release] = _progress(known, event)
            if len(self._releases) > KEPT_RELEASES:
                del self._releases[next(iter(self._releases))]
        if event.step in MOVES:
            self._intend(event)
        if event.outcome == "complete":
            self._settle(event)

    def _intend(self, event: LedgerEvent) -> None:
        """Keep a START until its outcome: the one that names it, else any of the same step and release."""
        if event.outcome == "start":
            self._intents[event.sequence] = event
            return
        named = event.data.get("intent")
        settled = [
            sequence
            for sequence, start in self._intents.items()
            if start.step == event.step and (sequence == named if named is not None else start.release == event.release)
        ]
        for sequence in settled:
            del self._intents[sequence]

    def _settle(self, event: LedgerEvent) -> None:
        bundle = event.outputs.get("bundle")
        if event.step in ("freeze", "unfreeze"):
            self._frozen = event.step == "freeze"
        elif event.step == "collect":
            self._collected |= dict.fromkeys(filter(None, (_text(event.data.get("release")), bundle)), event.at)
        elif event.step in ("erase", "consent"):
            self._erase(event)
        elif bundle and event.step == "package":
            self._packaged[bundle] = self._version(event, bundle)
            self._collected.pop(bundle, None)  # another release has stored the same files anew
        elif bundle and event.step == "condemn":
            self._condemned.add(bundle)
        elif bundle and event.step in MOVES:
            self._move(event, bundle)

    def _erase(self, event: LedgerEvent) -> None:
        named = event.data.get("unusable")
        bundles = {str(bundle) for bundle in named} if isinstance(named, list) else set()
        self._erased = self._erased | bundles if event.step == "erase" else self._erased - bundles

    def _move(self, event: LedgerEvent, bundle: Digest) -> None:
        move = Promotion(
            bundle=bundle,
            version=self._version(event, bundle),
            at=event.at,
            kind=_kind(event),
            release=event.release,
            actor=_text(event.data.get("actor")),
            reason=_text(event.data.get("reason")),
            sequence=event.sequence,
            slices=_slices(event.data.get("slices")),
            route_table=event.outputs.get("route_table", ""),
            route_version=_number(event.data.get("route_version")),
            intent=_number(event.data.get("intent")),
        )
        moves = self._slice_moves if move.slices else self._history  # B6
        if move.is_recorded_in(moves):
            return
        place = _place(moves, move)
        moves.insert(place, move)
        if moves is self._slice_moves:
            return
        if place == len(moves) - 1:
            self._follow(move)
            return
        self._current, self._withdrawn = None, set()
        for earlier in self._history:
            self._follow(earlier)

    def _follow(self, move: Promotion) -> None:
        if move.kind == "rollback" and self._current and self._current != move.bundle:  # B0
            self._withdrawn.add(self._current)
        self._withdrawn.discard(move.bundle)  # B1
        self._current = move.bundle

    def _version(self, event: LedgerEvent, bundle: Digest) -> str:
        release = self._releases.get(event.release)
        known = release.version if release else ""
        return _text(event.data.get("version")) or self._packaged.get(bundle, "") or known

    def state(self) -> ReleaseState:
        if self._last is None:
            return self._start
        return ReleaseState(
            family=self._family,
            sequence=self._last.sequence,
            head=self._last.digest(),
            history=tuple(self._history),
            slice_moves=tuple(self._slice_moves),
            current=self._current,
            withdrawn=frozenset(self._withdrawn),
            condemned=frozenset(self._condemned),
            frozen=self._frozen,
            packaged=self._packaged,
            releases=self._releases,
            open_intents=tuple(self._intents.values()),
            collected=self._collected,
            erased=frozenset(self._erased),
        )


def _progress(known: ReleaseProgress, event: LedgerEvent) -> ReleaseProgress:
    """A release after one more of its events.

    What stopped it stays until it is tried again (any START) or the same step completes; a step that was running when
    the release was aborted and completes afterwards does not undo the abort (B7).
    """
    steps, pending, failed = known.steps, dict(known.pending), known.failed
    pending.pop(event.step, None)
    if event.outcome == "start":
        pending[event.step] = event
        failed = None
    elif event.outcome == "fail":
        failed = event
    else:
        steps = {**steps, event.step: event}
        if event.step == "abort":
            failed = event
        elif failed is not None and failed.step == event.step:
            failed = None
    payload = event.outputs.get("payload") or event.inputs.get("payload") or _text(event.data.get("payload_digest"))
    return replace(
        known,
        version=_text(event.data.get("version")) or known.version,
        payload_digest=payload or known.payload_digest,
        steps=steps,
        failed=failed,
        pending=pending,
    )


def _kind(event: LedgerEvent) -> MoveKind:
    if event.step == "promote":
        return "promote"
    return "forward" if event.data.get("kind") == "forward" else "rollback"


def _text(value: JsonValue) -> str:
    return value if isinstance(value, str) else ""


def _number(value: JsonValue) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _place(moves: list[Promotion], move: Promotion) -> int:
    """Where a move belongs: at the end, or before those that the pointer made later but that were written earlier."""
    if move.route_version is None:
        return len(moves)
    place = len(moves)
    while place and (moves[place - 1].route_version or 0) > move.route_version:
        place -= 1
    return place


def _slices(value: JsonValue) -> tuple[str, ...]:
    if isinstance(value, dict):
        return tuple(f"{label}={item}" for label, item in sorted(value.items()))
    if isinstance(value, list):
        return tuple(str(item) for item in value)
    return ()
