"""R4 as a task."""

from __future__ import annotations

from contracts.digest import Digest
from operations.context import Context
from operations.gate import gate as operation
from tasks.step import publish, step

Digests = dict[str, Digest]


@step("gate")
def gate(context: Context, family: str, captured: Digests, scored: Digests) -> Digests:
    """Judge the scores; raises Stopped."""
    try:
        return operation(context, family, captured, scored)
    finally:
        publish(context, family, captured["release"], "gate")
