"""Whether a family's canary can be judged and routed by what telemetry has, asked when its policy is read.

Boundary: names only, no I/O. Source: release-algorithm R7.3, R7.4; contracts/telemetry.py has the columns.
Invariants: a plan that waits for a column that never comes, until its deadline, is refused before anything is released
by it; so is one that would route by what is not known when a request comes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from contracts.errors import WrongCall
from contracts.policy import CanaryPlan
from contracts.telemetry import PROBE_LABELS, REQUEST_LABELS
from serving.telemetry import COLUMNS

SLICE_COLUMNS = (*REQUEST_LABELS, *PROBE_LABELS, "mode", "priority")
"""Columns of telemetry whose values are slices."""


def check_columns(plan: CanaryPlan, where: str) -> None:
    """Raises WrongCall for the first key of a plan that names what telemetry does not have; `where` is its place."""
    slices = "a canary cannot be judged by a slice that is no column of telemetry"
    offline = "name one of them; what only a pack knows is judged offline, by a gate of `quality`"
    routed = "a canary cannot be routed by a label that requests do not have"
    label = "name one of them, or take it out"
    _known(slices, f"{where}.slices", plan.slices, SLICE_COLUMNS, offline)
    for name, metric in plan.metrics.items():
        place = f"{where}.metrics.{name}"
        _known(slices, f"{place}.slices", metric.slices or (), SLICE_COLUMNS, offline)
        read = "a metric of a canary is read from what is no column of telemetry"
        _known(read, place, filter(None, metric.columns(name)), COLUMNS, "name one of them")
    _known(routed, f"{where}.routable", plan.routable, REQUEST_LABELS, label)
    _known(routed, f"{where}.cohort", plan.cohort, REQUEST_LABELS, label)


def _known(what: str, where: str, named: Iterable[str], known: Collection[str], next_step: str) -> None:
    if unknown := [name for name in named if name not in known]:
        raise WrongCall(what, where=where, got=", ".join(unknown), expected=", ".join(known), next_step=next_step)
