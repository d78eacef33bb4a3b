"""A family's pointer: read its route table, move it, wait until every gateway serves it, reconcile after a crash.

Boundary: the store's pointer `families/FAMILY`; what gateways say they serve (serving/presence.py).
Invariants: the pointer moves by compare-and-set alone, its version grows by one each time, and it carries the ledger
sequence and head it was moved at (R9); intent stands in the ledger before, the outcome after (R9.1).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import suppress
from typing import NamedTuple, TypeVar

from pydantic import JsonValue

from contracts.digest import Digest, short
from contracts.errors import Conflict
from contracts.ledger_event import GENESIS, LedgerEvent
from contracts.routing import POINTERS, CanaryRoute, Cascade, Degradation, RouteTable, SliceRule, pointer_name
from operations.context import Context, log
from serving.presence import wait_for_version

Moved = TypeVar("Moved")

ATTEMPTS = 5
"""How often a move that must be made is tried again when somebody else moved the pointer meanwhile (B7)."""
MOVED = "had moved the pointer"
"""What `reconcile` says of an interrupted step whose outcome was not written down."""


class Beside(NamedTuple):
    """How stable is served (coverage rows 23 and 29); it stands from table to table until somebody changes it."""

    cascade: Cascade | None = None
    degradation: Degradation | None = None


class Current(NamedTuple):
    """A family's route table and the pointer version that a move must name (None: no table yet)."""

    table: RouteTable | None
    version: str | None

    @property
    def stable(self) -> Digest | None:
        """The bundle that users hear."""
        return self.table.stable if self.table else None


def current(context: Context, family: str, *, prefix: str = POINTERS) -> Current:
    """What the pointer says now."""
    name = pointer_name(family, prefix)
    pointer = context.store.pointer(name)
    if pointer is None:
        return Current(None, None)
    return Current(RouteTable.parse(pointer.content, where=name), pointer.version)


def move(
    context: Context,
    family: str,
    seen: Current,
    *,
    stable: Digest | None,
    actor: str,
    reason: str,
    canary: CanaryRoute | None = None,
    slice_rules: tuple[SliceRule, ...] = (),
    warm: tuple[Digest, ...] = (),
    closed: tuple[Digest, ...] = (),
    beside: Beside | None = None,
    left: Collection[Digest] = (),
    prefix: str = POINTERS,
) -> RouteTable:
    """Swap the pointer from what was `seen` to a new table; Conflict says who moved it meanwhile, and where to.

    Canary, slice rules and warm bundles are those that are given. Cascade and degradation go on from the table that was
    seen, unless `beside` says otherwise; one that names the new stable, a bundle that is closed or one in `left`
    ends. Bundles stay closed until a table routes to them again.
    """
    if beside is None:
        beside = _going_on(seen.table, {stable, *left, *closed})
    named = {stable, canary and canary.bundle, *(rule.bundle for rule in slice_rules), *_bundles(beside)}
    shut = (*closed, *(seen.table.closed if seen.table else ()))
    events = context.ledger(family).events()
    table = RouteTable(
        family=family,
        version=seen.table.version + 1 if seen.table else 1,
        stable=stable,
        canary=canary,
        slice_rules=slice_rules,
        warm=tuple(dict.fromkeys(warm)),
        cascade=beside.cascade,
        degradation=beside.degradation,
        closed=tuple(dict.fromkeys(bundle for bundle in shut if bundle not in named)),
        ledger_sequence=events[-1].sequence if events else 0,
        ledger_head=events[-1].digest() if events else GENESIS,
        moved_at=context.timestamp(),
        actor=actor,
        reason=reason,
    )
    context.store.put_blob(table.canonical())
    try:
        context.store.swap(pointer_name(family, prefix), table.canonical(), expected=seen.version)
    except Conflict:
        raise _lost(context, family, table, prefix) from None
    return table


def insist(context: Context, family: str, moved: Callable[[Current], Moved]) -> Moved:
    """What `moved` returns for the table that stands; where somebody else was first, for the one that stands then (B7).

    Raises Conflict after ATTEMPTS.
    """
    for _ in range(ATTEMPTS - 1):
        with suppress(Conflict):
            return moved(current(context, family))
    return moved(current(context, family))


def _going_on(table: RouteTable | None, ended: Collection[Digest | None]) -> Beside:
    """What a table says of how stable is served, without what names a bundle of `ended`."""
    if table is None:
        return Beside()
    cascade, degradation = table.cascade, table.degradation
    return Beside(
        None if cascade and cascade.small in ended else cascade,
        None if degradation and degradation.bundle and degradation.bundle in ended else degradation,
    )


def _bundles(beside: Beside) -> tuple[Digest | None, ...]:
    return (
        beside.cascade.small if beside.cascade else None,
        beside.degradation.bundle if beside.degradation else None,
    )


def _lost(context: Context, family: str, own: RouteTable, prefix: str) -> Conflict:
    """What the loser of a race is told: who moved the pointer, and where to."""
    won = current(context, family, prefix=prefix).table
    return Conflict(
        "somebody else moved the pointer first",
        where=pointer_name(family, prefix),
        got=f"version {won.version}: {won.reason}, by {won.actor}, stable {short(won.stable or 'none')}" if won else "",
        expected=f"version {own.version - 1}" if own.version > 1 else "no route table yet",
        next_step=f"soundcheck status {family}, then decide again",
    )


def wait_for_gateways(context: Context, table: RouteTable, *, timeout_s: float = 60.0) -> int:
    """Wait until every live gateway serves this table or a later one (B5); how many there are.

    Raises DependencyFailed naming the gateway that does not follow; the pointer stays moved, it is the authority.
    """
    return wait_for_version(context.home, table.family, table.version, timeout_s=timeout_s)


def reconcile(context: Context, family: str) -> list[str]:
    """Give every promote or rollback intent without an outcome its outcome, by what the pointer says (fault 3).

    Returns each step with what had become of it.
    """
    ledger = context.ledger(family)
    done = []
    for intent in ledger.state().open_intents:
        table = current(context, family).table
        moved = table is not None and table.ledger_sequence >= intent.sequence and _routes(table, intent)
        outputs, data = dict(intent.outputs), {**intent.data, "intent": intent.sequence}
        if moved and table is not None:
            outputs["route_table"] = table.digest()
            data = settled(intent, table)
        said = MOVED if moved else "had not moved the pointer"
        ledger.append(
            intent.step,
            "complete" if moved else "fail",
            at=context.timestamp(),
            release=intent.release,
            inputs=intent.inputs,
            outputs=outputs,
            data={**data, "reconciled": said},
        )
        done.append(f"{intent.step} {said}")
        log.warning("%s: reconciled an interrupted %s", family, done[-1])
    return done


def _routes(table: RouteTable, intent: LedgerEvent) -> bool:
    """Whether the table says what the intent wanted: of the whole family, or of the slices it names (B6)."""
    wanted = intent.outputs.get("bundle")
    if intent.data.get("slices"):
        return any(rule.bundle == wanted for rule in table.slice_rules)
    return table.stable == wanted


def settled(intent: LedgerEvent, table: RouteTable) -> dict[str, JsonValue]:
    """What an outcome event adds to its intent's facts: which intent, and which version of the table came of it."""
    return {**intent.data, "intent": intent.sequence, "route_version": table.version}
