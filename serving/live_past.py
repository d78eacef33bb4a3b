"""What a family's route table was: as this gateway has served it, and as the ledger tells it.

Boundary: reads the ledger of the store it is handed; `saw` is called on the gateway's loop, `read` in a thread.
Invariants: a version that was served here is told as it was served; of the others the ledger's outcome of a move wins
over its intent; a store that is away leaves what was known.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

from contracts.digest import Digest
from contracts.ledger_event import LedgerEvent
from contracts.live import Move
from contracts.routing import RouteTable
from registry.ledger import Ledger
from registry.store import Store

log = logging.getLogger(__name__)

KEPT = 20
"""Moves that are told, the newest."""
RECENT_EVENTS = 100
"""Of the ledger's end: where canary stages and changes of how stable is served are looked for."""

_STEERED = ("degrade", "cascade")
_STAGE = "canary_stage"


class Past:
    """The moves of one family's pointer, and what its bundles are called; `store` None: a family without a pointer."""

    def __init__(self, family: str, store: Callable[[], Store] | None) -> None:
        self.family = family
        self._store = store
        self._ledger: Ledger | None = None
        self._lock = threading.Lock()
        self._events: dict[int, LedgerEvent] = {}
        self._told: dict[int, Move] = {}
        self._seen: dict[int, Move] = {}
        self.versions: Mapping[Digest, str] = MappingProxyType({})

    def saw(self, table: RouteTable | None) -> None:
        """Remember a table that is served."""
        if table is None or not table.version or table.version in self._seen:
            return
        canary = table.canary.bundle if table.canary else None
        seen = {**self._seen, table.version: _move(table.version, table, table.stable, canary)}
        self._seen = {version: seen[version] for version in sorted(seen)[-KEPT:]}

    def moves(self) -> tuple[Move, ...]:
        """The newest moves, oldest first."""
        known = {**self._told, **self._seen}
        return tuple(known[version] for version in sorted(known)[-KEPT:])

    def read(self) -> None:
        """Read what the ledger has that is new; called in a thread."""
        if self._store is None:
            return
        with self._lock:
            try:
                store = self._store()
                self._ledger = self._ledger or Ledger(store, self.family)
                self._read(store, self._ledger)
            except Exception as error:
                # The page shows what is known; the router says that the store is away.
                log.warning("%s: the ledger could not be read for the live page: %s", self.family, type(error).__name__)

    def _read(self, store: Store, ledger: Ledger) -> None:
        state = ledger.state()
        self.versions = MappingProxyType(dict(state.packaged))
        wanted = range(max(state.sequence + 1 - RECENT_EVENTS, 0), state.sequence + 1)
        self._events = {
            sequence: self._events.get(sequence)
            or LedgerEvent.from_bytes(store.read(ledger.key(sequence)), where=ledger.key(sequence))
            for sequence in wanted
        }
        told = dict(_intended(self._events.values()))
        stable: Digest | None = None
        for move in sorted((*state.history[-KEPT:], *state.slice_moves[-KEPT:]), key=lambda one: one.sequence):
            stable = stable if move.slices else move.bundle
            if move.route_version:
                told[move.route_version] = Move(
                    version=move.route_version,
                    moved_at=move.at,
                    actor=move.actor,
                    reason=_said(move.kind, move.reason, move.slices),
                    stable=stable,
                )
        self._told = _filled(told)


def _move(version: int, table: RouteTable, stable: Digest | None, canary: Digest | None) -> Move:
    return Move(
        version=version, moved_at=table.moved_at, actor=table.actor, reason=table.reason, stable=stable, canary=canary
    )


def _said(kind: str, reason: str, slices: Iterable[str]) -> str:
    where = ", ".join(slices)
    return ": ".join(filter(None, (f"{kind} of {where}" if where else kind, reason)))


def _intended(events: Iterable[LedgerEvent]) -> Iterable[tuple[int, Move]]:
    """The moves onto canary stages, and those that changed how stable is served; by version."""
    for event in events:
        version = event.data.get("route_version")
        if not isinstance(version, int):
            continue
        if event.step == _STAGE and event.outcome == "start":
            yield version, Move(
                version=version, moved_at=event.at, actor="release", reason=f"canary: {event.data.get('stage', '')}",
                stable=event.inputs.get("stable"), canary=event.inputs.get("bundle"),
            )  # fmt: skip
        elif event.step in _STEERED and event.outcome == "complete":
            reason = f"{event.data.get('change', event.step)}: {event.data.get('reason', '')}"
            actor = str(event.data.get("actor", ""))
            yield version, Move(version=version, moved_at=event.at, actor=actor, reason=reason, stable=None)


def _filled(told: Mapping[int, Move]) -> dict[int, Move]:
    """Moves that say nothing of stable have the stable of the one before."""
    filled: dict[int, Move] = {}
    stable: Digest | None = None
    for version in sorted(told):
        move = told[version] if told[version].stable else told[version].model_copy(update={"stable": stable})
        filled[version], stable = move, move.stable
    return filled
