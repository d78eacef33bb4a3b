"""Canary evidence over sessions: how far each (slice, metric) has come to its decision, either way.

Boundary: no I/O, no markup: places are percentages of a plot's width and height.
Invariants: an e-value is drawn by its logarithm as a share of its bar's, so that bars of different height are one line
(100% decides, whichever way); evidence against a side (e below 1) is drawn as none, a decided one just above its bar.
Source: pages.md (canary evidence over sessions with the decision boundary); statistics U6 (e-processes).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from contracts.policy import CanaryPlan
from contracts.reports import Look, SliceEvidence
from pages.comparing import canary_scale
from pages.figures import Scale, slice_name
from pages.plots.axis import Axis, axis

Side = Literal["worse", "fine"]

TOP = 1.15
"""Where a plot ends, as a share of the bar."""
_SESSIONS = Scale("canary sessions", decimals=0)


class Trace(NamedTuple):
    """One side of a pair: SVG path data in a box of 100 x 100, and how far it had come at each look (1 decides)."""

    side: Side
    path: str
    shares: tuple[float, ...]
    said: str

    @property
    def share(self) -> float:
        """How far it has come."""
        return self.shares[-1]


class Track(NamedTuple):
    """One (slice, metric): both sides over canary sessions; `bar` is the boundary's place from the top."""

    slice: str
    exact: str
    metric: str
    axis: Axis
    bar: float
    traces: tuple[Trace, ...]
    state: Literal["worse", "fine", "undecided"]


def tracks(
    looks: Sequence[Look],
    *,
    alpha: float,
    plan: CanaryPlan | None = None,
    evidence: Sequence[SliceEvidence] = (),
) -> tuple[Track, ...]:
    """A track a pair of the looks, what is worse first, then what is furthest from being settled.

    Args:
        looks: in time order; keys of e-values are `slice metric`.
        alpha: a pair is not worse from an e-value of `1 / alpha` on.
        plan: what a quantile metric's budget is, for its name.
        evidence: the judge's own at the last look: at which e-value a pair is worse (else `pairs / alpha`, Bonferroni),
            and what is decided, which may have been between two looks.
    """
    keys = sorted({key for look in looks for key in (*look.e_worse, *look.e_fine)})
    said = {f"{row.slice} {row.metric}": row for row in evidence}
    drawn = axis([float(look.canary_sessions) for look in looks], _SESSIONS, signed=False, wanted=4)
    made = [_track(key, looks, drawn, (len(keys) / alpha, 1 / alpha), said.get(key), plan) for key in keys]
    return tuple(sorted(made, key=_order))


def _order(track: Track) -> tuple[float, float, str]:
    shares = {trace.side: trace.share for trace in track.traces}
    return (-shares.get("worse", 1.0) if track.state == "worse" else 0.0, shares.get("fine", 0.0), track.exact)


def _track(
    key: str, looks: Sequence[Look], drawn: Axis, bars: tuple[float, float], said: SliceEvidence | None,
    plan: CanaryPlan | None,
) -> Track:  # fmt: skip
    exact, _, metric = key.rpartition(" ")
    worse = said.worse_at if said and said.worse_at else bars[0]
    against = [(look.canary_sessions, look.e_worse[key]) for look in looks if key in look.e_worse]
    for_it = [(look.canary_sessions, look.e_fine[key]) for look in looks if key in look.e_fine]
    traces = (_trace("worse", against, worse, drawn), _trace("fine", for_it, bars[1], drawn))
    known = tuple(trace for trace in traces if trace is not None)
    decided: list[Side] = [trace.side for trace in known if max(trace.shares) >= 1]
    if said and said.state in ("worse", "fine"):
        decided = ["worse" if said.state == "worse" else "fine"]
    return Track(
        slice=slice_name(exact),
        exact=exact,
        metric=canary_scale(metric, plan).label,
        axis=drawn,
        bar=_up(1.0),
        traces=known,
        state=decided[0] if decided else "undecided",
    )


def share(e_value: float, bar: float) -> float:
    """How far an e-value has come to its bar, on the logarithm: 0 at 1 and below, 1 at the bar."""
    return max(0.0, math.log(e_value) / math.log(bar)) if e_value > 0 else 0.0


def _trace(side: Side, points: Iterable[tuple[int, float]], bar: float, drawn: Axis) -> Trace | None:
    placed = [(drawn.at(sessions), share(value, bar), value) for sessions, value in points]
    if not placed:
        return None
    value = placed[-1][2]
    name = "worse" if side == "worse" else "not worse"
    path = "M" + "L".join(f"{x:g} {_up(height):g}" for x, height, _ in placed)
    return Trace(side, path, tuple(height for _, height, _ in placed), f"{name}: e {_number(value)} of {_number(bar)}")


def _up(height: float) -> float:
    return round(100 * (1 - min(height, TOP) / TOP), 3)


def _number(value: float) -> str:
    """An e-value as people say it: below 0.01, 7.4, 120, over a million."""
    if value >= 1e6:
        return "over a million"
    if value < 0.01:
        return "below 0.01"
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}"
