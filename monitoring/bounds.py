"""What the judge knows of one (metric, slice), for people: rates, difference, interval, e-values, a sentence.

Boundary: pure. The interval is for eyes; the e-values decide.
Method: one-sided asymptotic confidence sequences (Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas 2024) on the ratio of
sums, linearised over sessions: each bound holds at all times together; the lower at the alpha of a stop of one pair,
the upper at the alpha of a promotion. Of sessions that both arms heard they are wider than they need be.
"""

from __future__ import annotations

import math
from typing import Literal

from contracts.policy import CanaryMetric, CanaryPlan
from contracts.reports import SliceEvidence
from monitoring.evidence import MAX_E, Comparison

State = Literal["waiting", "fine", "worse", "undecided"]
BEST_AT_SESSIONS = 200
"""Sessions of an arm at which the interval is narrowest, compared with one that is looked at once."""


def reach(sessions: int, alpha: float) -> float:
    """How many standard errors a one-sided confidence sequence reaches after so many sessions.

    >>> round(reach(200, 0.05), 2), round(reach(20_000, 0.05), 2)
    (2.84, 3.3)
    """
    wanted = -2 * math.log(alpha)
    spread = (wanted + math.log(wanted + 1)) / BEST_AT_SESSIONS
    seen = sessions * spread
    return math.sqrt(2 * (seen + 1) / seen * math.log1p(math.sqrt(seen + 1) / (2 * alpha)))


def describe(
    slice_name: str,
    name: str,
    metric: CanaryMetric,
    compared: Comparison,
    *,
    state: State,
    worse_at: float,
    fine_at: float,
) -> SliceEvidence:
    """The evidence as it is told and kept."""
    rule, totals = compared.rule, compared.totals
    canary, stable = totals["canary"], totals["stable"]
    stable_rate = (
        stable.rate if rule.against_stable else (1 - metric.quantile if metric.kind == "quantile" else metric.budget)
    )
    margin = metric.margin * (abs(stable_rate or 0.0) if metric.relative else 1.0)
    estimate = lower = upper = None
    if canary.rate is not None and stable_rate is not None:
        estimate = (canary.rate - stable_rate) * (-1 if rule.higher else 1)
        error = math.sqrt(canary.variance + (stable.variance if rule.against_stable else 0.0))
        fewest = min(canary.sessions, stable.sessions) if rule.against_stable else canary.sessions
        lower = estimate - reach(fewest, 1 / worse_at) * error
        upper = estimate + reach(fewest, 1 / fine_at) * error
    return SliceEvidence(
        slice=slice_name,
        metric=name,
        # A budget stands for the other arm, session by session.
        stable_sessions=stable.sessions if rule.against_stable else canary.sessions,
        canary_sessions=canary.sessions,
        stable_rate=stable_rate,
        canary_rate=canary.rate,
        estimate=estimate,
        lower=lower,
        upper=upper,
        margin=margin,
        state=state,
        e_worse=_told(compared.worse),
        e_fine=_told(compared.fine),
        worse_at=worse_at,
    )


def _told(log_e: float) -> float:
    return min(math.exp(min(log_e, 50.0)), MAX_E)


def sentence(row: SliceEvidence, metric: CanaryMetric) -> str:
    """The evidence in words and numbers."""
    if row.estimate is None or row.lower is None or row.upper is None:
        return f"{row.slice} {row.metric}: no estimate"
    about = f"{row.slice} {row.metric}: {_figure(row.stable_rate)} -> {_figure(row.canary_rate)}"
    if metric.kind == "quantile":
        about += f" of requests over {metric.budget:g}, {1 - metric.quantile:g} allowed"
    return (
        f"{about}, difference {row.estimate:+.3g} [{row.lower:+.3g}, {row.upper:+.3g}], "
        f"margin {_figure(row.margin)}: {row.state}"
    )


def waiting(row: SliceEvidence, plan: CanaryPlan) -> str:
    """Why a pair has no e-values yet."""
    if min(row.canary_sessions, row.stable_sessions) >= plan.min_sessions:
        return f"{row.slice} {row.metric}: nothing to compare with (a first release is held to the metric's budget)"
    return (
        f"{row.slice} {row.metric}: {row.canary_sessions} canary and {row.stable_sessions} stable sessions "
        f"of {plan.min_sessions} needed"
    )


def _figure(rate: float | None) -> str:
    if rate is None:
        return "none"
    return f"{rate:.3f}" if rate == 0 or abs(rate) >= 0.0095 else f"{rate:.2e}"
