"""The route table of a family: which bundle answers which request. It is the content of the family's pointer.

Boundary: no I/O. Source: release-algorithm R7, R9, B5, B6.
Invariants: the first matching rule wins; a session is sticky for the life of one table version; the table carries the
ledger sequence and head it was moved at; equal (table, labels, session) always route alike, on every gateway.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import ClassVar, Literal, NamedTuple

from pydantic import Field, NonNegativeInt

from contracts.digest import Digest
from contracts.document import Document, Part

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


class RouteTable(Document):
    """Who serves what. `warm` bundles keep a running worker though nothing is routed to them."""

    KIND: ClassVar[str] = "route_table"

    family: str
    version: NonNegativeInt
    stable: Digest | None
    canary: CanaryRoute | None = None
    slice_rules: tuple[SliceRule, ...] = ()
    warm: tuple[Digest, ...] = ()
    ledger_sequence: NonNegativeInt
    ledger_head: Digest
    moved_at: str
    actor: str
    reason: str

    def bundles(self) -> tuple[Digest, ...]:
        """Every bundle that needs a running worker, stable first, without repetition."""
        named = [self.stable, self.canary.bundle if self.canary else None]
        named += [rule.bundle for rule in self.slice_rules]
        named += list(self.warm)
        return tuple(dict.fromkeys(bundle for bundle in named if bundle))


def pointer_name(family: str, prefix: str = POINTERS) -> str:
    """The pointer that holds a family's route table."""
    return f"{prefix}/{family}"


class Route(NamedTuple):
    """Where one request goes; `shadow` also gets a copy."""

    bundle: Digest | None
    arm: Arm
    shadow: Digest | None


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
        return Route(table.stable, "stable", None)
    chosen = bucket(session_id, canary.bundle) < canary.weight
    if canary.stage == "shadow":
        return Route(table.stable, "stable", canary.bundle if chosen else None)
    if canary.stage == "probe":
        chosen = chosen and labels.get("probe") == "yes"
    elif canary.stage == "cohort":
        chosen = chosen and all(labels.get(label) in values for label, values in canary.cohort.items())
    return Route(canary.bundle, "canary", None) if chosen else Route(table.stable, "stable", None)
