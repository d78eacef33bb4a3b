"""The capacity page: what a first response is spent on, stage by stage, and how many sessions a core carries.

Boundary: no I/O beyond this room's own templates; a CapacityPlan in, HTML out.
Invariants: every text is escaped; nothing outside the page is loaded and there is no script; both schedules stand on
one axis with the budget; what was assumed looks otherwise than what was measured, and a legend says so.
Source: coverage row 40.
"""

from __future__ import annotations

from typing import NamedTuple

from contracts.capacity import Assumed, CapacityPlan, Schedule, Stage
from pages.environment import template
from pages.figures import Scale, milliseconds
from pages.plots.axis import Axis, axis

_MS = Scale("time", 1, " ms", "ms", 0)
_SESSIONS = Scale("sessions", 1, "", "", 0)
_CURVE = 24
"""Loads that are drawn; the table has those around the budget."""


class Bar(NamedTuple):
    """A stage of the median turn: its place and width in percent of the axis."""

    name: str
    measured: bool
    x: float
    width: float
    took: str
    p95: str
    title: str


class Lane(NamedTuple):
    """A schedule: its bars, the median and p95 of whole turns, and what that means."""

    name: str
    in_use: bool
    bars: tuple[Bar, ...]
    p50: float
    p95: float
    figures: str
    fits: bool
    says: str


class Curve(NamedTuple):
    """p95 of the first response by sessions on one core, as path data in a box of 100 x 100."""

    across: Axis
    up: Axis
    path: str
    budget: float
    carried: float | None


def render(plan: CapacityPlan) -> str:
    """The page as a whole HTML document."""
    ends = [value for one in plan.schedules for value in (one.p95_ms, *(stage.ends_ms for stage in one.stages))]
    drawn = axis([plan.budget_ms, *ends], _MS, signed=False)
    used = next(one for one in plan.schedules if one.in_use)
    fits = used.headroom_ms >= 0
    return template("capacity/page.html.j2").render(
        plan=plan,
        word="fits" if fits else "does not fit",
        kind="pass" if fits else "fail",
        axis=drawn,
        budget=drawn.at(plan.budget_ms),
        budget_said=milliseconds(plan.budget_ms),
        p95_said=milliseconds(used.p95_ms),
        lanes=tuple(_lane(one, drawn) for one in plan.schedules),
        curve=_curve(plan),
        rows=_rows(plan),
        assumed=_assumed(plan.assumed),
        busy=f"{100 * plan.compute_s / plan.turn_s:.1f}%",
    )


def _lane(one: Schedule, drawn: Axis) -> Lane:
    over = one.headroom_ms < 0
    says = (
        f"{milliseconds(-one.headroom_ms)} over the budget at p95"
        if over
        else f"{milliseconds(one.headroom_ms)} left at p95: so much a language model may take until its first sentence"
    )
    wait = one.longest_endpoint_ms
    says += (
        "; no wait for the end of a turn is short enough"
        if wait is None
        else f"; the wait for the end of a turn may be up to {milliseconds(wait)}"
    )
    return Lane(
        name=one.name,
        in_use=one.in_use,
        bars=tuple(_bar(stage, drawn) for stage in one.stages),
        p50=drawn.at(one.p50_ms),
        p95=drawn.at(one.p95_ms),
        figures=f"p50 {milliseconds(one.p50_ms)}, p95 {milliseconds(one.p95_ms)}",
        fits=not over,
        says=says,
    )


def _bar(stage: Stage, drawn: Axis) -> Bar:
    start = drawn.at(stage.starts_ms)
    took = f"{stage.p50_ms:.1f}" if stage.p50_ms < 10 else f"{stage.p50_ms:.0f}"
    tail = f"{stage.p95_ms:.1f}" if stage.p95_ms < 10 else f"{stage.p95_ms:.0f}"
    how = "measured" if stage.measured else "assumed"
    return Bar(
        name=stage.name,
        measured=stage.measured,
        x=start,
        width=round(max(drawn.at(stage.ends_ms) - start, 0.25), 3),
        took=took,
        p95=tail,
        title=f"{stage.name}, {how}: median {took} ms, p95 {tail} ms",
    )


def _curve(plan: CapacityPlan) -> Curve:
    worth = [load for load in plan.loads if load.p95_ms <= 2 * plan.budget_ms] or list(plan.loads[:1])
    step = max(1, len(worth) // _CURVE)
    shown = [*worth[::step], worth[-1]]
    across = axis([load.sessions for load in shown], _SESSIONS, signed=False)
    up = axis([plan.budget_ms, *(load.p95_ms for load in shown)], _MS, signed=False)
    places = (f"{across.at(load.sessions):g} {up.up(load.p95_ms):g}" for load in shown)
    carried = across.at(plan.sessions_per_core) if plan.sessions_per_core else None
    return Curve(across, up, "M" + "L".join(places), up.up(plan.budget_ms), carried)


def _rows(plan: CapacityPlan) -> tuple[tuple[str, str, str], ...]:
    """Sessions, how busy the core is, p95: one session, half of what is carried, that, and the next."""
    carried = plan.sessions_per_core
    wanted = {1, max(1, carried // 2), carried, carried + 1}
    return tuple(
        (f"{load.sessions:,}", f"{100 * load.busy:.0f}%", milliseconds(load.p95_ms))
        for load in plan.loads
        if load.sessions in wanted
    )


def _assumed(assumed: Assumed) -> tuple[tuple[str, str], ...]:
    """What lies outside of the model: its name and value."""
    return (
        ("audio a frame", f"{assumed.frame_ms:g} ms"),
        ("network, one way", f"{assumed.network_ms:g} ms"),
        ("wait for the end of a turn", f"{assumed.endpoint_ms:g} ms"),
        ("playback buffer", f"{assumed.playback_ms:g} ms"),
        ("pause before the next turn", f"{assumed.pause_s:g} s"),
    )
