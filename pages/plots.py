"""Where marks of a plot stand: axes with round ticks, forests of differences, latency ranges, error bars.

Boundary: no I/O, no markup: positions are percentages of a plot's width, so that a template can draw them at any size.
Invariants: right is always worse; every value lies on its axis.
Source: pages.md (Release report).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from contracts.policy import CanaryPlan, ServingGate
from contracts.reports import Comparison, Quantiles, ReplayReport, SliceEvidence, TimingReport, WordCounts
from contracts.verdict import Value
from pages.figures import Scale, many, milliseconds, plain, scale, signless_zero, slice_name
from pages.reading import canary_scale, change, difference, limit, marks, worst_first

_PADDING = 0.04
_FEW = 12


class Tick(NamedTuple):
    """A labelled place on an axis, in percent of its width."""

    x: float
    label: str


class Axis(NamedTuple):
    """A linear axis from `low` to `high` with round ticks."""

    low: float
    high: float
    ticks: tuple[Tick, ...] = ()

    def at(self, value: float) -> float:
        """Percent of the width, within the axis."""
        share = (value - self.low) / (self.high - self.low)
        return round(100 * min(max(share, 0.0), 1.0), 3)


class Mark(NamedTuple):
    """One row of a forest: numbers as text, places in percent (None: not drawn)."""

    name: str
    exact: str
    notes: tuple[str, ...]
    change: str
    difference: str
    limit: str
    support: str
    word: str
    kind: str
    title: str
    point: float | None
    low: float | None
    high: float | None
    zero: float | None
    bound: float | None


class Forest(NamedTuple):
    """One metric on one axis, worst first; `heads` name the two columns of numbers, `more` did no worse."""

    title: str
    unit: str
    heads: tuple[str, str]
    axis: Axis
    marks: tuple[Mark, ...]
    more: tuple[Mark, ...] = ()


class Range(NamedTuple):
    """One latency distribution: places of p50, p95, p99 and the budget; `arm` is stable or candidate."""

    name: str
    arm: str
    numbers: tuple[str, ...]
    p50: float
    p95: float
    p99: float
    budget: float | None
    over: bool
    title: str


class Bar(NamedTuple):
    """Errors of one slice: widths in percent (substitutions, deletions, insertions) and the counts behind them."""

    name: str
    exact: str
    rate: str
    counts: tuple[int, int, int]
    words: int
    widths: tuple[float, float, float]
    stable_width: float | None
    stable_rate: str


def axis(values: Iterable[float], label: Scale, *, signed: bool, wanted: int = 5) -> Axis:
    """An axis that holds every value and 0, with about `wanted` ticks at 1, 2 or 5 times a power of ten."""
    known = [*values, 0.0]
    low, high = min(known), max(known)
    if high - low < 1e-9:
        low, high = low - 0.01 / label.factor, high + 0.01 / label.factor
    padding = (high - low) * _PADDING
    low, high = low - padding * signed, high + padding
    raw = (high - low) * label.factor / wanted
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * one for one in (1, 2, 5, 10) if power * one >= raw * 0.999)
    first, last = math.ceil(low * label.factor / step), math.floor(high * label.factor / step)
    decimals = max(0, -math.floor(math.log10(step)))
    bare = Axis(low, high)
    ticks = []
    for number in range(first, last + 1):
        text = f"{number * step:+.{decimals}f}" if signed else f"{number * step:.{decimals}f}"
        ticks.append(Tick(bare.at(number * step / label.factor), signless_zero(text)))
    return Axis(low, high, tuple(ticks))


def forests(comparisons: Sequence[Comparison]) -> tuple[Forest, ...]:
    """One forest a (pack, metric); without a stable the candidate's own rate against its ceiling (R4.3)."""
    groups: dict[tuple[str, str], list[Comparison]] = {}
    for one in comparisons:
        groups.setdefault((one.pack, one.metric), []).append(one)
    return tuple(_forest(f"{scale(metric).label} on {plain(pack)}", group) for (pack, metric), group in groups.items())


def _forest(title: str, group: list[Comparison]) -> Forest:
    label = scale(group[0].metric)
    differences = any(one.estimate is not None for one in group)
    places = [_places(one) for one in group]
    drawn = axis([value for place in places for value in place if value is not None], label, signed=differences)
    rows = [_mark(one, drawn, differences) for one in worst_first(group)]
    few = max(_FEW, sum(row.kind != Value.PASS for row in rows))
    few = len(rows) if len(rows) <= few + 3 else few
    unit = (label.points or label.unit) if differences else label.unit
    heads = ("stable -> candidate", f"{unit} [interval]") if differences else ("candidate", "held to")
    return Forest(title, unit, heads, drawn, tuple(rows[:few]), tuple(rows[few:]))


def _places(one: Comparison) -> tuple[float | None, float | None, float | None, float | None]:
    """(point, low, high, bound), turned so that more is worse."""
    if one.estimate is None:
        return one.candidate.rate, None, None, one.limit
    if one.better == "lower":
        return one.estimate, one.lower, one.upper, one.margin
    return -one.estimate, _minus(one.upper), _minus(one.lower), one.margin


def _minus(value: float | None) -> float | None:
    return None if value is None else -value


def _mark(one: Comparison, drawn: Axis, differences: bool) -> Mark:
    point, low, high, bound = (None if value is None else drawn.at(value) for value in _places(one))
    said = difference(one) or limit(one)
    people = many(one.speakers, "speaker")
    return Mark(
        name=slice_name(one.slice),
        exact=plain(one.slice),
        notes=marks(one),
        change=change(one),
        difference=said,
        limit=limit(one),
        support=f"{one.speakers:,}",
        word=one.verdict.value.upper(),
        kind=one.verdict.value,
        title=", ".join(filter(None, dict.fromkeys((plain(one.slice), change(one), said, limit(one), people)))),
        point=point,
        low=low,
        high=high,
        zero=drawn.at(0.0) if differences else None,
        bound=bound,
    )


_STATES = {"fine": Value.PASS, "worse": Value.FAIL, "undecided": Value.INCONCLUSIVE, "waiting": Value.INCONCLUSIVE}


def stage_forests(evidence: Sequence[SliceEvidence], plan: CanaryPlan) -> tuple[Forest, ...]:
    """One forest a metric of a canary stage, what is worse first."""
    return tuple(
        _stage_forest(canary_scale(metric, plan), [one for one in evidence if one.metric == metric])
        for metric in dict.fromkeys(one.metric for one in evidence)
    )


def _stage_forest(label: Scale, group: list[SliceEvidence]) -> Forest:
    values = [value for one in group for value in (one.estimate, one.lower, one.upper, one.margin) if value is not None]
    drawn = axis(values, label, signed=True, wanted=4)
    ordered = sorted(group, key=lambda one: (-_STATES[one.state].severity, one.slice != "overall", one.slice))
    rows = tuple(_evidence_mark(one, label, drawn) for one in ordered)
    unit = label.points or label.unit
    return Forest(label.label, unit, ("stable -> canary", f"{unit or 'difference'} [interval]"), drawn, rows)


def _evidence_mark(one: SliceEvidence, label: Scale, drawn: Axis) -> Mark:
    point, low, high, bound = (
        None if value is None else drawn.at(value) for value in (one.estimate, one.lower, one.upper, one.margin)
    )
    said = f"{label.difference(one.estimate)} {label.interval(one.lower, one.upper)}".strip()
    changed = f"{label.value(one.stable_rate)} -> {label.value(one.canary_rate)}"
    held = "" if one.margin is None else f"margin {label.number(one.margin)}"
    support = f"{one.stable_sessions:,} / {one.canary_sessions:,}"
    return Mark(
        name=slice_name(one.slice),
        exact=plain(one.slice),
        notes=(),
        change=changed,
        difference=said,
        limit=held,
        support=support,
        word=one.state.upper(),
        kind=_STATES[one.state],
        title=", ".join(filter(None, (plain(one.slice), changed, said, held, f"sessions {support}"))),
        point=point,
        low=low,
        high=high,
        zero=drawn.at(0.0),
        bound=bound,
    )


class Latencies(NamedTuple):
    """Latency rows of one place of measurement on a common axis of milliseconds."""

    title: str
    axis: Axis
    rows: tuple[Range, ...]


class _Measured(NamedTuple):
    name: str
    arm: str
    quantiles: Quantiles | None
    budget: float | None = None


_MS = Scale("time", 1, " ms", "ms", 0)


def latencies(timing: TimingReport | None, replay: ReplayReport | None, budget: ServingGate) -> tuple[Latencies, ...]:
    """Offline (stable against candidate, against the budget) and through the production API under load."""
    drawn = []
    if timing:
        offline = (
            _Measured("first partial", "candidate", timing.first_partial_ms, budget.first_partial_p95_ms),
            _Measured("final", "stable", timing.stable_final_ms, budget.final_p95_ms),
            _Measured("final", "candidate", timing.final_ms, budget.final_p95_ms),
        )
        drawn.append(_latencies("Offline, an exclusive pass of its own", offline))
    if replay:
        load = replay.warm
        wire = (
            _Measured("first partial", "candidate", load.first_partial_ms),
            _Measured("final", "candidate", load.final_ms),
            _Measured("queue", "candidate", load.queue_ms),
        )
        title = f"Through the API, {many(load.requests, 'request')} at concurrency {load.concurrency}"
        drawn.append(_latencies(title, wire))
    return tuple(drawn)


def _latencies(title: str, rows: Sequence[_Measured]) -> Latencies:
    known = [(row, row.quantiles) for row in rows if row.quantiles]
    values = [one.p99 for _, one in known] + [row.budget for row, _ in known if row.budget is not None]
    drawn = axis(values, _MS, signed=False)
    return Latencies(title, drawn, tuple(_range(row.name, row.arm, one, row.budget, drawn) for row, one in known))


def _range(name: str, arm: str, one: Quantiles, budget: float | None, drawn: Axis) -> Range:
    numbers = tuple(f"{value:.0f}" for value in (one.p50, one.p95, one.p99, one.maximum))
    held = f", budget of p95 {milliseconds(budget)}" if budget is not None else ""
    return Range(
        name=name,
        arm=arm,
        numbers=(*numbers, "none" if budget is None else f"{budget:.0f}", f"{one.n:,}"),
        p50=drawn.at(one.p50),
        p95=drawn.at(one.p95),
        p99=drawn.at(one.p99),
        budget=None if budget is None else drawn.at(budget),
        over=budget is not None and one.p95 > budget,
        title=f"{name}, {arm}: p50 {numbers[0]}, p95 {numbers[1]}, p99 {numbers[2]}, max {numbers[3]} ms{held}",
    )


def error_bars(words: dict[str, WordCounts], stable: dict[str, WordCounts]) -> tuple[tuple[Bar, ...], tuple[Bar, ...]]:
    """Errors a reference word, highest rate first: (shown, on demand); a slice without words has no bar (U2)."""
    known = {name: one for name, one in words.items() if one.reference_words}
    before = {name: one for name, one in stable.items() if one.reference_words}
    top = max([_rate(one) for one in (*known.values(), *before.values())] or [1.0]) or 1.0
    ordered = sorted(known, key=lambda name: (name != "overall", -_rate(known[name]), name))
    bars = [_bar(name, known[name], before.get(name), top) for name in ordered]
    few = len(bars) if len(bars) <= _FEW + 3 else _FEW
    return tuple(bars[:few]), tuple(bars[few:])


def _rate(one: WordCounts) -> float:
    return (one.substitutions + one.deletions + one.insertions) / one.reference_words


def _bar(name: str, one: WordCounts, before: WordCounts | None, top: float) -> Bar:
    label = scale("wer")
    counts = (one.substitutions, one.deletions, one.insertions)
    first, second, third = (round(100 * count / one.reference_words / top, 3) for count in counts)
    return Bar(
        name=slice_name(name),
        exact=plain(name),
        rate=label.value(_rate(one)),
        counts=counts,
        words=one.reference_words,
        widths=(first, second, third),
        stable_width=round(100 * _rate(before) / top, 3) if before else None,
        stable_rate=label.value(_rate(before)) if before else "",
    )
