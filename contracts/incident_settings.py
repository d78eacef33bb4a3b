"""A family's section of `incident` in params.yaml: how much worse is worse, how few are too few, when people hear.

Boundary: no I/O. Source: coverage rows 38, 39, 41 to 43; statistics U5.
Invariants: every value has a default, which is what params.yaml says; a budget that a section does not name keeps its
default, so that no metric is left without one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, NonNegativeFloat, PositiveFloat, PositiveInt

from contracts.document import Part
from contracts.incident import Action

Metric = Literal[
    "failure_rate", "slow_rate", "tail_rate", "late_partial_rate", "churn", "wer", "confidence", "success_rate",
    "retry_rate", "correction_rate", "interruption_rate", "abandonment_rate", "underrun_rate", "cancellation_rate",
    "support_ticket_rate", "usd_per_success", "ungrounded_rate", "handoff_rate", "barge_in_share",
]  # fmt: skip
"""What slices are compared by: rates a request, a turn, a word, a partial word, or an answer.

`slow_rate`: over the family's latency budget; `tail_rate` and `late_partial_rate`: over what 95% of the baseline stayed
under, so that the tail must double to be over budget; for what speaks one waits until its first audio. Of a dialogue:
`ungrounded_rate` and `handoff_rate` are of turns, `barge_in_share` is of the interruptions that clients tell those that
the server was told of while it spoke.
"""


class MetricBudget(Part):
    """How much worse a metric may be: `allowed` in its own unit, or with `relative` a share of the baseline's value."""

    better: Literal["lower", "higher"] = "lower"
    allowed: NonNegativeFloat
    relative: bool = False


BUDGETS: Mapping[Metric, MetricBudget] = {
    "failure_rate": MetricBudget(allowed=0.01),
    "slow_rate": MetricBudget(allowed=0.05),
    "tail_rate": MetricBudget(allowed=0.05),
    "late_partial_rate": MetricBudget(allowed=0.05),
    "churn": MetricBudget(allowed=0.03),
    "wer": MetricBudget(allowed=0.03),
    "confidence": MetricBudget(better="higher", allowed=0.05),
    "success_rate": MetricBudget(better="higher", allowed=0.03),
    "retry_rate": MetricBudget(allowed=0.05),
    "correction_rate": MetricBudget(allowed=0.03),
    "interruption_rate": MetricBudget(allowed=0.03),
    "abandonment_rate": MetricBudget(allowed=0.02),
    "underrun_rate": MetricBudget(allowed=0.02),
    "cancellation_rate": MetricBudget(allowed=0.03),
    "support_ticket_rate": MetricBudget(allowed=0.005),
    "usd_per_success": MetricBudget(allowed=0.30, relative=True),
    "ungrounded_rate": MetricBudget(allowed=0.02),
    "handoff_rate": MetricBudget(allowed=0.10),
    "barge_in_share": MetricBudget(better="higher", allowed=0.20),
}
DUE_S: Mapping[Action, float] = {
    "rollback": 1800, "partial_rollback": 1800, "degrade": 1800, "pause": 3600, "continue": 14_400,
}  # fmt: skip


def _with_budgets(own: dict[Metric, MetricBudget]) -> dict[Metric, MetricBudget]:
    return {**BUDGETS, **own}


def _with_due(own: dict[Action, float]) -> dict[Action, float]:
    return {**DUE_S, **own}


class IncidentSettings(Part):
    """What an incident of a family is judged by.

    Attributes:
        smallest_group: sessions below which a group is not shown.
        baseline_windows, least_baseline_s: the baseline is so many times the window, and so many seconds at least.
        due_s: seconds until people hear the next time, by what is being done.
        alpha: family-wise error of all (slice, metric) pairs of a packet.
        fewest_sessions: sessions a side below which nothing is confirmed.
        many_suspicions: suspected regressions from which on promotions are paused (A6).
        queue_growth: share of `serving.queue_limit` that the queue must grow by in a minute to be saturated.
        fewest_saturated: saturated minutes below which a queue is a burst.
        cost_changed: times the cost before from which on a cause is named.
        dearer: times the cheapest route from which on a route is dear.
        ask_again_s: seconds within which the same recording of a session is the same turn, asked again.
        budgets: by metric, how much worse than its baseline a slice may be.
    """

    smallest_group: PositiveInt = 10
    baseline_windows: PositiveInt = 4
    least_baseline_s: PositiveFloat = 3600.0
    due_s: Annotated[dict[Action, PositiveFloat], AfterValidator(_with_due), Field(validate_default=True)] = {}
    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.05
    fewest_sessions: PositiveInt = 10
    many_suspicions: PositiveInt = 3
    queue_growth: PositiveFloat = 0.25
    fewest_saturated: PositiveInt = 2
    cost_changed: Annotated[float, Field(gt=1)] = 1.15
    dearer: Annotated[float, Field(gt=1)] = 1.3
    ask_again_s: NonNegativeFloat = 60.0
    budgets: Annotated[dict[Metric, MetricBudget], AfterValidator(_with_budgets), Field(validate_default=True)] = {}
