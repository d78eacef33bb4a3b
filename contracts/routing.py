"""The route table of a family: which bundle answers which request. It is the content of the family's pointer.

Boundary: no I/O. Source: release-algorithm R7, R9, B5, B6; coverage rows 23 and 29.
Invariants: the first matching rule wins; a session is sticky for the life of one table version; the table carries the
ledger sequence and head it was moved at; equal (table, labels, session) always route alike, on every gateway.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import ClassVar, Literal, NamedTuple

from pydantic import Field, NonNegativeInt

from contracts.digest import Digest, short
from contracts.document import Document, Part, later

POINTERS = "families"
"""Prefix of production's pointers in the store; a staged replay has pointers of its own."""

Arm = Literal["stable", "canary"]
Stage = Literal["probe", "shadow", "cohort", "wide"]


class SliceRule(Part):
    """Requests whose `label` has `value` go to `bundle`."""

    label: str
    value: str
    bundle: Digest


class CanaryRoute(Part):
    """The canary's share of traffic.

    `probe`: only requests labelled as probes reach it; `shadow`: it gets copies, its answers reach nobody; `cohort`:
    requests whose labels match every entry of `cohort` (values by label), at `weight`; `wide`: all, at `weight`.
    """

    bundle: Digest
    stage: Stage
    weight: float = Field(ge=0, le=1)
    cohort: dict[str, tuple[str, ...]] = {}
    release: str = ""


class Cascade(Part):
    """Small before large: what stable would answer over HTTP is heard by `small` first (coverage row 23).

    An answer whose confidence is under `below` is heard again by stable, which then answers. A share `audit` of the
    answers that `small` was sure of is heard again by stable in the background, so that its mistakes can be counted.
    """

    small: Digest
    below: float = Field(ge=0, le=1)
    audit: float = Field(default=0.02, ge=0, le=1)

    def in_words(self) -> str:
        """Who answers what, for people."""
        return f"cascade: {short(self.small)} answers from a confidence of {self.below:g} on"


class Degradation(Part):
    """Less instead of nothing (coverage row 29): `no_partials` streams finals alone; `smaller` lets `bundle` answer.

    It touches what stable would have answered; a canary and slice rules stay as they are.
    """

    mode: Literal["no_partials", "smaller"]
    bundle: Digest | None = None

    def in_words(self) -> str:
        """What users get less of, for people."""
        if self.bundle is None:
            return "degraded: streams send finals alone"
        return f"degraded: the smaller bundle {short(self.bundle)} answers"


class RouteTable(Document):
    """Who serves what.

    `warm` bundles keep a running worker though nothing is routed to them; open streams on `closed` bundles are ended at
    once instead of being drained (R7.6, a privacy error).
    """

    KIND: ClassVar[str] = "route_table"

    family: str
    version: NonNegativeInt
    stable: Digest | None
    canary: CanaryRoute | None = None
    slice_rules: tuple[SliceRule, ...] = ()
    warm: tuple[Digest, ...] = ()
    cascade: Cascade | None = later(None)
    degradation: Degradation | None = later(None)
    closed: tuple[Digest, ...] = later(())
    ledger_sequence: NonNegativeInt
    ledger_head: Digest
    moved_at: str
    actor: str
    reason: str

    def bundles(self) -> tuple[Digest, ...]:
        """Every bundle that needs a running worker, stable first, without repetition."""
        named = [self.stable, self.canary.bundle if self.canary else None]
        named += [rule.bundle for rule in self.slice_rules]
        named += [self.cascade.small if self.cascade else None]
        named += [self.degradation.bundle if self.degradation else None]
        named += list(self.warm)
        return tuple(dict.fromkeys(bundle for bundle in named if bundle))


def pointer_name(family: str, prefix: str = POINTERS) -> str:
    """The pointer that holds a family's route table."""
    return f"{prefix}/{family}"


class Route(NamedTuple):
    """Where one request goes; `shadow` also gets a copy; `cascade` and `degraded` say how stable answers."""

    bundle: Digest | None
    arm: Arm
    shadow: Digest | None
    cascade: Cascade | None = None
    degraded: Literal["no", "no_partials", "smaller"] = "no"


def bucket(session_id: str, salt: str) -> float:
    """A number in [0, 1) that depends on session and salt alone."""
    return int.from_bytes(hashlib.sha256(f"{salt}/{session_id}".encode()).digest()[:8], "big") / 2**64


def route(table: RouteTable, labels: Mapping[str, str], session_id: str) -> Route:
    """Choose the bundle for a request: slice rules first, then the canary's stage, then stable."""
    for rule in table.slice_rules:
        if labels.get(rule.label) == rule.value:
            return Route(rule.bundle, "stable", None)
    canary = table.canary
    if canary is None:
        return _stable(table)
    chosen = bucket(session_id, canary.bundle) < canary.weight
    if canary.stage == "shadow":
        return _stable(table, canary.bundle if chosen else None)
    if canary.stage == "probe":
        chosen = chosen and labels.get("probe") == "yes"
    elif canary.stage == "cohort":
        chosen = chosen and all(labels.get(label) in values for label, values in canary.cohort.items())
    return Route(canary.bundle, "canary", None) if chosen else _stable(table)


def _stable(table: RouteTable, shadow: Digest | None = None) -> Route:
    """What stable answers, as the table degrades it or puts a smaller model before it."""
    degradation = table.degradation
    if degradation is None:
        return Route(table.stable, "stable", shadow, table.cascade)
    if degradation.mode == "smaller" and degradation.bundle is not None:
        return Route(degradation.bundle, "stable", shadow, degraded="smaller")
    return Route(table.stable, "stable", shadow, table.cascade, "no_partials")
