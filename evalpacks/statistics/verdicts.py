"""Three-way verdicts on a difference, in sentences with numbers (U5), and on a first release (R4.3).

Boundary: pure.
Invariants: Fail needs a simultaneous bound that excludes no harm and an estimate over the margin; Pass needs the pair's
own one-sided bound within the margin; everything else, and every lack of evidence, is Inconclusive (R4.2) and says what
would settle it. Exactly on the margin passes (R4.4).
"""

from __future__ import annotations

import math
from typing import NamedTuple

from contracts.reports import Count
from contracts.verdict import Value, Verdict
from evalpacks.metrics import Metric
from evalpacks.statistics.bootstrap import Interval

_EDGE = 1e-9
"""Rounding that does not turn a value exactly on budget into one over it."""


class Support(NamedTuple):
    """What a verdict needs at least: speakers, and units of the denominator (reference words)."""

    speakers: int
    denominator: float


def regression_verdict(
    subject: str,
    metric: Metric,
    candidate: Count,
    stable: Count,
    interval: Interval | None,
    *,
    speakers: int,
    margin: float,
    support: Support,
) -> Verdict:
    """The verdict of U5 on `subject` (a slice), with one reason; `interval` may be None where support is lacking."""
    lack = _lack(subject, metric, candidate, speakers, support)
    if lack is not None or interval is None or stable.rate is None:
        return lack or _no_rate(subject, metric)
    numbers = f"{subject}: {_numbers(metric, candidate, stable, interval, margin)}"
    harm, proven = _harm(metric, interval)
    bound = interval.upper_one_sided
    if proven is not None and proven > 0 and harm > margin + _EDGE:
        return Verdict(value=Value.FAIL, reasons=(f"{numbers}: worse",))
    if bound is not None and bound <= margin + _EDGE:
        return Verdict(value=Value.PASS, reasons=(f"{numbers}: not worse",))
    return Verdict(value=Value.INCONCLUSIVE, reasons=(f"{numbers}: undecided; {_remedy(metric, interval, margin)}",))


def first_release_verdict(
    subject: str, metric: Metric, candidate: Count, *, speakers: int, ceiling: float, support: Support
) -> Verdict:
    """Without a stable the candidate is held to an absolute limit (R4.3)."""
    rate = candidate.rate
    lack = _lack(subject, metric, candidate, speakers, support)
    if lack is not None or rate is None:
        return lack or _no_rate(subject, metric)
    limit = "ceiling" if metric.better == "lower" else "floor"
    over = rate > ceiling + _EDGE if metric.better == "lower" else rate < ceiling - _EDGE
    reason = f"{subject}: {metric.label} {shown(metric, rate)}, {limit} {shown(metric, ceiling)}, first release"
    words = {True: ("over", "under"), False: ("within", "within")}[over][metric.better == "higher"]
    return Verdict(value=Value.FAIL if over else Value.PASS, reasons=(f"{reason}: {words} the {limit}",))


def more_units(interval: Interval, *, margin: float, harm: float, proven: float | None) -> int | None:
    """How many more units would settle an undecided pair if the estimate stayed as it is; None: no number would.

    Half the width of an interval shrinks with the square root of the number of units.
    """
    if harm > margin and proven is not None and harm > 0:
        growth = ((harm - proven) / harm) ** 2
    elif harm < margin and interval.upper_one_sided is not None:
        growth = ((interval.upper_one_sided - harm) / (margin - harm)) ** 2
    else:
        return None
    return max(1, math.ceil(interval.units * (growth - 1) - _EDGE * interval.units))


def shown(metric: Metric, value: float) -> str:
    """A value of the metric as people read it: `12.1%`."""
    return f"{value * metric.scale:.1f}{metric.value_unit}"


def _harm(metric: Metric, interval: Interval) -> tuple[float, float | None]:
    """The harm and its simultaneous lower bound."""
    estimate = interval.estimate or 0.0
    if metric.better == "lower":
        return estimate, interval.lower
    return -estimate, None if interval.upper is None else -interval.upper


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


def _numbers(metric: Metric, candidate: Count, stable: Count, interval: Interval, margin: float) -> str:
    """`WER 12.1% -> 31.0%, +18.9 points [+12.0, +25.8], margin 3.0`."""
    assert candidate.rate is not None
    assert stable.rate is not None
    assert interval.estimate is not None
    bounds = ", ".join(_signed(metric, bound) for bound in (interval.lower, interval.upper))
    label = "" if interval.unit == "speaker" else _conditional(interval)
    return (
        f"{metric.label} {shown(metric, stable.rate)} -> {shown(metric, candidate.rate)}, "
        f"{_signed(metric, interval.estimate)}{metric.difference_unit} [{bounds}], "
        f"margin {margin * metric.scale:.1f}{label}"
    )


def _conditional(interval: Interval) -> str:
    if not interval.speakers:
        return " (speakers not known)"
    return f" (conditional on {interval.speakers} speaker{'' if interval.speakers == 1 else 's'})"


def _signed(metric: Metric, value: float | None) -> str:
    return "unknown" if value is None else f"{value * metric.scale + 0.0:+.1f}"


def _remedy(metric: Metric, interval: Interval, margin: float) -> str:
    harm, proven = _harm(metric, interval)
    more = more_units(interval, margin=margin, harm=harm, proven=proven)
    if interval.upper_one_sided is None or interval.lower is None:
        return f"{interval.units} {interval.unit}s are too few for bounds"
    if more is None:
        return "no number of speakers would settle it while the difference stays on the margin"
    return f"about {more:,} more {interval.unit}s would settle it"
