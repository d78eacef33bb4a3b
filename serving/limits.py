"""Rate limits: a token bucket for each holder of API keys.

Boundary: no I/O; the clock is handed in. Source: release-algorithm R6; coverage row 30.
Invariants: over any stretch of t seconds a holder is let in at most `burst + per_s * t` times; a refusal costs no
token and says after how long the next request would be let in.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from contracts.policy import RateLimit
from serving.link import ServingFailure


class Limiter:
    """The buckets of an installation; holders come from its keys file, so they are few."""

    def __init__(self, rate: RateLimit | None, clock: Callable[[], float] = time.monotonic) -> None:
        """`rate` None lets everybody in; `clock` gives seconds and never steps back."""
        self._rate = rate
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}

    def enter(self, holder: str) -> None:
        """Take a token of the holder's bucket; ServingFailure `rate_limited` where it is empty."""
        if self._rate is None:
            return
        now = self._clock()
        tokens, at = self._buckets.get(holder, (float(self._rate.burst), now))
        tokens = min(tokens + (now - at) * self._rate.per_s, float(self._rate.burst))
        allowed = tokens >= 1
        self._buckets[holder] = tokens - allowed, now
        if not allowed:
            raise ServingFailure(
                "rate_limited",
                f"this key may ask {self._rate.per_s:g} times a second; wait as long as Retry-After says",
                retry_after_s=(1 - tokens) / self._rate.per_s,
            )
