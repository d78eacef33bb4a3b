"""R5 as a task."""

from __future__ import annotations

from contracts.digest import Digest
from operations.context import Context
from operations.package import package as operation
from tasks.step import publish, step

Digests = dict[str, Digest]


@step("package", retries=1)
def package(
    context: Context, family: str, captured: Digests, registered: Digests, scored: Digests, gated: Digests
) -> Digests:
    """Freeze the bundle."""
    try:
        return operation(context, family, captured, registered, scored, gated)
    finally:
        publish(context, family, captured["release"], "package")
