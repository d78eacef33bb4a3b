"""The look at the error budgets as a Prefect task, and the events that it sends.

Boundary: Prefect; no decisions.
"""

from __future__ import annotations

from pathlib import Path

from operations import burning as operation
from operations.burning import Burning
from tasks import events
from tasks.step import step


@step("burn", retries=1)
def look(home: Path) -> list[Burning]:
    """Ask the gateways; the automations hear of each budget that burns too fast."""
    found = operation.burning(home)
    for one in found:
        events.budget_burns(one)
    return found
