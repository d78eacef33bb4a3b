"""Cost against quality: where stable and candidate stand, and which way the release moves.

Boundary: no I/O, no markup: places are percentages of a plot's width and height.
Invariants: both axes begin at zero, so that a small saving looks small; left is cheaper; a release without a stable has
one point and no arrow.
Source: pages.md; release-algorithm R4 (cost and quality are judged together).
"""

from __future__ import annotations

from typing import NamedTuple

from contracts.reports import Comparison, ScoreReport, TimingReport
from pages.figures import Scale, plain, scale
from pages.plots.axis import Axis, axis

_USD = Scale("USD an audio hour", decimals=4)


class Point(NamedTuple):
    """One model: its place from left and top, and on which side its name keeps clear of the arrow."""

    arm: str
    x: float
    y: float
    side: str
    title: str


class Move(NamedTuple):
    """An overall rate of one pack, in `unit`, against cost, before and after; `better`: lower or higher rates."""

    pack: str
    metric: str
    across: Axis
    upwards: Axis
    points: tuple[Point, ...]
    unit: str
    better: str


def moves(score: ScoreReport, timing: TimingReport) -> tuple[Move, ...]:
    """One plot a pack with an overall rate against the stable: WER, or where it is not asked the policy's first."""
    packs: dict[str, list[Comparison]] = {}
    for one in score.comparisons:
        if one.slice == "overall" and one.baseline == "stable" and one.candidate.rate is not None:
            packs.setdefault(one.pack, []).append(one)
    wanted = [next((one for one in found if one.metric == "wer"), found[0]) for found in packs.values()]
    return tuple(_move(one, timing) for one in wanted)


def _move(one: Comparison, timing: TimingReport) -> Move:
    label = scale(one.metric)
    arms = (
        ("stable", timing.stable_cost_usd_per_audio_hour, one.stable.rate if one.stable else None),
        ("candidate", timing.cost_usd_per_audio_hour, one.candidate.rate),
    )
    known = [(arm, cost, rate) for arm, cost, rate in arms if cost is not None and rate is not None]
    across = axis([1.4 * cost for _, cost, _ in known], _USD, signed=False, wanted=3)
    upwards = axis([1.15 * rate for _, _, rate in known], label, signed=False, wanted=3)
    right = max(known, key=lambda one: (one[1], one[0] == "stable"))[0]
    points = tuple(
        Point(
            arm=arm,
            x=across.at(cost),
            y=upwards.up(rate),
            side="right" if arm == right else "left",
            title=f"{arm}: {label.label} {label.value(rate)}, {cost:.4f} USD an audio hour",
        )
        for arm, cost, rate in known
    )
    return Move(plain(one.pack), label.label, across, upwards, points, label.unit, one.better)
