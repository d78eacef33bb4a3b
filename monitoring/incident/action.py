"""What to do first: continue, pause, partial rollback, rollback or degrade; one rule each, the first that fits.

Boundary: pure. Source: coverage 41 and 43 (lab 2 of the incident drills), 29; release-algorithm R7.4, R7.6.
Invariants: harm to users goes over every gain; what is not known never reads as fine; a bundle is blamed only where it
is new since the baseline, or is a canary that is worse than stable; slices are moved alone only where requests can be
routed by them and nothing is left over budget without them.

A1 an answer had a private run: rollback at once.
A2 work waits, and not because a new bundle takes longer: degrade; taking a release back would not make room.
A3 confirmed regressions of a bundle that can be taken back: where at most MAX_PARTIAL_SLICES slices that can be routed
   explain them all, partial rollback; else rollback.
A4 the error budget burns at the rate that pages, and a release came since the baseline: rollback.
A5 confirmed harm, or a burning budget, without a bundle to blame: where callers ask for more (longer, or again) pause,
   and cap them: nothing of ours made it; else degrade where callers wait for a slow server, else pause.
A6 telemetry is missing, slices have no baseline, or three or more suspicions: pause.
A7 nothing of this: continue.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from contracts.incident import Action, Cost, Factor, Impact, Localised, Regression, Saturation
from monitoring.incident.naming import OVERALL

PAGE_BURN = 14.4
"""Burn rate that pages somebody (serving/objectives.py says the same of its short window)."""
SLOWER = 0.2
"""Share by which inference must have grown for a queue to be the model's doing."""
DEMAND: Mapping[Factor, str] = {
    "attempts_per_turn": "cap how often a key may ask (serving.rate) and have the client's retries stopped",
    "audio_s_per_turn": "cap what a turn may send, and have the client that sends more looked at",
}
"""Factors of the cost that callers decide on, and what holds them back."""
WAITING = frozenset({"failure_rate", "slow_rate", "tail_rate", "late_partial_rate", "abandonment_rate"})
"""Harms that serving less makes smaller; where none of them is confirmed, a stage that grew is no reason to degrade."""
MOSTLY_BATCH = 0.5
"""Share of the waiting from which on batch work is what to hold back."""


class Situation(NamedTuple):
    """All that a recommendation is made from.

    Attributes:
        is_canary: the blamed bundle is a canary.
        can_take_back: it is one, or it is new and there is a bundle to return to.
        explaining: routable slices without which nothing is over budget, () where there are no such few.
        requests: that the window has.
        many_suspicions, fewest_saturated: as in IncidentSettings.
    """

    impact: Impact
    regressions: Sequence[Regression]
    saturation: Saturation
    localised: Localised
    cost: Cost
    is_canary: bool
    can_take_back: bool
    explaining: Sequence[str]
    requests: int
    many_suspicions: int
    fewest_saturated: int


class Advice(NamedTuple):
    """What to do first, why, and for a partial rollback the slices."""

    action: Action
    reason: str
    slices: tuple[str, ...] = ()


def recommend(now: Situation) -> Advice:
    """The first action, by rules A1 to A7."""
    private = now.impact.harms.get("private", 0)
    if private:  # A1
        return Advice("rollback", f"A1: {_many(private, 'answer')} had a private run; none may")
    if len(now.saturation.minutes) >= now.fewest_saturated and not _slower_model(now):  # A2
        return Advice("degrade", _overloaded(now.saturation))
    confirmed = [one for one in now.regressions if one.confirmed]
    burning = {name: rate for name, rate in now.impact.burn.items() if rate >= PAGE_BURN}
    said = ", ".join(f"the {name} budget burns {rate:.1f} times too fast" for name, rate in sorted(burning.items()))
    if now.can_take_back and confirmed:  # A3
        return _take_back(now, confirmed)
    if now.can_take_back and burning:  # A4
        return Advice("rollback", f"A4: {said}, and the bundle is new")
    if confirmed or burning:
        waits = bool(burning) or any(one.metric in WAITING for one in confirmed)
        return _without_culprit(now, said or f"{confirmed[0].metric} of {confirmed[0].slice} is over its budget", waits)
    return _unsure(now)


def _overloaded(found: Saturation) -> str:
    said = (
        f"A2: work waited in {len(found.minutes)} of {found.watched} minutes: demand is over what the workers can do, "
        "and another bundle would make no room"
    )
    if found.batch_share < MOSTLY_BATCH:
        return said
    return f"{said}; {found.batch_share:.0%} of the waiting is batch work: route it apart, or hold it back first"


def _slower_model(now: Situation) -> bool:
    """Whether the queue is the blamed bundle's doing: it takes longer for a request."""
    grown = (
        stage.confirmed and stage.growth_ms > SLOWER * stage.before_ms
        for stage in now.localised.stages
        if stage.stage == "inference"
    )
    return now.is_canary or (now.can_take_back and any(grown))


def _take_back(now: Situation, confirmed: Sequence[Regression]) -> Advice:
    worst = confirmed[0]
    said = f"A3: {worst.metric} of {worst.slice} is worse than its own baseline by more than its budget"
    if now.is_canary:
        return Advice("rollback", f"{said}; a canary is taken off whole: it can begin again")
    if now.explaining:
        alone = " and ".join(now.explaining)
        return Advice("partial_rollback", f"{said}; without {alone} nothing is over budget", tuple(now.explaining))
    slices = len({one.slice for one in confirmed if one.slice != OVERALL})
    hurt = f"{_many(slices, 'slice')} over budget, and no few of them explain it" if slices else "the whole is hurt"
    return Advice("rollback", f"{said}; {hurt}")


def _without_culprit(now: Situation, what: str, waits: bool) -> Advice:  # A5
    if now.cost.driver is not None and now.cost.driver in DEMAND:
        return Advice("pause", f"A5: {what}, and no release is to blame: {now.cost.cause}; {DEMAND[now.cost.driver]}")
    if waits and now.localised.stage in ("queue", "inference"):
        return Advice("degrade", f"A5: {what}, no release is to blame; the time goes into {now.localised.stage}")
    return Advice("pause", f"A5: {what}, and no release is to blame: forbid promotions and look further")


def _unsure(now: Situation) -> Advice:  # A6, A7
    missing = sum(one.severity is None for one in now.regressions)
    suspected = sum(one.severity is not None for one in now.regressions)
    reasons = []
    if not now.requests:
        reasons.append("there is no telemetry in the window")
    elif now.saturation.missing:
        reasons.append(f"{_many(now.saturation.missing, 'minute')} have no telemetry")
    if missing:
        reasons.append(f"{_many(missing, 'comparison')} lack a baseline or a value")
    if suspected >= now.many_suspicions:
        reasons.append(f"{suspected} metrics are suspected to be over budget")
    if reasons:
        return Advice("pause", "A6: " + "; ".join(reasons))
    return Advice("continue", "A7: no harm was found and nothing is missing; watch on")


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
