"""A signed change of how stable is served: degradation and cascade (coverage rows 23 and 29).

Boundary: the store, the ledger, the pointer, what gateways say; operations/degrade.py and operations/cascade.py say
what is changed.
Invariants: signed and with a reason, like a rollback (B0); intent before, outcome after (R9.1); the pointer moves by
compare-and-set, and a conflict is tried again on the new table; stable, canary, slice rules and warm bundles stay as
they are; a bundle that users will hear was stable once, is whole, compatible and proved (B1, B3 to B5); the same change
made twice moves once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

from pydantic import JsonValue

from contracts.digest import Digest, short
from contracts.errors import Refused
from contracts.ledger_event import LedgerEvent
from contracts.routing import RouteTable
from operations import keys, pointer
from operations.context import Context
from operations.golden import prove, warm_proof
from operations.restore import refuse_broken
from operations.rollback import incompatible, named_bundle
from registry.signing import KeySigner, sign

STEERING_TYPE = "https://soundcheck.invalid/predicates/steering/v1"
"""Predicate of an operator's signed word: {family, step, change, reason, at}."""


class Steered(NamedTuple):
    """What was changed: the route version that serves it, how long that took; `repeated`: it was so already."""

    family: str
    step: str
    change: str
    version: int
    total_s: float
    repeated: bool = False


def steer(
    context: Context,
    family: str,
    *,
    step: Literal["degrade", "cascade"],
    change: str,
    arranged: Callable[[pointer.Beside], pointer.Beside],
    uses: Digest | None,
    key_name: str,
    reason: str,
) -> Steered:
    """Arrange anew how the family's stable bundle is served.

    Args:
        change: in words, for the ledger and for people.
        arranged: the new arrangement, from the present one.
        uses: a bundle that users will hear because of it; it must be fit for that.

    Raises Refused for a family without a stable bundle and for a bundle that may not be heard, Corrupt for a broken
    one, DependencyFailed where a gateway does not follow.
    """
    started = time.monotonic()
    signer = keys.load(context, key_name)
    keys.require_role(context, signer, "operator")
    table = _served(context, family)
    if arranged(_beside(table)) == _beside(table):
        _settle(context, family, step, table)
        pointer.wait_for_gateways(context, table)
        return Steered(family, step, change, table.version, time.monotonic() - started, repeated=True)
    if uses is not None:
        _prove_fit(context, family, uses)
    facts: dict[str, JsonValue] = {"change": change, "actor": signer.name, "reason": reason}
    signature = context.store.put_blob(_signed(context, signer, family, step, facts))
    outputs = {"signature": signature} | ({"bundle": uses} if uses else {})
    intent = context.ledger(family).append(step, "start", at=context.timestamp(), outputs=outputs, data=facts)
    table = _move(context, family, arranged, actor=signer.name, reason=f"{change}: {reason}")
    pointer.wait_for_gateways(context, table)
    _complete(context, intent, table)
    return Steered(family, step, change, table.version, time.monotonic() - started)


def _served(context: Context, family: str) -> RouteTable:
    table = pointer.current(context, family).table
    if table is None or table.stable is None:
        raise Refused(
            "there is no stable bundle yet",
            where=family,
            expected="a family with a promoted release",
            next_step=f"soundcheck release {family} --candidate NAME",
        )
    return table


def _beside(table: RouteTable) -> pointer.Beside:
    return pointer.Beside(table.cascade, table.degradation)


def _signed(context: Context, signer: KeySigner, family: str, step: str, facts: Mapping[str, JsonValue]) -> bytes:
    predicate = {"family": family, "step": step, **facts, "at": context.timestamp()}
    stable = _served(context, family).stable
    assert stable is not None
    return sign(predicate, {family: stable}, STEERING_TYPE, signer)


def _move(
    context: Context, family: str, arranged: Callable[[pointer.Beside], pointer.Beside], *, actor: str, reason: str
) -> RouteTable:
    def moved(seen: pointer.Current) -> RouteTable:
        table = seen.table
        assert table is not None
        return pointer.move(
            context, family, seen, stable=table.stable, canary=table.canary, slice_rules=table.slice_rules,
            warm=table.warm, beside=arranged(_beside(table)), actor=actor, reason=reason,
        )  # fmt: skip

    return pointer.insist(context, family, moved)


def _complete(context: Context, intent: LedgerEvent, table: RouteTable) -> None:
    outputs = {**intent.outputs, "route_table": table.digest()}
    context.ledger(intent.family).append(
        intent.step, "complete", at=context.timestamp(), outputs=outputs, data=pointer.settled(intent, table)
    )


def _settle(context: Context, family: str, step: str, table: RouteTable) -> None:
    """Write the outcome of a change that was killed after its move (fault 3): the table says that it happened."""
    events = [event for event in context.ledger(family).events() if event.step == step]
    if events and events[-1].outcome == "start" and table.ledger_sequence >= events[-1].sequence:
        _complete(context, events[-1], table)


# ---- the bundle that users will hear --------------------------------------------------------------------------------
def once_stable(context: Context, family: str, name: str) -> Digest:
    """The bundle that a name means, which was approved for users once and is forbidden to nobody (B1); Refused else."""
    bundle = named_bundle(context, family, name)
    state = context.ledger(family).state()
    bars = {
        "it was never promoted: nobody has approved it for users": state.promoted_at(bundle) is None,
        "it is condemned": bundle in state.condemned,
        "it was withdrawn by a rollback": bundle in state.withdrawn,
        "files that it runs from were erased": bundle in state.erased,
        "it is the stable one": bundle == state.current,
    }
    reasons = [reason for reason, holds in bars.items() if holds]
    if reasons:
        raise Refused(
            "this bundle may not answer beside the stable one",
            where=f"{family}, bundle {short(bundle)}",
            got="; ".join(reasons),
            expected="a bundle that was stable before, is whole and was not withdrawn",
            next_step=f"soundcheck status {family} shows the history",
        )
    return bundle


def _prove_fit(context: Context, family: str, bundle: Digest) -> None:
    refuse_broken(context, family, bundle, else_="name another bundle")
    if why := incompatible(context, pointer.current(context, family).stable, bundle):
        raise Refused(
            "the bundle is not compatible with what clients send now",
            where=f"{family}, bundle {short(bundle)}",
            got=why,
            expected="a bundle that accepts what the stable one does",
            next_step=f"soundcheck status {family}; name another bundle",
        )
    if warm_proof(context, family, bundle) is None:
        prove(context, bundle)
