"""R2 as a task."""

from __future__ import annotations

from contracts.digest import Digest
from operations.context import Context
from operations.register import register as operation
from tasks.step import publish, step

Digests = dict[str, Digest]


@step("register")
def register(context: Context, family: str, captured: Digests) -> Digests:
    """Build the registry entry and its mirror."""
    try:
        return operation(context, family, captured)
    finally:
        publish(context, family, captured["release"], "register")
