"""The incident as a Prefect task: the operation that `soundcheck incident open` calls; its packet is the artifact."""

from __future__ import annotations

from typing import Any

from prefect.artifacts import create_markdown_artifact

from operations.context import Context
from operations.incident import open_incident
from pages.incident import markdown
from tasks.step import step


@step("incident", retries=1)
def opened(context: Context, family: str, since_s: float) -> Any:
    """Open it and show its packet; the incident."""
    found = open_incident(context, family, since_s=since_s).incident
    create_markdown_artifact(key=f"{family}-incident", markdown=markdown(found), description=found.incident)
    return found
