"""What a successful turn costs, which routes are dear without being better, and what made the cost change.

Boundary: pure. Source: coverage 39 (lab 2 of the serving runbook).
Method: usd per success = turns per success x attempts per turn x audio seconds per request x usd per second of audio
and attempt; the four ratios of now over before multiply to the change, the largest is its cause. Attempts are the
requests of a turn (turns.py) and what the server heard again by itself.
Invariants: the denominator is successful turns, never all turns; a route without a success has no finite cost and ranks
first; a dear route is flagged only where its success rate does not match.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from contracts.incident import Cost, CostFactor, Factor, RouteCost
from monitoring.incident.tallies import Tally

GAIN = 0.02
"""Success rate by which a dear route must be better than the cheapest to be worth it."""
FEWEST_SUCCESSES = 10
"""A route with fewer successes is no yardstick for others."""
CAUSES: Mapping[Factor, str] = {
    "turns_per_success": "more turns fail or are corrected, and are paid for all the same",
    "attempts_per_turn": "the same recordings are asked again: retries",
    "audio_s_per_turn": "turns are longer: there is more to hear in each",
    "usd_per_audio_s": "a second of audio costs more: smaller batches, a larger model, or a dearer machine",
}


def rank_routes(routes: Mapping[str, tuple[int, int, float]], *, dearer: float) -> tuple[RouteCost, ...]:
    """Routes by cost per success, dearest first; `routes`: name -> (turns, successes, US dollars).

    A route is dear from `dearer` times the cheapest on.

    >>> [one.route for one in rank_routes({"a": (10, 10, 1.0), "b": (10, 0, 1.0)}, dearer=1.3)]
    ['b', 'a']
    """
    priced = {name: usd / successes if successes else math.inf for name, (_, successes, usd) in routes.items()}
    measured = [name for name, (_, successes, _) in routes.items() if successes >= FEWEST_SUCCESSES]
    cheapest = min(measured, key=lambda name: priced[name], default=None)

    def success(name: str) -> float:
        turns, successes, _ = routes[name]
        return successes / turns if turns else 0.0

    def flagged(name: str) -> bool:
        if cheapest is None or name == cheapest or not routes[name][0]:
            return False
        dear = priced[name] > dearer * priced[cheapest]
        return dear and success(name) < success(cheapest) + GAIN

    ordered = sorted(routes, key=lambda name: (-priced[name], name))
    return tuple(
        RouteCost(
            route=name, turns=routes[name][0], successes=routes[name][1], cost_usd=routes[name][2],
            usd_per_success=priced[name] if math.isfinite(priced[name]) else None, flagged=flagged(name),
        )
        for name in ordered
    )  # fmt: skip


def diagnose(
    before: Mapping[str, Tally] | None,
    now: Mapping[str, Tally] | None,
    routes: Sequence[RouteCost] = (),
    *,
    changed: float,
) -> Cost:
    """What changed the cost of a successful turn between two sides; a cause is named from `changed` times on."""
    was, after = _factors(before), _factors(now)
    old, new = _product(was), _product(after)
    if not was or not after or old is None or new is None or not old:
        return Cost(routes=tuple(routes), before_usd=old, now_usd=new, cause="there is no cost to compare with")
    factors = tuple(
        CostFactor.model_validate(
            {"factor": name, "before": was[name], "now": after[name], "times": after[name] / was[name]}
        )
        for name in was
        if was[name] > 0
    )
    largest = max(factors, key=lambda one: one.times)
    times = new / old
    driver = largest.factor if times >= changed and largest.times > 1 else None
    return Cost(
        routes=tuple(routes), before_usd=old, now_usd=new, times=times, factors=factors, driver=driver,
        cause=CAUSES[driver] if driver else "",
    )  # fmt: skip


def _factors(tallies: Mapping[str, Tally] | None) -> dict[str, float]:
    if tallies is None:
        return {}
    turns, usd = tallies["cost_usd"].denominator, tallies["cost_usd"].numerator
    successes, attempts = tallies["success_rate"].numerator, tallies["attempts"].numerator
    audio_s, requests = tallies["audio_s"].numerator, tallies["audio_s"].denominator
    if not (turns and successes and attempts and audio_s):
        return {}
    return {
        "turns_per_success": turns / successes,
        "attempts_per_turn": attempts / turns,
        "audio_s_per_turn": audio_s / requests,
        "usd_per_audio_s": usd * requests / (audio_s * attempts),
    }


def _product(factors: Mapping[str, float]) -> float | None:
    return math.prod(factors.values()) if factors else None
