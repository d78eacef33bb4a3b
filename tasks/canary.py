"""R7 as tasks: a stage, and the end of the canary; the live artifact of a stage that runs.

Boundary: Prefect; no decisions.
Invariants: a stage shows at most one picture every UPDATE_S, and its last; Prefect being away stops no canary.
"""

from __future__ import annotations

import logging
import time
from uuid import UUID

from prefect.artifacts import create_markdown_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactUpdate

from contracts.digest import Digest
from contracts.live import CanaryProgress
from contracts.routing import Stage
from operations import canary as operation
from operations.canary_route import Canary
from operations.context import Context
from operations.gate import Stopped
from operations.stack import addresses
from pages.canary_progress import markdown
from tasks import events
from tasks.step import publish, step

log = logging.getLogger("soundcheck")

UPDATE_S = 10.0
"""Seconds between two updates of the live artifact."""
HEARTBEAT_S = 10.0
"""Seconds between two events that say that a canary is looked at; the automation waits for a minute."""


@step("canary-stage", retries=2)
def stage(context: Context, canary: Canary, name: Stage) -> Digest:
    """Watch one stage to its decision; the digest of the report so far."""
    return operation.run_stage(context, canary, name, Live(context, canary.family))


@step("canary", retries=2)
def conclude(context: Context, canary: Canary, report: Digest) -> dict[str, Digest]:
    """Settle the canary; raises Stopped."""
    try:
        outputs = operation.conclude(context, canary, report)
    except Stopped:  # it is off the route table; after any other error it may still have traffic
        events.canary_settled(canary.family, canary.version)
        raise
    finally:
        publish(context, canary.family, canary.release, "canary")
    events.canary_settled(canary.family, canary.version)
    return outputs


class Live:
    """The live artifact of one stage, made at the first look, then replaced; and the heartbeat of its looks."""

    def __init__(self, context: Context, family: str) -> None:
        self._family = family
        self._page = addresses(context.home).gateway or ""
        self._artifact: UUID | None = None
        self._shown_s = 0.0
        self._told_s: float | None = None

    def __call__(self, progress: CanaryProgress) -> None:
        """Show it, where it is time or the last look."""
        now_s = time.monotonic()
        if self._told_s is None or now_s - self._told_s >= HEARTBEAT_S:
            self._told_s = now_s
            events.canary_look(self._family, progress.version, progress.stage)
        if self._artifact and progress.decision == "continue" and now_s - self._shown_s < UPDATE_S:
            return
        self._shown_s = now_s
        try:
            self._show(markdown(progress, live=self._page), f"{self._family} {progress.version}: {progress.stage}")
        except Exception as error:
            # The artifact is a view; whatever Prefect does, the canary goes on being watched.
            log.warning("the canary's artifact is behind: %s", type(error).__name__)

    def _show(self, text: str, description: str) -> None:
        if self._artifact is None:
            made = create_markdown_artifact(key=f"{self._family}-canary-live", markdown=text, description=description)
            assert isinstance(made, UUID)
            self._artifact = made
            return
        with get_client(sync_client=True) as client:
            client.update_artifact(self._artifact, ArtifactUpdate(data=text, description=description))
