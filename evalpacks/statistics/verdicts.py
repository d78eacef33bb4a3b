"""Three-way verdicts on a difference, in sentences with numbers (U5), and on an absolute limit (R4.3).

Boundary: pure.
Invariants: Fail needs a simultaneous bound that excludes no harm and an estimate over the margin; Pass needs the pair's
own one-sided bound within the margin; everything else, and every lack of evidence, is Inconclusive (R4.2) and says what
would settle it. A relative margin is a share of the stable rate, and its bound is that of the harm beyond the share, so
that the stable rate's own uncertainty counts; where the stable rate is 0 the margin is 0. An absolute limit is held
against the rate itself. Exactly on the margin, and exactly on the limit, passes (R4.4).
"""

from __future__ import annotations

import math
from typing import NamedTuple

from contracts.reports import Count
from contracts.verdict import Value, Verdict, worst
from evalpacks.metrics import Metric
from evalpacks.statistics.bootstrap import Interval

_EDGE = 1e-9
"""Rounding that does not turn a value exactly on budget into one over it."""


class Support(NamedTuple):
    """What a verdict needs at least: speakers, and units of the denominator (reference words)."""

    speakers: int
    denominator: float


class _Judged(NamedTuple):
    """An interval in the orientation of harm: all in the metric's unit, None where there is no bound.

    `margin` is absolute, and `bound` the upper bound that Pass compares with it.
    """

    harm: float
    proven: float | None
    bound: float | None
    margin: float


def regression_verdict(
    subject: str,
    metric: Metric,
    candidate: Count,
    stable: Count,
    interval: Interval | None,
    *,
    speakers: int,
    margin: float,
    relative: bool = False,
    limit: float | None = None,
    support: Support,
) -> Verdict:
    """The verdict of U5 on `subject` (a slice), with one reason; `interval` may be None where support is lacking.

    With `relative` the margin is a share of the stable rate, and the interval is of a pair with that
    `relative_margin`. A candidate beyond `limit` fails for that, too, with a second reason.
    """
    lack = _lack(subject, metric, candidate, speakers, support)
    if lack is not None or interval is None or stable.rate is None:
        return lack or _no_rate(subject, metric)
    judged = _judged(metric, interval, margin=margin, stable_rate=stable.rate if relative else None)
    numbers = f"{subject}: {_numbers(metric, candidate, stable, interval, margin, relative=relative)}"
    if judged.proven is not None and judged.proven > 0 and judged.harm > judged.margin + _EDGE:
        verdict = Verdict(value=Value.FAIL, reasons=(f"{numbers}: worse",))
    elif judged.bound is not None and judged.bound <= judged.margin + _EDGE:
        verdict = Verdict(value=Value.PASS, reasons=(f"{numbers}: not worse",))
    else:
        reason = f"{numbers}: undecided; {_remedy(interval, judged)}"
        verdict = Verdict(value=Value.INCONCLUSIVE, reasons=(reason,))
    if limit is None:
        return verdict
    absolute = limit_verdict(subject, metric, candidate, limit=limit)
    return verdict if absolute.value == Value.PASS else worst([verdict, absolute])


def limit_verdict(subject: str, metric: Metric, candidate: Count, *, limit: float) -> Verdict:
    """The candidate's rate against an absolute limit, a ceiling where lower is better and a floor where higher is."""
    return _against_limit(subject, metric, candidate, limit, "")


def first_release_verdict(
    subject: str, metric: Metric, candidate: Count, *, speakers: int, limit: float, support: Support
) -> Verdict:
    """Without a stable the candidate is held to the absolute limit alone (R4.3)."""
    lack = _lack(subject, metric, candidate, speakers, support)
    return lack or _against_limit(subject, metric, candidate, limit, ", first release")


def more_units(units: int, *, harm: float, proven: float | None, bound: float | None, margin: float) -> int | None:
    """How many more than `units` would settle an undecided pair if its estimate stayed as it is; None: no number would.

    `harm` is the estimate, `proven` its simultaneous lower bound, `bound` the upper bound that Pass compares with
    `margin`; all in the metric's unit. Half the width of an interval shrinks with the square root of the units.
    """
    if harm > margin and proven is not None and harm > 0:
        growth = ((harm - proven) / harm) ** 2
    elif harm < margin and bound is not None:
        growth = ((bound - harm) / (margin - harm)) ** 2
    else:
        return None
    return max(1, math.ceil(units * (growth - 1) - _EDGE * units))


def shown(metric: Metric, value: float) -> str:
    """A value of the metric as people read it: `12.1%`."""
    return f"{value * metric.scale:.1f}{metric.value_unit}"


def _judged(metric: Metric, interval: Interval, *, margin: float, stable_rate: float | None) -> _Judged:
    """The interval as a verdict needs it; `stable_rate` where the margin is a share of it."""
    harm, proven = interval.estimate or 0.0, interval.lower
    if metric.better == "higher":
        harm, proven = -harm, None if interval.upper is None else -interval.upper
    if stable_rate is None or margin == 0:
        return _Judged(harm, proven, interval.upper_one_sided, margin)
    budget = margin * stable_rate
    bound = None if interval.excess_one_sided is None else interval.excess_one_sided + budget
    return _Judged(harm, proven, bound, budget)


def _against_limit(subject: str, metric: Metric, candidate: Count, limit: float, remark: str) -> Verdict:
    rate = candidate.rate
    if rate is None:
        return _no_rate(subject, metric)
    lower = metric.better == "lower"
    kind = "ceiling" if lower else "floor"
    broken = rate > limit + _EDGE if lower else rate < limit - _EDGE
    side = ("over" if lower else "under") if broken else "within"
    reason = f"{subject}: {metric.label} {shown(metric, rate)}, {kind} {shown(metric, limit)}{remark}"
    return Verdict(value=Value.FAIL if broken else Value.PASS, reasons=(f"{reason}: {side} the {kind}",))


def _lack(subject: str, metric: Metric, candidate: Count, speakers: int, support: Support) -> Verdict | None:
    if candidate.rate is None:
        return _no_rate(subject, metric)
    missing = []
    if speakers < support.speakers:
        missing.append(f"{speakers} of {support.speakers} speakers")
    if candidate.denominator < support.denominator:
        missing.append(f"{candidate.denominator:g} of {support.denominator:g} {metric.support}")
    if not missing:
        return None
    reason = f"{subject}: {metric.label} {shown(metric, candidate.rate)} has too little support: {', '.join(missing)}"
    return Verdict(value=Value.INCONCLUSIVE, reasons=(reason,))


def _no_rate(subject: str, metric: Metric) -> Verdict:
    return Verdict(value=Value.INCONCLUSIVE, reasons=(f"{subject}: no {metric.support}, so no {metric.label}",))


def _numbers(
    metric: Metric, candidate: Count, stable: Count, interval: Interval, margin: float, *, relative: bool
) -> str:
    """`WER 12.1% -> 31.0%, +18.9 points [+12.0, +25.8], margin 3.0`."""
    assert candidate.rate is not None
    assert stable.rate is not None
    assert interval.estimate is not None
    bounds = ", ".join(_signed(metric, bound) for bound in (interval.lower, interval.upper))
    label = "" if interval.unit == "speaker" else _conditional(interval)
    budget = f"{margin * metric.scale:.1f}"
    if relative:
        budget = f"{margin * 100:.4g}% of {shown(metric, stable.rate)}: {margin * stable.rate * metric.scale:.1f}"
    return (
        f"{metric.label} {shown(metric, stable.rate)} -> {shown(metric, candidate.rate)}, "
        f"{_signed(metric, interval.estimate)}{metric.difference_unit} [{bounds}], margin {budget}{label}"
    )


def _conditional(interval: Interval) -> str:
    if not interval.speakers:
        return " (speakers not known)"
    return f" (conditional on {interval.speakers} speaker{'' if interval.speakers == 1 else 's'})"


def _signed(metric: Metric, value: float | None) -> str:
    return "unknown" if value is None else f"{value * metric.scale + 0.0:+.1f}"


def _remedy(interval: Interval, judged: _Judged) -> str:
    if judged.bound is None or judged.proven is None:
        return f"{interval.units} {interval.unit}s are too few for bounds"
    more = more_units(interval.units, harm=judged.harm, proven=judged.proven, bound=judged.bound, margin=judged.margin)
    if more is None:
        return "no number of speakers would settle it while the difference stays on the margin"
    return f"about {more:,} more {interval.unit}s would settle it"
