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
from typing import Literal, NamedTuple

from contracts.digest import Digest
from contracts.incident import Regression, Side
from monitoring.incident.tallies import Tally


class Budget(NamedTuple):
    """How much worse a metric may be: `allowed` in its own unit, or with `relative` a share of the baseline's value."""

    better: Literal["lower", "higher"]
    allowed: float
    relative: bool = False


BUDGETS: Mapping[str, Budget] = {
    "failure_rate": Budget("lower", 0.01),
    "slow_rate": Budget("lower", 0.05),
    "tail_rate": Budget("lower", 0.05),
    "late_partial_rate": Budget("lower", 0.05),
    "churn": Budget("lower", 0.03),
    "wer": Budget("lower", 0.03),
    "confidence": Budget("higher", 0.05),
    "success_rate": Budget("higher", 0.03),
    "retry_rate": Budget("lower", 0.05),
    "correction_rate": Budget("lower", 0.03),
    "interruption_rate": Budget("lower", 0.03),
    "abandonment_rate": Budget("lower", 0.02),
    "underrun_rate": Budget("lower", 0.02),
    "cancellation_rate": Budget("lower", 0.03),
    "support_ticket_rate": Budget("lower", 0.005),
    "usd_per_success": Budget("lower", 0.30, relative=True),
}
"""Rates a request, a word, a partial word, or an answer. `slow_rate`: over the family's latency budget; `tail_rate` and
`late_partial_rate`: over what 95% of the baseline stayed under, so that the tail must double to be over budget."""
ALPHA = 0.05
EXACT = 1e-12
"""What rounding may make of a difference that is exactly on budget."""
FEWEST_SESSIONS = 10
"""Sessions a side below which nothing is confirmed."""


def rank(
    baseline: Mapping[str, Mapping[str, Tally]],
    candidate: Mapping[str, Mapping[str, Tally]],
    budgets: Mapping[str, Budget],
    *,
    bundle: Digest | None = None,
    against: Side = "before",
    alpha: float = ALPHA,
) -> list[Regression]:
    """What is over its budget, by severity; slices without a baseline and metrics without a value first.

    Bounds are simultaneous over all (slice, metric) pairs that can be compared, at `alpha`, two-sided.
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
            found.append(regression)
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
    slice_name: str, metric: str, before: Tally, after: Tally, budget: Budget, reach: float, bundle: Digest | None,
    against: Side,
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
    enough = min(before.sessions, after.sessions) >= FEWEST_SESSIONS
    return Regression(
        bundle=bundle, against=against, slice=slice_name, metric=metric, problem="over_budget",
        baseline=was, value=now, allowed=allowed, delta=delta, lower=lower, upper=delta + reach * error,
        severity=(delta - allowed) / allowed if allowed > 0 else delta,
        sessions=after.sessions, confirmed=enough and lower > 0,
    )  # fmt: skip


def _floor(tally: Tally, rate: float) -> float:
    """Sessions that all say the same do not prove that the next one will: half a session that says otherwise."""
    return (0.5 * max(abs(rate), 1e-9) / tally.sessions) ** 2 if tally.sessions else 0.0
