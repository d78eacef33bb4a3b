"""The migration of voiceprints as a task (coverage row 15)."""

from __future__ import annotations

from contracts.digest import Digest
from operations.context import Context
from operations.migration.moving import migrate as operation
from tasks.step import step

Digests = dict[str, Digest]


@step("migrate", retries=1)
def migrate(context: Context, family: str, captured: Digests, packaged: Digests) -> Digests:
    """Fill and check the index of the candidate's vector space; raises Stopped."""
    return operation(context, family, captured, packaged)
