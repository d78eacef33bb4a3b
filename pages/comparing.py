"""One comparison in words and in order: what it says, what it is held to, which is worst.

Boundary: no I/O. Verdicts are read from documents, never made here.
Invariants: a number is written as its metric is (figures.scale); a relative margin also says its share; where higher is
better the absolute limit is a floor. Source: statistics U5; release-algorithm R4.1, R4.3.
"""

from __future__ import annotations

from collections.abc import Iterable

from contracts.approval import SignedWaiver
from contracts.policy import CanaryPlan
from contracts.reports import Comparison
from pages.figures import PERCENT, Scale, many, milliseconds, plain, scale, slice_name


def excess(comparison: Comparison) -> float:
    """How far the candidate is over what it is held to, in the metric's unit; negative is room left."""
    sign = 1 if comparison.better == "lower" else -1
    if comparison.estimate is not None:
        return sign * comparison.estimate - (comparison.margin or 0.0)
    rate = comparison.candidate.rate
    if rate is None or comparison.limit is None:
        return float("inf")
    return sign * (rate - comparison.limit)


def worst_first(comparisons: Iterable[Comparison]) -> list[Comparison]:
    """Worst verdict first, then the least room to the margin; equal ones by name."""
    return sorted(
        comparisons,
        key=lambda one: (-one.verdict.value.severity, -excess(one), one.pack, one.metric, one.slice),
    )


def marks(comparison: Comparison) -> tuple[str, ...]:
    """`protected`, `high risk`, as they apply."""
    named = (("protected", comparison.protected), ("high risk", comparison.high_risk))
    return tuple(name for name, applies in named if applies)


def compared_on(comparison: Comparison) -> str:
    """`WER on commands`, and whom a quantized candidate is compared with."""
    against = " against full precision" if comparison.baseline == "parent" else ""
    return f"{scale(comparison.metric).label} on {plain(comparison.pack)}{against}"


def change(comparison: Comparison) -> str:
    """`8.4% -> 6.1%`, or `6.1%` without a stable."""
    metric = scale(comparison.metric)
    candidate = metric.value(comparison.candidate.rate)
    return f"{metric.value(comparison.stable.rate)} -> {candidate}" if comparison.stable else candidate


def difference(comparison: Comparison) -> str:
    """`-2.3 [-3.1, -1.5]`, "" without a stable."""
    metric = scale(comparison.metric)
    if comparison.estimate is None:
        return ""
    return f"{metric.difference(comparison.estimate)} {metric.interval(comparison.lower, comparison.upper)}".strip()


def limit(comparison: Comparison) -> str:
    """`margin 1.0`, `margin 0.4 (5% of stable)`, `ceiling 35.0%`, "" where nothing is set."""
    metric = scale(comparison.metric)
    if comparison.estimate is None or comparison.margin is None:
        return absolute_limit(comparison)
    before = comparison.stable.rate if comparison.stable else None
    share = f" ({comparison.margin / before:.0%} of stable)" if comparison.relative and before else ""
    return f"margin {metric.number(comparison.margin)}{share}"


def absolute_limit(comparison: Comparison) -> str:
    """`ceiling 35.0%`, `floor 90.0%` where higher is better, "" where none is set."""
    name = "ceiling" if comparison.better == "lower" else "floor"
    return "" if comparison.limit is None else f"{name} {scale(comparison.metric).value(comparison.limit)}"


def beyond_limit(comparison: Comparison) -> str:
    """`over ceiling`, `under floor`, "" where the absolute limit holds or none is set."""
    rate = comparison.candidate.rate
    if rate is None or comparison.limit is None:
        return ""
    if comparison.better == "lower":
        return "over ceiling" if rate > comparison.limit else ""
    return "under floor" if rate < comparison.limit else ""


def canary_scale(metric: str, plan: CanaryPlan | None) -> Scale:
    """How a metric of the judge is written: a quantile's rate is the share of requests over its budget (U7).

    Errors of labelled probes are shares of what was asked, whatever the policy calls them.
    """
    rule = plan.metrics.get(metric) if plan else None
    if rule and (rule.numerator, rule.denominator) == ("errors", "words"):
        return PERCENT._replace(label=scale(metric).label)
    if rule is None or rule.kind != "quantile":
        return scale(metric)
    name = plain(metric).removesuffix("_ms").replace("_", " ")
    over = f" over {milliseconds(rule.budget)}" if rule.budget and metric.endswith("_ms") else " over budget"
    return PERCENT._replace(label=name + over)


def held_to(compared: Iterable[Comparison]) -> tuple[str, ...]:
    """One sentence a limit: on how many slices it holds, or on which one."""
    slices: dict[str, list[str]] = {}
    for one in compared:
        slices.setdefault(_both_limits(one) or "nothing", []).append(one.slice)
    return tuple(
        f"{name}: {slice_name(found[0]) if len(found) == 1 else many(len(found), 'slice')}"
        for name, found in slices.items()
    )


def _both_limits(one: Comparison) -> str:
    """What a comparison is held to; the share of a relative margin is another number on every slice."""
    if one.relative and one.estimate is not None and one.margin is not None and one.stable and one.stable.rate:
        margin = f"margin {one.margin / one.stable.rate:.0%} of stable"
    else:
        margin = limit(one)
    return " and ".join(filter(None, dict.fromkeys((margin, absolute_limit(one)))))


def subject(one: Comparison | SignedWaiver) -> str:
    """`WER on scottish x 5 dB of commands`, and whom a quantized candidate is compared with."""
    against = " against full precision" if one.baseline == "parent" else ""
    return f"{scale(one.metric).label} on {slice_name(one.slice)} of {plain(one.pack)}{against}"
