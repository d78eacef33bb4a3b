"""The whole investigation of one table of telemetry: impact, regressions, stage, saturation, cost, candidates, action.

Boundary: pure; the rows, the thresholds and the time come in.
Invariants: while a canary runs beside stable, it is compared with stable and stable with the time before; a bundle is
blamed only where it is new; every sentence is made of counts, rates, versions and safe slice names.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from contracts.digest import Digest, short
from contracts.incident import Candidate, Cost, Impact, Localised, Regression, Saturation
from contracts.incident_settings import IncidentSettings, MetricBudget
from monitoring.canary import MAX_PARTIAL_SLICES
from monitoring.incident.action import Advice, Situation, recommend
from monitoring.incident.candidates import weigh_candidates
from monitoring.incident.cost import diagnose, rank_routes
from monitoring.incident.impact import impact
from monitoring.incident.localise import localise
from monitoring.incident.naming import OVERALL, Names
from monitoring.incident.ranking import rank
from monitoring.incident.saturation import detect, minutes_of
from monitoring.incident.tallies import Cells, Table, Tallies, cells_of, prepare, tally, without

if TYPE_CHECKING:
    import pandas as pd

SHOWN = 25
"""Regressions of a packet, the worst first."""
COST_LABELS = ("cascade", "priority", "mode")
"""Labels whose values are routes that cost differently."""


class Question(NamedTuple):
    """What is asked of the telemetry.

    Attributes:
        since_s, until_s: the window (s since the epoch).
        slow_ms: from where an answer is slow; None: nothing is promised.
        allowed: by objective, the share of requests that may be bad.
        settings: the family's; `budgets`, the family's own margins over those of the settings.
        stable, canary: what is routed; `new`: whether stable came since the baseline began, and a bundle to return to
            is there.
        versions: names of bundles; weights: of critical slices; routable: labels that requests can be routed by.
        growth_threshold: requests that the queue must grow by in a minute.
    """

    since_s: float
    until_s: float
    names: Names
    stable: Digest | None
    canary: Digest | None
    new: bool
    versions: Mapping[Digest, str]
    slow_ms: float | None
    allowed: Mapping[str, float]
    weights: Mapping[str, float]
    routable: Collection[str]
    growth_threshold: float
    settings: IncidentSettings
    budgets: Mapping[str, MetricBudget]


class Findings(NamedTuple):
    """What was found."""

    impact: Impact
    regressions: tuple[Regression, ...]
    localised: Localised
    saturation: Saturation
    cost: Cost
    candidates: tuple[Candidate, ...]
    advice: Advice
    blames_canary: bool
    facts: tuple[str, ...]
    hypotheses: tuple[str, ...]


def investigate(rows: pd.DataFrame, asked: Question) -> Findings:
    """Everything that one table of telemetry (columns tallies.COLUMNS) says about the window."""
    table = prepare(rows, since_s=asked.since_s, slow_ms=asked.slow_ms, ask_again_s=asked.settings.ask_again_s)
    cells, smallest = cells_of(table), asked.settings.smallest_group
    tallies = tally(cells, asked.names.slice, smallest=smallest)
    known = {*asked.versions, *(one for one in (asked.stable, asked.canary) if one)}
    hurt = impact(table, asked.names.slice, smallest=smallest, allowed=asked.allowed, bundles=known)
    regressions, guilty = _regressions(tallies, asked)
    is_canary = guilty or _only_canary_is_private(table)
    whole_before, whole_now = tallies["before"].get(OVERALL, {}), tallies["stable"].get(OVERALL, {})
    if guilty:
        whole_before, whole_now = whole_now, tallies["canary"].get(OVERALL, {})
    where = localise(whole_before, whole_now)
    minutes, watched = minutes_of(table, since_s=asked.since_s, until_s=asked.until_s)
    saturation = detect(
        minutes, growth_threshold=asked.growth_threshold, watched=watched,
        p95_threshold_ms=asked.slow_ms if asked.slow_ms is not None else _slow(table),
    )  # fmt: skip
    routes = rank_routes(_routes(table, asked), dearer=asked.settings.dearer)
    cost = diagnose(whole_before or None, whole_now or None, routes, changed=asked.settings.cost_changed)
    explaining = _explaining(cells, regressions, asked) if asked.new and not guilty else ()
    advice = recommend(
        Situation(
            impact=hurt, regressions=regressions, saturation=saturation, localised=where, cost=cost,
            is_canary=is_canary, can_take_back=is_canary or asked.new, explaining=explaining,
            requests=hurt.whole.requests, many_suspicions=asked.settings.many_suspicions,
            fewest_saturated=asked.settings.fewest_saturated,
        )
    )  # fmt: skip
    candidates = weigh_candidates(regressions, asked.weights, asked.versions)
    facts, hypotheses = _sentences(hurt, regressions, where, saturation, cost, asked)
    if explaining:
        facts += (f"without {' and '.join(explaining)} nothing is over its budget",)
    return Findings(
        hurt, regressions[:SHOWN], where, saturation, cost, candidates, advice, is_canary, facts, hypotheses
    )


def _explaining(cells: Cells, regressions: Sequence[Regression], asked: Question) -> tuple[str, ...]:
    """At most MAX_PARTIAL_SLICES routable slices without which nothing is over budget; () where there are none.

    One bad slice makes every slice that shares requests with it look worse, and the whole too.
    """
    found: tuple[str, ...] = ()
    confirmed = [one for one in regressions if one.confirmed]
    while confirmed and len(found) < MAX_PARTIAL_SLICES:
        routable = (one.slice for one in confirmed if one.slice.partition("=")[0] in asked.routable)
        worst = next(routable, None)
        if worst is None:
            return ()
        found = (*found, worst)
        others = without(cells, asked.names.slice, found)
        rest = tally(others, asked.names.slice, smallest=asked.settings.smallest_group)
        if not rest["stable"] and not rest["canary"]:
            return ()  # the slice is all the traffic there is
        confirmed = [one for one in _regressions(rest, asked)[0] if one.confirmed]
    return () if confirmed else found


def _only_canary_is_private(table: Table) -> bool:
    private = table.measures["privacy_rate"][0] > 0
    return bool(private[table.side == 2].any()) and not bool(private[table.side == 1].any())


def _slow(table: Table) -> float:
    latency = table.rows["latency_ms"].to_numpy()[table.side == 0]
    return float(np.quantile(latency, 0.95)) if len(latency) else float(2**53)


def _regressions(tallies: Tallies, asked: Question) -> tuple[tuple[Regression, ...], bool]:
    """Those of a canary where it has confirmed ones, then stable's against the time before."""
    stable = tallies["stable"]
    blamed = asked.stable if asked.new else None
    budgets = {name: budget for name, budget in asked.budgets.items() if asked.slow_ms or name != "slow_rate"}
    ranked = partial(
        rank, budgets=budgets, alpha=asked.settings.alpha, fewest_sessions=asked.settings.fewest_sessions
    )  # fmt: skip
    own = ranked(tallies["before"], stable, bundle=blamed, against="before")
    if asked.canary is None or not tallies["canary"]:
        return tuple(own), False
    canary = ranked(stable, tallies["canary"], bundle=asked.canary, against="stable")
    guilty = any(one.confirmed for one in canary)
    return tuple(canary + own if guilty else own + canary), guilty


def _routes(table: Table, asked: Question) -> dict[str, tuple[int, int, float]]:
    """Turns, successes and dollars of each bundle, and of each value of the labels that cost differently."""
    now = table.now()
    success, turn = table.measures["success_rate"]
    usd = table.measures["cost_usd"][0]

    def measured(inside: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> tuple[int, int, float]:
        return int(turn[inside].sum()), int(success[inside].sum()), float(usd[inside].sum())

    routes = {}
    for bundle in (one for one in (asked.stable, asked.canary) if one):
        inside = now & (table.rows["bundle"] == bundle).to_numpy(dtype=bool)
        if len(np.unique(table.session[inside])) >= asked.settings.smallest_group:
            routes[f"bundle {asked.versions.get(bundle, '')} {short(bundle)}".replace("  ", " ")] = measured(inside)
    for label in COST_LABELS:
        codes, values = table.labels[label]
        for place, value in enumerate(values):
            inside = now & (codes == place)
            sessions = len(np.unique(table.session[inside])) if inside.any() else 0
            if sessions >= asked.settings.smallest_group and value != "none":
                routes[asked.names.slice(label, value)] = measured(inside)
    return routes


# ---- sentences ------------------------------------------------------------------------------------------------------
def _sentences(
    hurt: Impact, regressions: tuple[Regression, ...], where: Localised, saturation: Saturation, cost: Cost,
    asked: Question,
) -> tuple[tuple[str, ...], tuple[str, ...]]:  # fmt: skip
    whole = hurt.whole
    facts = [
        f"{whole.harmed_requests:,} of {whole.requests:,} requests and {whole.harmed_sessions:,} of {whole.sessions:,} "
        "sessions were harmed"
    ]
    if whole.latency_ms and hurt.before:
        facts.append(f"p95 latency was {hurt.before.p95:.0f} ms and is {whole.latency_ms.p95:.0f} ms")
    facts += [f"the {name} budget burns {rate:.1f} times too fast" for name, rate in hurt.burn.items() if rate > 1]
    facts += [_said(one, asked) for one in regressions if one.confirmed][:8]
    if saturation.minutes:
        batch = f", {saturation.batch_share:.0%} of it batch work" if saturation.batch_share else ""
        facts.append(f"work waited in {len(saturation.minutes)} of {saturation.watched} minutes{batch}")
    if saturation.missing:
        facts.append(f"{saturation.missing} of {saturation.watched} minutes have no telemetry")
    if where.stage and where.stage != "client":
        facts.append(f"the time went into {where.because}")
    if cost.times is not None and cost.times >= asked.settings.cost_changed:
        facts.append(f"a successful turn costs {cost.times:.2f} times what it did")
    hypotheses = [_said(one, asked) for one in regressions if one.severity is not None and not one.confirmed][:8]
    if cost.cause:
        hypotheses.append(f"the cost: {cost.cause}")
    if where.stage == "client":
        hypotheses.append(where.because)
    missing = [one for one in regressions if one.severity is None]
    if missing:
        hypotheses.append(
            f"nothing vouches for {len(missing)} comparisons without a baseline or a value, {missing[0].slice} first"
        )
    if asked.new and any(one.confirmed and one.against == "before" for one in regressions):
        hypotheses.append(
            "the bundle that became stable since the baseline began is the cause; known is only that it is new"
        )
    return tuple(facts), tuple(hypotheses)


def _said(one: Regression, asked: Question) -> str:
    who = "" if one.against == "before" else f"canary {asked.versions.get(one.bundle or '', '')}: ".replace(" :", ":")
    if one.severity is None or one.baseline is None or one.value is None:
        return f"{who}{one.slice}: {one.problem.replace('_', ' ')} {one.metric}".rstrip()
    return (
        f"{who}{one.metric.replace('_', ' ')} of {one.slice} went from {one.baseline:.4g} to {one.value:.4g} "
        f"(worse by [{one.lower:.3g}, {one.upper:.3g}], {one.allowed:.3g} allowed)"
    )
