"""R7 as a task."""

from __future__ import annotations

from contracts.digest import Digest
from operations.canary import canary as operation
from operations.context import Context
from tasks.step import publish, step

Digests = dict[str, Digest]


@step("canary")
def canary(context: Context, family: str, captured: Digests, packaged: Digests, staged: Digests) -> Digests:
    """Meet live traffic; raises Stopped."""
    try:
        return operation(context, family, captured, packaged, staged)
    finally:
        publish(context, family, captured["release"], "canary")
