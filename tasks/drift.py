"""The drift re-evaluation as a task, its artifacts, and the events that automations act on.

Boundary: Prefect; no decisions.
"""

from __future__ import annotations

from prefect.artifacts import create_link_artifact, create_markdown_artifact

from contracts.drift import DriftEvaluation
from operations import drift as operation
from operations.context import Context
from pages.drift import markdown
from tasks import events
from tasks.step import step


@step("drift", retries=2)
def evaluate(context: Context, family: str) -> DriftEvaluation:
    """Score stable again, look at its traffic; Prefect shows what moved, and where the page lies."""
    evaluation = operation.drift(context, family)
    create_markdown_artifact(key=f"{family}-drift", markdown=markdown(evaluation), description=evaluation.outcome)
    create_link_artifact(key=f"{family}-drift-page", link=operation.page_path(context, family).as_uri())
    events.drift_evaluated(family, evaluation.outcome)
    if evaluation.rollback and evaluation.rollback.starts:
        events.drift_takes_back(family, evaluation.digest(), evaluation.rollback)
    return evaluation
