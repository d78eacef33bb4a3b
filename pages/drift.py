"""The drift page: what moved, since when, on which slices, how sure, whose change it is, and what to do.

Boundary: no I/O beyond this room's own templates; a DriftEvaluation in, HTML or Markdown out.
Invariants: every text is escaped; nothing outside the page is loaded and there is no script; a distribution stands
on one axis with the one it is compared with; what was not looked at is said.
Source: pages.md (Drift page); coverage rows 13, 36, 37.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from contracts.drift import Distribution, DriftEvaluation, Mix, Moved, QualityEstimate, ScoredAgain
from contracts.policy import Task
from contracts.verdict import Value
from pages.environment import template
from pages.figures import PERCENT, Scale, many, moment, plain, slice_name
from pages.figures import scale as metric_scale
from pages.plots.axis import Axis, axis

WORDS = {
    "nothing": ("nothing moved", "pass"),
    "ticket": ("a ticket is due", "inconclusive"),
    "propose_slice": ("a pack lacks a slice", "inconclusive"),
    "propose_pack": ("a pack is missing", "inconclusive"),
    "page": ("page somebody", "fail"),
    "recommend_rollback": ("rollback recommended", "fail"),
}
_CAUSES = {
    "none": "Nothing points at a change.",
    "population": "The population changed: what could be checked of our own is as it was, traffic is not.",
    "pipeline": "The pipeline changed: something of our own is not as it was promised.",
    "bundle": "The answers of the stable bundle changed; traffic, and what could be checked of our own, did not.",
}
_CHECKS = {True: ("as promised", "pass"), False: ("differs", "fail"), None: ("cannot be seen", "none")}
_CHARTS = 6
"""Findings that are drawn; the table has all."""
_SAME = {True: ("equal", "pass"), False: ("differs", "fail"), None: ("not measured", "none")}
_VALUES = 12
"""Values of a mix that are shown, the most different first."""


class Row(NamedTuple):
    """One finding as a row of the table."""

    says: str
    slice: str
    since: str
    change: str
    interval: str
    sure: str
    sessions: str
    worse: bool


class ScoreRow(NamedTuple):
    """One metric on one slice, when stable was released and now."""

    says: str
    pack: str
    slice: str
    released: str
    measured: str
    change: str
    same: tuple[str, str]


class Bar(NamedTuple):
    """A bin of two distributions: place and width, and both heights, in percent."""

    x: float
    width: float
    reference: float
    now: float


class Chart(NamedTuple):
    """A finding drawn: its windows beside what the season lets expect, and its two distributions."""

    title: str
    y_unit: str
    across: Axis
    up: Axis
    value: str
    expected: str
    began: float
    bars: tuple[Bar, ...]
    over: Axis | None
    unit: str


class MixRow(NamedTuple):
    """A value of traffic beside the packs, shares in percent."""

    value: str
    traffic: float
    packs: float


def render(evaluation: DriftEvaluation) -> str:
    """The page as a whole HTML document."""
    word, kind = _word(evaluation)
    equal = len(evaluation.scores) - len(_told(evaluation.scores))
    drawn = sorted(evaluation.moved, key=lambda one: -one.evidence)[:_CHARTS]
    return template("drift/page.html.j2").render(
        word=word,
        kind=kind,
        one=evaluation,
        at=moment(evaluation.at),
        cause=_CAUSES[evaluation.cause],
        rows=tuple(_row(moved) for moved in evaluation.moved),
        charts=tuple(_chart(moved) for moved in drawn),
        scores=_score_rows(evaluation.scores),
        equal=many(equal, "figure") if equal else "",
        checks=tuple((check, *_CHECKS[check.same]) for check in evaluation.checks),
        mixes=tuple((mix, _mix_rows(mix)) for mix in evaluation.coverage.mixes),
        quality=quality_in_words(evaluation.quality, evaluation.task) if evaluation.quality else "",
        unknown=evaluation.quality_unknown,
        watched=_watched(evaluation),
    )


def markdown(evaluation: DriftEvaluation) -> str:
    """The same in short, for a Prefect artifact."""
    word, _ = _word(evaluation)
    lines = [f"**{word}**: {_CAUSES[evaluation.cause]}", ""]
    lines += [f"- {_cell(plain(reason))}" for reason in evaluation.verdict.reasons]
    if evaluation.moved:
        lines += ["", "| what | slice | since | change | 95% |", "|---|---|---|---|---|"]
        rows = (_row(moved) for moved in evaluation.moved)
        lines += [
            f"| {_cell(row.says)} | {_cell(row.slice)} | {row.since} | {row.change} | {row.interval} |" for row in rows
        ]
    lines += _decided(evaluation)
    if evaluation.quality:
        lines += ["", quality_in_words(evaluation.quality, evaluation.task)]
    return "\n".join([*lines, "", _watched(evaluation), ""])


def _decided(evaluation: DriftEvaluation) -> list[str]:
    """The rollback and the files that are ready, as lines of Markdown."""
    lines = []
    if back := evaluation.rollback:
        against = plain("; ".join(back.refusals))
        said = "the drift flow starts it" if back.starts else f"not started by itself: {against}"
        lines += ["", f"Rollback to {plain(back.version) or 'nothing'}, signed by {plain(back.key)}: {_cell(said)}"]
    if evaluation.changes:
        lines += ["", *(f"- ready: change/{plain(one.name)}, for {plain(one.place)}" for one in evaluation.changes)]
    return lines


def quality_in_words(quality: QualityEstimate, task: Task) -> str:
    """The estimate without labels, with what it is worth."""
    right = "got their right class" if task == "classification" else "were heard exactly"
    said = (
        f"By confidence alone, {quality.estimate:.1%} of {many(quality.requests, 'utterance')} {right} "
        f"(between {quality.lower:.1%} and {quality.upper:.1%})"
    )
    if quality.change is not None and quality.change_lower is not None and quality.change_upper is not None:
        said += (
            f"; {100 * quality.change:+.1f} points against the reference "
            f"[{100 * quality.change_lower:+.1f}, {100 * quality.change_upper:+.1f}]"
        )
    return f"{said}. {quality.unsupported:.1%} have a confidence that no pack has."


def _word(evaluation: DriftEvaluation) -> tuple[str, str]:
    if evaluation.outcome == "nothing" and evaluation.verdict.value != Value.PASS:
        return "inconclusive", "inconclusive"
    if evaluation.outcome == "nothing" and not evaluation.watch.streams:
        return "too early to say", "none"
    return WORDS[evaluation.outcome]


def _watched(evaluation: DriftEvaluation) -> str:
    watch = evaluation.watch
    if not watch.streams:
        waits = "; ".join(watch.waiting) or "no telemetry"
        return f"Traffic is not compared yet ({waits})."
    return (
        f"{many(watch.streams, 'stream')} (signal and slice) in windows of {watch.window_h} h, "
        f"{many(watch.windows, 'window')} after the reference; each alarms at evidence {watch.alarm_at:,.0f}, so that "
        f"all together have at most {watch.false_alarms_per_year:g} false "
        f"alarm{'s' if watch.false_alarms_per_year != 1 else ''} a year."
    )


def _cell(text: str) -> str:
    return text.replace("|", "/")


def _scale(one: Moved) -> Scale:
    return PERCENT if one.unit == "share" else Scale(one.signal, unit=f" {one.unit}", points=one.unit, decimals=2)


def _row(one: Moved) -> Row:
    scale = _scale(one)
    return Row(
        says=plain(one.says),
        slice="all traffic" if one.slice == "overall" else slice_name(one.slice),
        since=_day(one.since_s),
        change=f"{scale.value(one.before)} -> {scale.value(one.now)}",
        interval=f"{scale.difference(one.change)} {scale.interval(one.lower, one.upper)} {scale.points}".strip(),
        sure=f"{one.evidence / one.alarm_at:,.0f} x" if one.evidence < 1e6 * one.alarm_at else "over a million x",
        sessions=f"{one.sessions:,}",
        worse=one.worse,
    )


def _told(scores: Sequence[ScoredAgain]) -> list[ScoredAgain]:
    """What the table of scores shows: whole packs, and every slice that is not as it was."""
    return [one for one in scores if one.slice == "overall" or not one.same]


def _score_rows(scores: Sequence[ScoredAgain]) -> tuple[ScoreRow, ...]:
    return tuple(
        ScoreRow(
            says=(how := _exact(metric_scale(one.metric))).label,
            pack=plain(one.pack),
            slice="whole pack" if one.slice == "overall" else slice_name(one.slice),
            released=how.value(one.released.rate),
            measured=how.value(one.measured.rate) if one.measured else "none",
            change="" if one.same or one.difference is None
            else f"{how.difference(one.difference)} {how.interval(one.lower, one.upper)} {how.points}".strip(),
            same=_SAME[one.same],
        )
        for one in _told(scores)
    )  # fmt: skip


def _exact(how: Scale) -> Scale:
    """With the decimals that a small change of the environment needs."""
    return how._replace(decimals=max(how.decimals, 2))


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")


def _chart(one: Moved) -> Chart:
    scale = _scale(one)
    times = [point.at_s for point in one.series]
    first, last = times[0], max(times[-1], times[0] + 1)
    days = Scale("day", decimals=0)
    across = axis([0.0, (last - first) / 86_400], days, signed=False)
    up, base = _range([value for point in one.series for value in (point.value, point.expected)], scale)
    return Chart(
        title=f"{plain(one.says)}, {'all traffic' if one.slice == 'overall' else slice_name(one.slice)}",
        y_unit=scale.unit.strip() or one.unit,
        across=across,
        up=up,
        value=_path((across.at((point.at_s - first) / 86_400), up.up(point.value - base)) for point in one.series),
        expected=_path(
            (across.at((point.at_s - first) / 86_400), up.up(point.expected - base)) for point in one.series
        ),
        began=across.at((one.since_s - first) / 86_400),
        bars=_bars(one.distribution) if one.distribution else (),
        over=axis(one.distribution.edges, Scale("", decimals=1), signed=False) if one.distribution else None,
        unit=one.distribution.unit if one.distribution else one.unit,
    )


def _range(values: Sequence[float], scale: Scale) -> tuple[Axis, float]:
    """An axis of these values that need not hold 0, and the value that it begins with."""
    low, spread = min(values), max(max(values) - min(values), 1e-6)
    step = 10.0 ** math.floor(math.log10(spread))
    base = math.floor(low / step) * step
    return axis([value - base for value in values], scale, signed=False, read=lambda place: place + base), base


def _path(places: Iterable[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in places)


def _bars(drawn: Distribution) -> tuple[Bar, ...]:
    over = axis(drawn.edges, Scale("", decimals=1), signed=False)
    top = max(*drawn.reference, *drawn.now, 1e-9)
    pairs = zip(drawn.edges, drawn.edges[1:], drawn.reference, drawn.now, strict=False)
    return tuple(
        Bar(over.at(low), round(over.at(high) - over.at(low), 3), round(96 * before / top, 3), round(96 * now / top, 3))
        for low, high, before, now in pairs
    )


def _mix_rows(mix: Mix) -> Sequence[MixRow]:
    values = {*mix.traffic, *mix.packs}
    rows = [MixRow(plain(name), 100 * mix.traffic.get(name, 0.0), 100 * mix.packs.get(name, 0.0)) for name in values]
    return sorted(rows, key=lambda row: (-abs(row.traffic - row.packs), row.value))[:_VALUES]
