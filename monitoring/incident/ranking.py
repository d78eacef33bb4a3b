"""Slice regressions, ranked: each slice against its own baseline, metrics of which less or more is better.

Boundary: pure. Source: coverage 41 (lab 1 of the incident drills); statistics U1, U2, U5.
Invariants: exactly on budget is no regression; a slice without a baseline and a metric without a value rank first and
say so: they are never fine; `confirmed` needs the estimate over the budget and the simultaneous lower bound of the harm
over 0, anything less is a suspicion; a gain is never harm.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import NormalDist
from typing import Literal

from contracts.digest import Digest
from contracts.incident import Regression, Side
from contracts.incident_settings import MetricBudget
from monitoring.incident.tallies import Tally

EXACT = 1e-12
"""What rounding may make of a difference that is exactly on budget."""


def rank(
    baseline: Mapping[str, Mapping[str, Tally]],
    candidate: Mapping[str, Mapping[str, Tally]],
    budgets: Mapping[str, MetricBudget],
    *,
    alpha: float,
    fewest_sessions: int,
    bundle: Digest | None = None,
    against: Side = "before",
) -> list[Regression]:
    """What is over its budget, by severity; slices without a baseline and metrics without a value first.

    Bounds are simultaneous over all (slice, metric) pairs that can be compared, at `alpha`, two-sided. With fewer
    sessions a side than `fewest_sessions` nothing is confirmed.
    """
    pairs = [(slice_name, metric) for slice_name in candidate if slice_name in baseline for metric in budgets]
    compared = [
        (slice_name, metric, baseline[slice_name][metric], candidate[slice_name][metric])
        for slice_name, metric in pairs
        if _rated(baseline[slice_name].get(metric)) and _rated(candidate[slice_name].get(metric))
    ]
    reach = NormalDist().inv_cdf(1 - alpha / (2 * max(len(compared), 1)))
    found = [
        _missing(slice_name, "", "missing_baseline", candidate[slice_name], bundle, against)
        for slice_name in candidate
        if slice_name not in baseline
    ]
    for slice_name, metric in pairs:
        was, now = _rated(baseline[slice_name].get(metric)), _rated(candidate[slice_name].get(metric))
        if was != now:
            found.append(_missing(slice_name, metric, "missing_metric", candidate[slice_name], bundle, against))
    for slice_name, metric, before, after in compared:
        regression = _compare(slice_name, metric, before, after, budgets[metric], reach, bundle, against)
        if regression is not None:
            enough = min(before.sessions, after.sessions) >= fewest_sessions
            found.append(regression.model_copy(update={"confirmed": regression.confirmed and enough}))
    return sorted(found, key=_order)


def _rated(tally: Tally | None) -> bool:
    return tally is not None and tally.rate is not None and math.isfinite(tally.rate)


def _order(one: Regression) -> tuple[bool, bool, float, str, str]:
    return (one.severity is not None, not one.confirmed, -(one.severity or 0.0), one.slice, one.metric)


def _missing(
    slice_name: str,
    metric: str,
    problem: Literal["missing_baseline", "missing_metric"],
    tallies: Mapping[str, Tally],
    bundle: Digest | None,
    against: Side,
) -> Regression:
    sessions = max((one.sessions for one in tallies.values()), default=0)
    return Regression(
        bundle=bundle, against=against, slice=slice_name, metric=metric, problem=problem, sessions=sessions
    )


def _compare(
    slice_name: str, metric: str, before: Tally, after: Tally, budget: MetricBudget, reach: float,
    bundle: Digest | None, against: Side,
) -> Regression | None:  # fmt: skip
    was, now = before.rate, after.rate
    assert was is not None
    assert now is not None
    sign = 1.0 if budget.better == "lower" else -1.0
    delta = sign * (now - was)
    allowed = budget.allowed * abs(was) if budget.relative else budget.allowed
    if delta <= allowed + EXACT:
        return None
    error = math.sqrt(before.variance + after.variance + _floor(before, was) + _floor(after, now))
    if delta - 1.645 * error <= 0:
        return None
    lower = delta - reach * error
    return Regression(
        bundle=bundle, against=against, slice=slice_name, metric=metric, problem="over_budget",
        baseline=was, value=now, allowed=allowed, delta=delta, lower=lower, upper=delta + reach * error,
        severity=(delta - allowed) / allowed if allowed > 0 else delta,
        sessions=after.sessions, confirmed=lower > 0,
    )  # fmt: skip


def _floor(tally: Tally, rate: float) -> float:
    """Sessions that all say the same do not prove that the next one will: half a session that says otherwise."""
    return (0.5 * max(abs(rate), 1e-9) / tally.sessions) ** 2 if tally.sessions else 0.0
