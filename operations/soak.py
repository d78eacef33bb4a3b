"""The soak of a staged replay: does memory grow with the requests? (R6.3, coverage row 18)

Boundary: reads /proc of the gateway and its worker; asks through the function it is given.
Invariants: bounded: at most ROUNDS times the requests of the policy; growth that is not bounded by then is
Inconclusive, never a pass. Method: the slope of resident memory over requests by Theil and Sen, whose interval a few
steps of an allocator do not upset; the first WARM_SHARE of the requests fill caches and are left out.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from contracts.policy import StagingPolicy
from contracts.reports import Check, Soak
from contracts.verdict import Value, Verdict

SAMPLES = 40
"""Of memory, in each round."""
ROUNDS = 3
WARM_SHARE = 0.25


def soak(policy: StagingPolicy, ask: Callable[[int], object], memory_mb: Callable[[], float]) -> Soak | None:
    """Ask until the growth is known to be within the budget or over it; None where the policy wants no soak."""
    if not policy.soak_requests:
        return None
    requests, sampled = [0], [memory_mb()]
    step = max(policy.soak_requests // SAMPLES, 1)
    while True:
        began = requests[-1]
        for number in range(began + 1, began + policy.soak_requests + 1):
            ask(number)
            if number % step == 0:
                requests.append(number)
                sampled.append(memory_mb())
        found = growth(requests, sampled)
        settled = found.upper <= policy.max_growth_mb_per_1000 or found.lower > policy.max_growth_mb_per_1000
        if settled or requests[-1] + step > ROUNDS * policy.soak_requests:
            return found


def growth(requests: Sequence[int], sampled_mb: Sequence[float]) -> Soak:
    """The growth of samples (n,) taken after so many requests (n,), n at least 4."""
    from scipy.stats import theilslopes

    first = int(len(requests) * WARM_SHARE)
    slope, _, lower, upper = theilslopes(sampled_mb[first:], requests[first:], alpha=0.95)
    return Soak(
        requests=requests[-1],
        began_mb=sampled_mb[first],
        ended_mb=sampled_mb[-1],
        growth_mb_per_1000=round(float(slope) * 1000, 3),
        lower=round(float(lower) * 1000, 3),
        upper=round(float(upper) * 1000, 3),
    )


def soak_check(found: Soak, budget: float) -> Check:
    """R6.3: over the budget for certain fails, within it for certain passes."""
    value = Value.PASS if found.upper <= budget else Value.FAIL if found.lower > budget else Value.INCONCLUSIVE
    said = (
        f"memory growth over a soak: {found.growth_mb_per_1000:.3g} MB in 1,000 requests "
        f"({found.lower:.3g} to {found.upper:.3g}), budget {budget:.3g}, over {found.requests} requests"
    )
    return Check(name="memory growth over a soak", clause="R6.3", verdict=Verdict(value=value, reasons=(said,)))


def resident_mb(pids: Sequence[int]) -> float:
    """What these processes hold now, in megabytes (10**6 bytes)."""
    pages = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids]
    return sum(pages) * os.sysconf("SC_PAGE_SIZE") / 1e6
