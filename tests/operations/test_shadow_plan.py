"""What a shadow stage is judged by: what the gateway measures of a copy as of an answer (coverage rows 19 and 20)."""

from __future__ import annotations

import pytest

from contracts.policy import CanaryMetric, CanaryPlan
from contracts.routing import Stage
from operations.canary_watch import plan_of

PLAN = CanaryPlan(
    metrics={
        "wer": CanaryMetric(kind="ratio", numerator="errors", denominator="words"),
        "churn": CanaryMetric(kind="ratio", numerator="unstable_words", denominator="partial_words"),
        "corrected": CanaryMetric(kind="ratio", numerator="corrections", denominator="requests"),
        "unit_cost": CanaryMetric(kind="ratio", numerator="cost_usd", denominator="audio_s", margin=0.3, relative=True),
        "latency_ms": CanaryMetric(kind="quantile", budget=900),
        "first_partial": CanaryMetric(kind="quantile", column="first_partial_ms", budget=900),
        "privacy": CanaryMetric(kind="never", column="privacy_errors"),
    },
    slices=("accent",),
    deadline_s=600,
    deadlines={"shadow": 60},
)


def test_copies_are_judged_by_cost_speed_and_privacy() -> None:
    shadow = plan_of(PLAN, "shadow")
    assert set(shadow.metrics) == {"unit_cost", "latency_ms", "privacy"}
    assert (shadow.slices, shadow.deadline_s) == ((), 60)


@pytest.mark.parametrize("stage", ["cohort", "wide"])
def test_answers_are_judged_by_everything(stage: Stage) -> None:
    assert plan_of(PLAN, stage) == PLAN
