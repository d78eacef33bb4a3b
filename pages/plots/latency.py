"""Latency: quantiles with their intervals as dots and whiskers, and the distribution as a line, against the budget.

Boundary: no I/O, no markup: places are percentages of a plot's width and height.
Invariants: every row of one table stands on one axis of milliseconds, so rows can be compared; lines end at p99, so
that one slow request does not press the rest together (the maximum stands in the table); a report from before curves
and intervals still draws, with what it has.
Source: pages.md (Release report); statistics U7; contracts.reports.CURVE.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from contracts.policy import ServingGate
from contracts.reports import CURVE, Bounds, Quantiles, ReplayReport, TimingReport
from pages.figures import Scale, many, milliseconds
from pages.plots.axis import Axis, axis

_TAIL = 0.99
_SHORT = 100.0
"""Milliseconds below which a time is written with a decimal, and with it every time of its table."""
_FAR = 2.5
"""A budget this many times beyond p99 is named beside a distribution: drawn, it would press the line to the edge."""


class Dot(NamedTuple):
    """One quantile: its place, and the ends of its interval where there is one."""

    name: str
    x: float
    low: float | None
    high: float | None


class Figure(NamedTuple):
    """A number of the table, its interval ("" without one), whether it is over its budget."""

    name: str
    number: str
    interval: str
    over: bool = False


class Range(NamedTuple):
    """One row: a figure of one arm (stable or candidate)."""

    name: str
    arm: str
    figures: tuple[Figure, ...]
    dots: tuple[Dot, ...]
    budget: float | None
    title: str


class Line(NamedTuple):
    """A distribution as SVG path data in a box of 100 x 100; `p95` is its place at the budgeted share."""

    arm: str
    path: str
    p95: float
    said: str


class Distribution(NamedTuple):
    """The share of utterances answered within a time: one figure, both arms, the budget of p95."""

    title: str
    axis: Axis
    lines: tuple[Line, ...]
    budget: float | None
    held: str


class Latencies(NamedTuple):
    """One place of measurement: rows on a common axis of milliseconds, and a distribution a figure."""

    title: str
    axis: Axis
    rows: tuple[Range, ...]
    distributions: tuple[Distribution, ...]


class Measured(NamedTuple):
    """One figure of speed: both arms where they were measured, the budget of its p95 in milliseconds."""

    name: str
    stable: Quantiles | None
    candidate: Quantiles | None
    budget: float | None = None

    def arms(self) -> list[tuple[str, Quantiles]]:
        """What was measured, stable first."""
        return [(arm, one) for arm, one in (("stable", self.stable), ("candidate", self.candidate)) if one]


_MS = Scale("time", 1, " ms", "ms", 0)


def latencies(timing: TimingReport | None, replay: ReplayReport | None, budget: ServingGate) -> tuple[Latencies, ...]:
    """Offline (stable against candidate, against the budget) and through the production API under load."""
    drawn = []
    if timing:
        heard = f", {many(timing.utterances, 'utterance')}" if timing.utterances else ""
        drawn.append(_latencies(f"Offline, an exclusive pass of its own{heard}", offline(timing, budget)))
    if replay:
        load = replay.warm
        wire = (
            Measured("first partial", None, load.first_partial_ms),
            Measured("first audio", None, load.first_audio_ms),
            Measured("final", None, load.final_ms),
            Measured("queue", None, load.queue_ms),
        )
        title = f"Through the API, {many(load.requests, 'request')} at concurrency {load.concurrency}"
        drawn.append(_latencies(title, wire))
    return tuple(drawn)


def offline(timing: TimingReport, budget: ServingGate | None) -> tuple[Measured, ...]:
    """The figures of a timing report, with their budgets of p95 where a policy is given."""
    first, stable, audio, final = (
        (budget.first_partial_p95_ms, budget.first_stable_p95_ms, budget.first_audio_p95_ms, budget.final_p95_ms)
        if budget
        else (None,) * 4
    )
    return (
        Measured("first partial", timing.stable_first_partial_ms, timing.first_partial_ms, first),
        Measured("first stable", timing.stable_first_stable_ms, timing.first_stable_ms, stable),
        Measured("first audio", timing.stable_first_audio_ms, timing.first_audio_ms, audio),
        Measured("final", timing.stable_final_ms, timing.final_ms, final),
        Measured("endpoint", timing.stable_endpoint_ms, timing.endpoint_ms),
    )


def _latencies(title: str, measured: Sequence[Measured]) -> Latencies:
    known = [(row, arm, one) for row in measured for arm, one in row.arms()]
    values = [row.budget for row, _, _ in known if row.budget is not None]
    for _, _, one in known:
        values += [one.p99, *(bound for interval in _intervals(one) if interval for bound in interval)]
    drawn = axis(values, _MS, signed=False)
    decimals = int(any(one.p99 < _SHORT for _, _, one in known))
    rows = tuple(_range(row, arm, one, drawn, decimals) for row, arm, one in known)
    curves = [_distribution(row, decimals) for row in measured if any(one.curve for _, one in row.arms())]
    return Latencies(title, drawn, rows, tuple(curves))


def _intervals(one: Quantiles) -> tuple[Bounds | None, Bounds | None, Bounds | None]:
    return one.p50_interval, one.p95_interval, one.p99_interval


def _range(row: Measured, arm: str, one: Quantiles, drawn: Axis, decimals: int) -> Range:
    quantiles = tuple(zip(("p50", "p95", "p99"), (one.p50, one.p95, one.p99), _intervals(one), strict=True))
    over = row.budget is not None and one.p95 > row.budget
    figures = [
        Figure(name, f"{value:.{decimals}f}", _interval(bounds, decimals), over and name == "p95")
        for name, value, bounds in quantiles
    ]
    figures += [
        Figure("max", f"{one.maximum:.{decimals}f}", ""),
        Figure("budget", "none" if row.budget is None else f"{row.budget:.0f}", ""),
        Figure("n", f"{one.n:,}", ""),
    ]
    held = f", budget of p95 {milliseconds(row.budget)}" if row.budget is not None else ""
    said = ", ".join(f"{one.name} {one.number} {one.interval}".strip() for one in figures[:4])
    return Range(
        name=row.name,
        arm=arm,
        figures=tuple(figures),
        dots=tuple(
            Dot(name, drawn.at(value), *((drawn.at(bounds[0]), drawn.at(bounds[1])) if bounds else (None, None)))
            for name, value, bounds in quantiles
        ),
        budget=drawn.place(row.budget),
        title=f"{row.name}, {arm}: {said} ms{held}",
    )


def _interval(bounds: Bounds | None, decimals: int) -> str:
    return f"[{bounds[0]:.{decimals}f}, {bounds[1]:.{decimals}f}]" if bounds else ""


def _distribution(row: Measured, decimals: int) -> Distribution:
    arms = [(arm, one) for arm, one in row.arms() if one.curve]
    values = [value for _, one in arms for value in _body(one)]
    far = row.budget is not None and row.budget > _FAR * max(values)
    drawn = axis([*values, 0.0 if far or row.budget is None else row.budget], _MS, signed=False)
    return Distribution(
        title=row.name,
        axis=drawn,
        lines=tuple(
            Line(arm, _path(one, drawn), drawn.at(one.p95), f"{arm} p95 {one.p95:.{decimals}f} ms") for arm, one in arms
        ),
        budget=None if far else drawn.place(row.budget),
        held="" if row.budget is None else f"budget {milliseconds(row.budget)}{', far right of this' if far else ''}",
    )


def _body(one: Quantiles) -> tuple[float, ...]:
    return tuple(value for share, value in zip(CURVE, one.curve, strict=True) if share <= _TAIL)


def _path(one: Quantiles, drawn: Axis) -> str:
    places = (f"{drawn.at(value):g} {100 - 100 * share:g}" for share, value in zip(CURVE, _body(one), strict=False))
    return "M" + "L".join(places)
