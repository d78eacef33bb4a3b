"""Small multiples: one row a slice, one column a measure, canary against stable, minute by minute.

Boundary: no I/O, no markup: places are percentages of a cell's width and height.
Invariants: all cells of a column stand on one axis from 0, so that slices can be compared; a minute without traffic, or
with fewer than FEWEST of what a rate is of, is a gap and never a zero (U2); a rate is a ratio of sums.
Source: pages.md (Live page); Tufte, The Visual Display of Quantitative Information (small multiples).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Literal, NamedTuple

from contracts.live import Burn, Window
from contracts.reports import Quantiles
from pages.figures import PERCENT, Scale, many, milliseconds, slice_name

SPAN_S = 1800.0
FEWEST = 5
"""Of fewer requests (or words) a minute's rate is not drawn: one of two says little."""
OVERALL = "overall"
LATENCY, FIRST_AUDIO = "latency p95", "first audio p95"
"""The measures that a family's promises about time are drawn on."""
_FAR = 2.5
"""A budget this many times above everything is named beside the axis: drawn, it would press the lines to the floor."""

Arm = Literal["stable", "canary"]
ARMS: tuple[Arm, ...] = ("stable", "canary")
_GAP = 1.6 * 100 * 60 / SPAN_S
"""Points that are farther apart, in percent of the time axis, have a minute without traffic between them."""


class Value(NamedTuple):
    """A measure in one window: the number drawn, and what it is made of in words."""

    value: float
    said: str


class Measure(NamedTuple):
    """A column: its name, how it is written, how it is read from windows of one arm (None: nothing to read)."""

    name: str
    scale: Scale
    read: Callable[[Sequence[Window], int], Value | None]


class Line(NamedTuple):
    """One arm in one cell: path data in a box of 100 x 100, where it ends (None: not now), its last minute in words.

    `over`: the last minute is over the budget.
    """

    arm: Arm
    path: str
    end: tuple[float, float] | None
    number: str
    title: str
    over: bool = False


class Cell(NamedTuple):
    """One measure of one slice; `unit` is of its numbers."""

    name: str
    unit: str
    lines: tuple[Line, ...]
    budget: float | None
    said: str


class Row(NamedTuple):
    """One slice: its requests of the last minute an arm, its cells."""

    slice: str
    exact: str
    requests: tuple[tuple[Arm, str], ...]
    cells: tuple[Cell, ...]


class Column(NamedTuple):
    """A heading: the measure, the top of its axis, the budget that is drawn."""

    name: str
    top: str
    budget: str


class Grid(NamedTuple):
    """All rows under their headings; `moves` are the places of the route table's moves on the time axis."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    moves: tuple[float, ...]

    @property
    def has_canary(self) -> bool:
        """Whether a canary, or its shadow, is drawn."""
        return any(line.arm == "canary" for row in self.rows for cell in row.cells for line in cell.lines)


_MS = Scale("time", 1, " ms", "ms", 0)


def _quantile(
    field: Literal["latency_ms", "first_partial_ms", "first_audio_ms"], which: Literal["p50", "p95"] = "p95"
) -> Callable[[Sequence[Window], int], Value | None]:
    def read(windows: Sequence[Window], _fewest: int) -> Value | None:
        known: list[Quantiles] = [found for window in windows if (found := getattr(window, field)) is not None]
        if not known:
            return None
        busiest = max(known, key=lambda one: one.n)  # quantiles of two bundles cannot be put together
        return Value(getattr(busiest, which), f"{which} of {many(busiest.n, 'answer')}")

    return read


def _rate(numerator: str, denominator: str, noun: str) -> Callable[[Sequence[Window], int], Value | None]:
    def read(windows: Sequence[Window], fewest: int) -> Value | None:
        over, under = (sum(getattr(window, name) for window in windows) for name in (numerator, denominator))
        return Value(over / under, f"{over:,} of {many(under, noun)}") if under >= fewest else None

    return read


_TIME = (Measure(LATENCY, _MS, _quantile("latency_ms")),)
_SPEAKING = (
    Measure("first audio p50", _MS, _quantile("first_audio_ms", "p50")),
    Measure(FIRST_AUDIO, _MS, _quantile("first_audio_ms")),
)
_HEARING = (
    Measure("first partial p95", _MS, _quantile("first_partial_ms")),
    Measure("partial churn", PERCENT, _rate("unstable_words", "partial_words", "word")),
)
_FAILED = (Measure("failed", PERCENT, _rate("failures", "requests", "request")),)
_CORRECTED = (Measure("corrected", PERCENT, _rate("corrections", "requests", "request")),)
_PAUSED = (Measure("playback paused", PERCENT, _rate("underruns", "requests", "answer")),)


def measures_of(windows: Iterable[Window]) -> tuple[Measure, ...]:
    """The columns of a family: of one that speaks how soon and how steadily, of one that hears how its words come."""
    known = list(windows)
    speaks = any(window.first_audio_ms is not None for window in known)
    hears = any(window.first_partial_ms is not None or window.partial_words for window in known)
    if not speaks:
        return (*_TIME, *_HEARING, *_FAILED, *_CORRECTED)
    return (*_TIME, *_SPEAKING, *(_HEARING if hears else ()), *_FAILED, *_PAUSED)


def grid(
    series: Iterable[Window],
    now: Iterable[Window],
    *,
    at_s: float,
    budgets_ms: Mapping[str, float] = MappingProxyType({}),
    moved_s: Iterable[float] = (),
    burns: Iterable[Burn] = (),
) -> Grid:
    """The small multiples of the half hour before `at_s`; slices whose budget burns first, then as they come.

    Args:
        budgets_ms: what most answers must stay below, by the name of the measure (LATENCY, FIRST_AUDIO).
        moved_s: when the route table moved (epoch).
    """
    series, now = list(series), list(now)
    measures = measures_of((*series, *now))
    drawn = _by_place(series)
    latest = _by_place(now)
    slices = list(dict.fromkeys(name for name, _ in (*drawn, *latest)))
    hurt = {burn.slice for burn in burns if burn.action != "none"}
    slices.sort(key=lambda name: (name != OVERALL, name not in hurt))
    points = {
        (measure.name, name, arm): _points(measure, drawn.get((name, arm), ()), at_s)
        for measure in measures
        for name in slices
        for arm in ARMS
    }
    rulers = {}
    for measure in measures:
        highest = max((y for key, found in points.items() if key[0] == measure.name for _, y in found), default=None)
        rulers[measure.name] = _ruler(measure, highest, budgets_ms.get(measure.name))

    def cell(measure: Measure, name: str) -> Cell:
        arms = {arm: (points[measure.name, name, arm], latest.get((name, arm), ())) for arm in ARMS}
        return _cell(measure, rulers[measure.name], arms)

    rows = tuple(
        Row(
            slice_name(name),
            name,
            tuple((arm, f"{requests:,}") for arm in ARMS if (requests := _requests(latest.get((name, arm), ())))),
            tuple(cell(measure, name) for measure in measures),
        )
        for name in slices
    )
    moves = tuple(_across(moment, at_s) for moment in moved_s if at_s - SPAN_S < moment <= at_s)
    return Grid(tuple(ruler.column for ruler in rulers.values()), rows, moves)


class _Ruler(NamedTuple):
    """The axis of one measure: its top, its budget and where that is drawn (None: nowhere), its heading."""

    top: float
    budget: float | None
    line: float | None
    column: Column


def _ruler(measure: Measure, highest: float | None, budget: float | None) -> _Ruler:
    """`highest`: of all values that are drawn, None where there is none."""
    scale, reach = measure.scale, highest or 0.0
    shown = budget if budget is not None and budget <= _FAR * reach else None
    top = _round_up(max(reach, shown or 0.0) * scale.factor) / scale.factor
    held = "" if budget is None else f"budget {milliseconds(budget)}{'' if shown is not None else ', above this'}"
    heading = Column(measure.name, f"{top * scale.factor:g}{scale.unit}" if highest is not None else "", held)
    return _Ruler(top, budget, None if shown is None else _up(shown, top), heading)


def _by_place(windows: Iterable[Window]) -> dict[tuple[str, Arm], list[Window]]:
    """Windows by slice and arm; a shadow is the canary's arm."""
    found: dict[tuple[str, Arm], list[Window]] = {}
    for window in windows:
        arm: Arm = "stable" if window.arm == "stable" else "canary"
        found.setdefault((window.slice, arm), []).append(window)
    return found


def _points(measure: Measure, windows: Iterable[Window], at_s: float) -> list[tuple[float, float]]:
    """(percent of the time axis, value) of each window that has something to read, oldest first."""
    steps: dict[float, list[Window]] = {}
    for window in windows:
        if window.until_s > at_s - SPAN_S:
            steps.setdefault(_across((window.since_s + window.until_s) / 2, at_s), []).append(window)
    read = ((x, measure.read(found, FEWEST)) for x, found in sorted(steps.items()))
    return [(x, one.value) for x, one in read if one is not None]


def _across(moment_s: float, at_s: float) -> float:
    return round(100 * min(max(1 - (at_s - moment_s) / SPAN_S, 0.0), 1.0), 3)


def _cell(
    measure: Measure, ruler: _Ruler, arms: Mapping[Arm, tuple[list[tuple[float, float]], Sequence[Window]]]
) -> Cell:
    lines = []
    for arm, (points, latest) in arms.items():
        one = measure.read(latest, 1)
        if points or one is not None:
            over = one is not None and ruler.budget is not None and one.value > ruler.budget
            number = "" if one is None else measure.scale.number(one.value)
            said = "nothing" if one is None else f"{number}{measure.scale.unit}, {one.said}"
            title = f"{arm}, last minute: {said}{', over budget' if over else ''}"
            lines.append(Line(arm, *_line(points, ruler.top), number, title, over))
    said = "; ".join(line.title for line in lines) or "no traffic"
    return Cell(measure.name, measure.scale.unit.strip(), tuple(lines), ruler.line, said)


def _line(points: Sequence[tuple[float, float]], top: float) -> tuple[str, tuple[float, float] | None]:
    """Path data with a gap where a minute is missing (one that stands alone is a dot), and where it ends now."""
    parts: list[list[str]] = []
    before = None
    for x, value in points:
        if before is None or x - before > _GAP:
            parts.append([])
        parts[-1].append(f"{x:g} {_up(value, top):g}")
        before = x
    path = "".join("M" + "L".join(part if len(part) > 1 else part * 2) for part in parts)
    recent = before is not None and before >= 100 - _GAP
    return path, (points[-1][0], _up(points[-1][1], top)) if recent else None


def _up(value: float, top: float) -> float:
    return round(100 * (1 - min(value / top, 1.0)), 3)


def _requests(windows: Iterable[Window]) -> int:
    return sum(window.requests for window in windows)


def _round_up(value: float) -> float:
    """The next of 1, 1.5, 2, 3, 4, 5, 6, 8, 10 times a power of ten."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if step * power >= value * (1 - 1e-9))
