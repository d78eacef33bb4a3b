"""R6 as a task."""

from __future__ import annotations

from contracts.digest import Digest
from operations.context import Context
from operations.stage import stage as operation
from tasks.step import publish, step

Digests = dict[str, Digest]


@step("stage")
def stage(context: Context, family: str, captured: Digests, packaged: Digests) -> Digests:
    """Replay through a fresh production API; raises Stopped."""
    try:
        return operation(context, family, captured, packaged)
    finally:
        publish(context, family, captured["release"], "stage")
