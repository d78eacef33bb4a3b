"""R3 as a task."""

from __future__ import annotations

from contracts.digest import Digest
from operations.context import Context
from operations.score import score as operation
from tasks.shards import mapped
from tasks.step import publish, step

Digests = dict[str, Digest]


@step("score", retries=1)
def score(context: Context, family: str, captured: Digests) -> Digests:
    """Run candidate and stable over the packs, shard by shard."""
    try:
        return operation(context, family, captured, mapped(context.settings))
    finally:
        publish(context, family, captured["release"], "score")
