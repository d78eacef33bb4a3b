"""What a family promises its callers, which requests break the promise, and from which burn rate somebody is called.

Boundary: pure; counts in, burn rates out. Source: Google's Site Reliability Workbook, chapter 5 (several windows,
several burn rates).
Invariants: live page, metrics and alert rules (serving/alerts.yaml) judge a request by the same rule; a shadow copy
breaks no promise, its answer reaches nobody; no answer may hold a private run, whatever the rate; a rate is a ratio of
sums, so that counts of several gateways are added before it is taken.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from contracts.live import Burn

Objective = Literal["availability", "latency", "first_audio", "privacy"]


class Objectives(NamedTuple):
    """The share of requests that are answered, and the shares of answers that take at most `latency_ms` to their end
    and `first_audio_ms` to their first samples.

    Without milliseconds nothing is promised about a time.
    """

    availability: float = 0.999
    latency_ms: float | None = None
    latency_share: float = 0.95
    first_audio_ms: float | None = None
    first_audio_share: float = 0.95

    def times(self) -> dict[Objective, tuple[float, float]]:
        """By objective about a time: its milliseconds, and the share of answers that take no longer."""
        promised: dict[Objective, tuple[float | None, float]] = {
            "latency": (self.latency_ms, self.latency_share),
            "first_audio": (self.first_audio_ms, self.first_audio_share),
        }
        return {name: (limit_ms, share) for name, (limit_ms, share) in promised.items() if limit_ms is not None}

    def budgets(self) -> dict[Objective, float]:
        """By objective, the share of requests that may be bad."""
        times = {name: 1 - share for name, (_, share) in self.times().items()}
        return {"availability": 1 - self.availability, "privacy": 0.0, **times}


class Alarm(NamedTuple):
    """An action is due where the budget burns at `rate` or faster in both windows (seconds)."""

    action: Literal["page", "ticket"]
    short_s: int
    long_s: int
    rate: float


ALARMS = (Alarm("page", 300, 3600, 14.4), Alarm("ticket", 1800, 21600, 6.0))
"""Two per cent of a month's budget in an hour, five per cent in six hours."""
PERIOD_S = 6 * 3600
"""How long the counts of the objectives are kept: the period of the budget that a gateway can speak of."""
SPANS_S = tuple(sorted({PERIOD_S, *(span for alarm in ALARMS for span in (alarm.short_s, alarm.long_s))}))
"""The windows that are counted, in seconds."""
FEWEST_BAD = 3
"""Bad requests in the short window below which nobody is called: one failure in two requests says little."""


def failed(row: Mapping[str, Any]) -> bool:
    """Whether the server failed this request: an error of its own, or no room; a client that left is no failure."""
    return bool(row["status"] >= 500 or row["status"] == 429)


def judged(row: Mapping[str, Any], promised: Objectives) -> dict[Objective, bool]:
    """By objective that the request (a telemetry row) counts for, whether it is bad."""
    if row["arm"] == "shadow":
        return {}
    found: dict[Objective, bool] = {"availability": failed(row), "privacy": row["privacy_errors"] > 0}
    for objective, (limit_ms, _) in promised.times().items():
        took_ms = row[f"{objective}_ms"]
        if row["status"] == 200 and took_ms is not None:
            found[objective] = took_ms > limit_ms
    return found


Counts = Mapping[int, tuple[int, int]]
"""By window in seconds: requests that count for an objective, and those of them that are bad."""


def burn(objective: str, slice_name: str, counts: Counts, allowed: float) -> Burn:
    """How fast a budget burns of which a share of `allowed` requests may be bad, and who is called for it."""

    def counted(span_s: int) -> tuple[int, int]:
        return counts.get(span_s, (0, 0))

    _, bad = counted(PERIOD_S)
    if not allowed:  # one is too many, whatever the rate: the hour only says when to stop calling
        hour_s = ALARMS[0].long_s
        _, recent = counted(hour_s)
        return Burn(
            objective=objective, slice=slice_name, short_s=hour_s, long_s=hour_s, rate=recent,
            left=float(-bad) if bad else 1.0, action="page" if recent else "none",
        )  # fmt: skip
    found = []
    for alarm in ALARMS:
        short = counted(alarm.short_s)
        rate = min(_rate(short, allowed), _rate(counted(alarm.long_s), allowed))
        found.append((rate >= alarm.rate and short[1] >= FEWEST_BAD, rate, alarm))
    # The most urgent alarm that is due, else the one that is nearest to its threshold.
    nearest = max(found, key=lambda item: item[1] / item[2].rate)
    due, rate, alarm = next((item for item in found if item[0]), nearest)
    return Burn(
        objective=objective, slice=slice_name, short_s=alarm.short_s, long_s=alarm.long_s, rate=rate,
        left=1 - _rate(counted(PERIOD_S), allowed), action=alarm.action if due else "none",
    )  # fmt: skip


def _rate(counts: tuple[int, int], allowed: float) -> float:
    asked, bad = counts
    return bad / asked / allowed if asked else 0.0
