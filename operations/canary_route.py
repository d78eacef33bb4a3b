"""Where a canary's traffic goes: onto a stage, away from failing slices, off again.

Boundary: the family's pointer and the ledger.
Invariants: a stage is one move of the pointer, with its intent in the ledger before it (R9.1), so that a controller
that was restarted goes on with the stage it finds (fault 45); what is warm stays warm (R7.5), and so do the slice rules
of people (B6); whoever took the canary off meanwhile wins (B7).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import JsonValue

from contracts.digest import Digest, short
from contracts.errors import SoundcheckError
from contracts.ledger_event import LedgerEvent
from contracts.policy import FamilyPolicy
from contracts.routing import CanaryRoute, RouteTable, SliceRule, Stage
from operations import pointer
from operations.context import Context, log
from operations.mirror import follow
from operations.restore import healthy
from registry.resolver import candidates

STAGE = "canary_stage"
"""The ledger's step of one stage: a start before its move, a complete with the report so far once it is decided."""
SLICES = "canary_slices"
"""The ledger's step that routes failing slices back to stable, before the move."""


@dataclass(frozen=True, kw_only=True)
class Canary:
    """One canary: which bundle meets whose traffic, by which policy; `inputs` are those of its ledger events."""

    family: str
    release: str
    version: str
    bundle: Digest
    stable: Digest | None
    policy: FamilyPolicy
    inputs: dict[str, Digest]

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The plan's stages; a first release has no stable to share traffic with, and is probed."""
        return self.policy.canary.stages if self.stable else ("probe",)

    def route(self, stage: Stage) -> CanaryRoute:
        """The canary's part of the route table in a stage."""
        plan = self.policy.canary
        weight = plan.weights.get(stage, 1.0)
        return CanaryRoute(bundle=self.bundle, stage=stage, weight=weight, cohort=plan.cohort, release=self.release)

    def events(self, context: Context, step: str) -> list[LedgerEvent]:
        """What the ledger has of this canary (same release, same inputs), oldest first."""
        found = context.ledger(self.family).events()
        return [
            event
            for event in found
            if event.step == step and event.release == self.release and event.inputs == self.inputs
        ]

    def append(self, context: Context, step: str, outcome: Literal["start", "complete"], outputs: dict[str, Digest],
               data: dict[str, JsonValue]) -> LedgerEvent:  # fmt: skip
        """Write one of those events."""
        return context.ledger(self.family).append(
            step, outcome, at=context.timestamp(), release=self.release, inputs=self.inputs, outputs=outputs, data=data
        )


@dataclass(frozen=True)
class Began:
    """When a stage began (UTC), and the first version of the route table that is its."""

    at: str
    version: int


def enter(context: Context, canary: Canary, stage: Stage) -> Began:
    """Route the stage, or find that it is routed already."""
    seen = pointer.current(context, canary.family)
    if seen.table is None or seen.table.canary != canary.route(stage):
        if seen.table is None or seen.table.canary is None:
            _page_for_broken_target(context, canary)
        version = seen.table.version + 1 if seen.table else 1
        canary.append(context, STAGE, "start", {}, {"stage": stage, "route_version": version})
        move(context, canary.family, seen, reason=f"canary: {stage}", stable=canary.stable, canary=canary.route(stage))
        follow(context, canary.family)
    return began(context, canary)


def began(context: Context, canary: Canary) -> Began:
    """When the newest stage of this canary began."""
    start = [event for event in canary.events(context, STAGE) if event.outcome == "start"][-1]
    return Began(start.at, int(str(start.data["route_version"])))


def route_back(context: Context, canary: Canary, stage: Stage, slices: tuple[str, ...], report: Digest) -> None:
    """R7.4: these slices go to stable, the canary goes on elsewhere; the report says why."""
    canary.append(context, SLICES, "complete", {"canary_report": report}, {"stage": stage, "slices": list(slices)})
    settle_slices(context, canary, stage)


def routed_back(context: Context, canary: Canary) -> tuple[str, ...]:
    """The slices that were routed back to stable so far, over all stages."""
    events = canary.events(context, SLICES)
    return tuple(name for event in events for name in event.data["slices"])  # type: ignore[union-attr,misc]


def settle_slices(context: Context, canary: Canary, stage: Stage) -> None:
    """Move the slices that the ledger says are routed back, where the table does not say so yet."""
    stable, seen = canary.stable, pointer.current(context, canary.family)
    if stable is None or seen.table is None or seen.table.canary != canary.route(stage):
        return
    parts = [name.split("=", 1) for name in routed_back(context, canary)]
    rules = tuple(SliceRule(label=label, value=value, bundle=stable) for label, value in parts)
    missing = tuple(rule for rule in rules if rule not in seen.table.slice_rules)
    if missing:
        names = ", ".join(f"{rule.label}={rule.value}" for rule in missing)
        move(
            context, canary.family, seen, reason=f"canary: {names} back to stable", stable=stable,
            canary=seen.table.canary, slice_rules=(*missing, *seen.table.slice_rules),
        )  # fmt: skip


def withdraw(context: Context, family: str, reason: str, *, release: str = "", close: bool = False,
             actor: str = "release") -> bool:  # fmt: skip
    """Take the canary (of this release) off: stable serves all traffic; whether there was one.

    `close`: its open streams are ended at once instead of being drained (R7.6).
    """

    def moved(seen: pointer.Current) -> bool:
        if seen.table is None or seen.table.canary is None or release not in ("", seen.table.canary.release):
            return False
        closed = (seen.table.canary.bundle,) if close else ()
        kept = tuple(rule for rule in seen.table.slice_rules if rule.bundle != seen.table.stable)
        move(
            context, family, seen, reason=reason, stable=seen.table.stable, slice_rules=kept, closed=closed, actor=actor
        )
        return True

    taken_off = pointer.insist(context, family, moved)
    if taken_off:
        follow(context, family)
    return taken_off


def move(context: Context, family: str, seen: pointer.Current, *, reason: str, stable: Digest | None,
         canary: CanaryRoute | None = None, slice_rules: tuple[SliceRule, ...] | None = None,
         closed: tuple[Digest, ...] = (), actor: str = "release") -> RouteTable:  # fmt: skip
    """Move the pointer; what is warm stays warm, slice rules stay unless others are given."""
    table = seen.table
    rules = slice_rules if slice_rules is not None else table.slice_rules if table else ()
    return pointer.move(
        context, family, seen, stable=stable, canary=canary, slice_rules=rules, warm=table.warm if table else (),
        closed=closed, actor=actor, reason=reason,
    )  # fmt: skip


def _page_for_broken_target(context: Context, canary: Canary) -> None:
    """Fault 44: what a canary goes back to must be whole; where it is not, a person is paged and told the next one."""
    if canary.stable is None:
        return
    try:
        faults = healthy(context, canary.family, canary.stable)
    except SoundcheckError as error:
        faults = [error.what]
    if faults:
        state = context.ledger(canary.family).state()
        older = next((one for one in candidates(state) if not healthy(context, canary.family, one)), None)
        after = f"the next one is {state.packaged.get(older, '')} {short(older)}" if older else "there is no other one"
        log.error(
            "PAGE: %s: stable %s, the canary's rollback target, is broken in the store (%s); its workers serve on, %s",
            canary.family, short(canary.stable), "; ".join(faults[:3]), after,
        )  # fmt: skip
        context.announce(
            f"{canary.family}: stable {short(canary.stable)} is broken in the store; {after}: "
            f"soundcheck rollback {canary.family} --key KEY --reason TEXT takes it"
        )
