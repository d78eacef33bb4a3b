"""R1 as a task."""

from __future__ import annotations

from contracts.digest import Digest
from operations.capture import capture as operation
from operations.context import Context
from tasks.step import publish, step


@step("capture")
def capture(context: Context, family: str, candidate: str) -> dict[str, Digest]:
    """Build the train manifest."""
    outputs = operation(context, family, candidate)
    publish(context, family, outputs["release"], "capture")
    return outputs
