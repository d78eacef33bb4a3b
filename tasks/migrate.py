"""The migration of voiceprints as a task (coverage row 15)."""

from __future__ import annotations

from prefect.artifacts import create_markdown_artifact

from contracts.digest import Digest
from contracts.migration import MigrationReport
from operations.context import Context
from operations.migration.moving import migrate as operation
from pages.migration import markdown
from registry.documents import get_document
from tasks.step import step

Digests = dict[str, Digest]


@step("migrate", retries=1)
def migrate(context: Context, family: str, captured: Digests, packaged: Digests) -> Digests:
    """Fill and check the index of the candidate's vector space; raises Stopped."""
    outputs = operation(context, family, captured, packaged)
    if outputs:
        report = get_document(context.store, MigrationReport, outputs["migration_report"])
        create_markdown_artifact(key=f"{family}-migrate", markdown=markdown(report), description=f"{family}: migrate")
    return outputs
