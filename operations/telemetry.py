"""Telemetry of an installation: how long it is kept, and what gateways promise about a family.

Boundary: HOME/telemetry through serving.telemetry; params.yaml through the settings.
Invariants: rows are kept as long as params.yaml says (`telemetry.days`), which a family's retention policy tells its
callers; what the live page and the alerts call slow is what the canary is judged by.
"""

from __future__ import annotations

from contracts.policy import CanaryPlan
from operations.context import Context
from operations.settings import Settings
from serving.telemetry import Tidied
from serving.telemetry import tidy as tidy_telemetry

BUDGETS = {"latency_ms": "--latency-budget", "first_audio_ms": "--first-audio-budget"}
"""Columns about whose time a family promises something, and the gateway's option that says so."""


def tidy(context: Context) -> Tidied:
    """Make one file of each hour that is over, and delete the days that are too old.

    Raises DependencyFailed while another run does it, Corrupt for a segment that cannot be read.
    """
    settings = context.settings
    return tidy_telemetry(settings.home / "telemetry", days=settings.telemetry.days, now_s=context.now().timestamp())


def latency_budget(plan: CanaryPlan, column: str = "latency_ms") -> tuple[float, float] | None:
    """(milliseconds, share of answers that take no longer) of a canary plan; None where it has no such budget."""
    for metric in plan.metrics.values():
        if metric.kind == "quantile" and metric.column == column and metric.budget is not None:
            return metric.budget, metric.quantile
    return None


def promises(settings: Settings) -> list[str]:
    """The gateway's options that say what each family promises (serving/gateway.py)."""
    words = []
    for family in settings.families:
        for column, option in BUDGETS.items():
            if budget := latency_budget(settings.policy(family).canary, column):
                words += [option, f"{family}={budget[0]:g}@{budget[1]:g}"]
    return words
