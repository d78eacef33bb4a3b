"""The incident as a Prefect task: the operation that `soundcheck incident open` calls; its packet is the artifact."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from prefect.artifacts import create_markdown_artifact

from operations.context import Context
from operations.incident import incidents, open_incident, update
from pages.incident import markdown
from tasks.step import step

SAME_S = 86_400.0
"""An alarm within this time of an open incident's beginning is about that incident."""


@step("incident", retries=1)
def opened(context: Context, family: str, since_s: float, update_open: bool = False) -> Any:
    """Open it and show its packet; the incident. With `update_open`, one of today that is open is looked at again."""
    name = _open_one(context, family) if update_open else None
    found = (update(context, name) if name else open_incident(context, family, since_s=since_s)).incident
    create_markdown_artifact(key=f"{family}-incident", markdown=markdown(found), description=found.incident)
    return found


def _open_one(context: Context, family: str) -> str | None:
    """The family's newest incident that is open and not older than SAME_S."""
    for one in incidents(context):
        age_s = (context.now() - datetime.fromisoformat(one.opened_at)).total_seconds()
        if one.family == family and one.state == "open" and age_s < SAME_S:
            return str(one.incident)
    return None
