"""What a family promises its callers, which requests break the promise, and from which burn rate somebody is called.

Boundary: pure. Source: Google's Site Reliability Workbook, chapter 5 (several windows, several burn rates).
Invariants: live page, metrics and alert rules (serving/alerts.yaml) judge a request by the same rule; a shadow copy
breaks no promise, its answer reaches nobody; no answer may hold a private run, whatever the rate.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

Objective = Literal["availability", "latency", "privacy"]


class Objectives(NamedTuple):
    """The share of requests that are answered, and the share of answers that take at most `latency_ms`.

    Without `latency_ms` nothing is promised about time.
    """

    availability: float = 0.999
    latency_ms: float | None = None
    latency_share: float = 0.95

    def budgets(self) -> dict[Objective, float]:
        """By objective, the share of requests that may be bad."""
        budgets: dict[Objective, float] = {"availability": 1 - self.availability, "privacy": 0.0}
        return budgets if self.latency_ms is None else {**budgets, "latency": 1 - self.latency_share}


class Alarm(NamedTuple):
    """An action is due where the budget burns at `rate` or faster in both windows (seconds)."""

    action: Literal["page", "ticket"]
    short_s: int
    long_s: int
    rate: float


ALARMS = (Alarm("page", 300, 3600, 14.4), Alarm("ticket", 1800, 21600, 6.0))
"""Two per cent of a month's budget in an hour, five per cent in six hours."""
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
    if promised.latency_ms is not None and row["status"] == 200:
        found["latency"] = row["latency_ms"] > promised.latency_ms
    return found
