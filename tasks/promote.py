"""R9 as a task."""

from __future__ import annotations

from contracts.digest import Digest
from operations.context import Context
from operations.promote import promote as operation
from tasks.step import publish, step


@step("promote")
def promote(context: Context, family: str, captured: dict[str, Digest], evidence: Digest) -> dict[str, Digest]:
    """Move the pointer to the approved bundle."""
    outputs = operation(context, family, captured, evidence)
    publish(context, family, captured["release"], "promote")
    return outputs
