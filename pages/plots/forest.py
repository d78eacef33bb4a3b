"""Forests of differences: one row a slice, worst first, point and interval against the margin.

Boundary: no I/O, no markup: places are percentages of the plot's width.
Invariants: right is always worse, also where higher is better; what has no difference has no mark; nothing that does
not pass is folded away.
Source: pages.md (Release report); statistics U5.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from contracts.policy import CanaryPlan
from contracts.reports import Better, Comparison, SliceEvidence
from contracts.verdict import Value
from pages.comparing import (
    absolute_limit,
    beyond_limit,
    canary_scale,
    change,
    compared_on,
    difference,
    held_to,
    limit,
    marks,
    worst_first,
)
from pages.figures import Scale, many, plain, scale, slice_name
from pages.plots.axis import Axis, axis, same

_FEW = 12

Waived = Collection[tuple[str, str, str, str]]
"""(pack, slice, metric, baseline) of the comparisons that a person has waived."""


class Numbers(NamedTuple):
    """The numbers of one row, apart, so that each column lines up on its decimal point; "" where there is none."""

    before: str
    after: str
    estimate: str
    lower: str
    upper: str


class Mark(NamedTuple):
    """One row of a forest: numbers as text, places in percent (None: not drawn).

    `low` and `high` are the simultaneous bounds, by which a comparison fails; `own` is the row's own one-sided bound of
    the harm, by which it passes (U5).
    """

    name: str
    exact: str
    notes: tuple[str, ...]
    numbers: Numbers
    held: str
    support: str
    word: str
    kind: str
    title: str
    point: float | None
    low: float | None
    high: float | None
    own: float | None
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
    held: tuple[str, ...] = ()
    better: Better = "lower"

    @property
    def digits(self) -> tuple[int, int]:
        """Characters of the longest rate and of the longest difference."""
        rows = [one.numbers for one in (*self.marks, *self.more)]
        rates = [len(text) for one in rows for text in (one.before, one.after)]
        return max(rates), max(len(text) for one in rows for text in (one.estimate, one.lower, one.upper))


class _Turn(NamedTuple):
    """How a group of comparisons is placed so that right is worse."""

    label: Scale
    differences: bool
    higher: bool

    def place(self, value: float | None) -> float | None:
        """Where a value stands; its own inverse. A rate that should be high stands by what it lacks of the best."""
        if value is None or not self.higher:
            return value
        return -value if self.differences else self.label.best - value

    def read(self, place: float) -> float:
        """The value of a place."""
        return -place if self.differences else self.label.best - place


class _Places(NamedTuple):
    point: float | None
    low: float | None
    high: float | None
    own: float | None
    bound: float | None


def forests(comparisons: Sequence[Comparison], waived: Waived = ()) -> tuple[Forest, ...]:
    """One forest a (pack, metric, baseline), the worst verdict first.

    Without a stable the candidate's own rate is drawn against its limit (R4.3).
    """
    groups: dict[str, list[Comparison]] = {}
    for one in comparisons:
        groups.setdefault(compared_on(one), []).append(one)
    drawn = [_forest(title, group, waived) for title, group in groups.items()]
    return tuple(sorted(drawn, key=lambda one: -Value(one.marks[0].kind).severity))


def _forest(title: str, group: list[Comparison], waived: Waived) -> Forest:
    label = scale(group[0].metric)
    turn = _Turn(label, any(one.estimate is not None for one in group), group[0].better == "higher")
    values = [value for one in group for value in _places(one, turn) if value is not None]
    drawn = axis(values, label, signed=turn.differences, read=turn.read if turn.higher else same)
    rows = [_mark(one, turn, drawn, waived) for one in worst_first(group)]
    few = max(_FEW, sum(row.kind != Value.PASS for row in rows))
    few = len(rows) if len(rows) <= few + 3 else few
    unit = (label.points or label.unit) if turn.differences else label.unit
    heads = (f"{group[0].baseline} -> candidate", f"{unit or 'difference'} [interval]")
    return Forest(
        title=title,
        unit=unit,
        heads=heads if turn.differences else ("candidate", "held to"),
        axis=drawn,
        marks=tuple(rows[:few]),
        more=tuple(rows[few:]),
        held=held_to(group),
        better=group[0].better,
    )


def _places(one: Comparison, turn: _Turn) -> _Places:
    """Places turned so that more is worse; without a difference there is none on an axis of differences."""
    if not turn.differences:
        return _Places(turn.place(one.candidate.rate), None, None, None, turn.place(one.limit))
    if one.estimate is None:
        return _Places(None, None, None, None, None)
    low, high = (one.upper, one.lower) if turn.higher else (one.lower, one.upper)
    return _Places(turn.place(one.estimate), turn.place(low), turn.place(high), _own_bound(one), one.margin)


def _own_bound(one: Comparison) -> float | None:
    """The one-sided bound of the harm; that of a relative budget is one of the harm over the budget."""
    if one.relative and one.excess_one_sided is not None and one.margin is not None:
        return one.margin + one.excess_one_sided
    return one.upper_one_sided


def _mark(one: Comparison, turn: _Turn, drawn: Axis, waived: Waived) -> Mark:
    places = _Places(*(drawn.place(value) for value in _places(one, turn)))
    people = many(one.speakers, "speaker")
    held = limit(one)
    label, own = turn.label, _places(one, turn).own
    bound = "" if own is None else f"own bound {label.difference(turn.read(own) if turn.higher else own)}"
    said = (plain(one.slice), change(one), difference(one), bound, held, absolute_limit(one), people)
    return Mark(
        name=slice_name(one.slice),
        exact=plain(one.slice),
        notes=_notes(one, waived),
        numbers=Numbers(
            before=label.value(one.stable.rate) if one.stable else "",
            after=label.value(one.candidate.rate),
            estimate=label.difference(one.estimate) if one.estimate is not None else "",
            lower=label.difference(one.lower) if one.lower is not None else "",
            upper=label.difference(one.upper) if one.upper is not None else "",
        ),
        held=held,
        support=f"{one.speakers:,}",
        word=one.verdict.value.upper(),
        kind=one.verdict.value,
        title=", ".join(filter(None, dict.fromkeys(said))),
        zero=drawn.at(0.0) if turn.differences else None,
        **places._asdict(),
    )


def _notes(one: Comparison, waived: Waived) -> tuple[str, ...]:
    by_utterance = ("by utterance",) if one.unit == "utterance" else ()
    accepted = ("waived",) if (one.pack, one.slice, one.metric, one.baseline) in waived else ()
    return tuple(filter(None, (*marks(one), beyond_limit(one), *by_utterance, *accepted)))


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
    said = f"{label.difference(one.estimate)} {label.interval(one.lower, one.upper)}".strip()
    changed = f"{label.value(one.stable_rate)} -> {label.value(one.canary_rate)}"
    held = "" if one.margin is None else f"margin {label.number(one.margin)}"
    support = f"{one.stable_sessions:,} / {one.canary_sessions:,}"
    open_side = "" if one.lower is None and one.upper is None else ".."
    return Mark(
        name=slice_name(one.slice),
        exact=plain(one.slice),
        notes=(),
        numbers=Numbers(
            before=label.value(one.stable_rate),
            after=label.value(one.canary_rate),
            estimate=label.difference(one.estimate),
            lower=open_side if one.lower is None else label.difference(one.lower),
            upper=open_side if one.upper is None else label.difference(one.upper),
        ),
        held=held,
        support=support,
        word=one.state.upper(),
        kind=_STATES[one.state],
        title=", ".join(filter(None, (plain(one.slice), changed, said, held, f"sessions {support}"))),
        point=drawn.place(one.estimate),
        low=drawn.place(one.lower),
        high=drawn.place(one.upper),
        own=None,
        zero=drawn.at(0.0),
        bound=drawn.place(one.margin),
    )
