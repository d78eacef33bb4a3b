"""R7 as tasks: a stage, the end of the canary, the watch while people answer; the live artifact of what is watched.

Boundary: Prefect; no decisions.
Invariants: a stage shows at most one picture every UPDATE_S, and its last; Prefect being away stops no canary; a canary
with traffic is looked at, or its heartbeats end.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from uuid import UUID

import httpx
from prefect.artifacts import create_markdown_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactUpdate
from prefect.exceptions import PrefectException
from prefect.flow_runs import resume_flow_run
from prefect.runtime import flow_run

from contracts.digest import Digest
from contracts.errors import DependencyFailed, Refused, SoundcheckError
from contracts.live import CanaryProgress
from contracts.routing import Stage
from operations import canary as operation
from operations import canary_held
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
JOIN_S = 60.0
"""Seconds that a look may take that is being taken when nobody waits any more."""
HEARTBEAT_S = 10.0
"""Seconds between two events that say that a canary is looked at; the automation waits for a minute."""


@step("canary-stage", retries=2)
def stage(context: Context, canary: Canary, name: Stage) -> Digest:
    """Watch one stage to its decision; the digest of the report so far."""
    return operation.run_stage(context, canary, name, Live(context, canary.family))


@step("canary", retries=2)
def conclude(context: Context, canary: Canary, report: Digest) -> dict[str, Digest]:
    """Settle the canary; raises Stopped. One that held has traffic, and must be looked at on (`held`, `kept`)."""
    try:
        return operation.conclude(context, canary, report)
    except Stopped:  # it is off the route table; after any other error it may still have traffic
        events.canary_settled(canary.family, canary.version)
        raise
    finally:
        publish(context, canary.family, canary.release, "canary")


@contextmanager
def held(context: Context, canary: Canary) -> Iterator[Callable[[], None]]:
    """Look on at a canary that held, in a thread, until the block ends; entered from the flow that waits for people.

    Gives a check that raises Stopped once the canary was stopped; the pause of the flow run is ended then. A block that
    ends in a refusal takes the canary off.
    """
    over = threading.Event()
    stops: list[Stopped] = []
    run_id = flow_run.id

    def look() -> None:
        if stop := _look_on(context, canary, over):
            stops.append(stop)
            publish(context, canary.family, canary.release, "canary")
            _end_pause(run_id, over)

    def check() -> None:
        if stops:
            raise stops[0]

    thread = threading.Thread(target=copy_context().run, args=(look,), name="canary-held", daemon=True)
    thread.start()
    try:
        yield check
    except Refused as refusal:
        over.set()
        thread.join(JOIN_S)
        check()
        canary_held.leave(context, canary, refusal)
        raise
    finally:
        over.set()
        thread.join(JOIN_S)
        _settled(context, canary)


def kept(context: Context, canary: Canary) -> None:
    """Look on at a canary that held and has no release beside it, until one asks for its approval; raises Stopped.

    Where none does in the time that people may take for an approval, the canary is taken off.
    """
    until_s = time.monotonic() + canary.policy.approvals.timeout_s

    def asked() -> bool:
        return canary_held.is_asked_about(context, canary)

    stop = canary_held.hold(
        context, canary, lambda: asked() or time.monotonic() > until_s, Live(context, canary.family, held=True)
    )
    if stop is None and not asked():
        canary_held.leave(context, canary, Refused("nobody went on with its release"))
    _settled(context, canary)
    if stop is not None:
        raise stop


def _look_on(context: Context, canary: Canary, over: threading.Event) -> Stopped | None:
    """Look on, whatever is away meanwhile; with a context of its own, for the flow goes on beside it."""
    own = Context(context.settings, context.store, context.now, context.mirror, appended=context.appended)
    live = Live(own, canary.family, held=True)
    while not over.is_set():
        try:
            return canary_held.hold(own, canary, over.is_set, live)
        except DependencyFailed as error:
            log.warning("a canary that held cannot be looked at, it is tried again: %s", error.what)
            over.wait(1)
    return None


def _end_pause(run_id: str | None, over: threading.Event) -> None:
    """Wake the flow run that waits for people; one that does not pause yet is tried again."""
    nobody = {"decision": "hold", "approver": "", "reviewed_slices": "", "note": ""}
    while run_id and not over.is_set():
        try:
            resume_flow_run(UUID(run_id), run_input=nobody)
            return
        except (PrefectException, httpx.HTTPError, RuntimeError) as error:
            log.debug("the paused release is not woken yet: %s", type(error).__name__)
            over.wait(1)


def _settled(context: Context, canary: Canary) -> None:
    """Say that nobody has to look any more, where the route table says so; a store that is away says nothing."""
    try:
        if canary_held.is_routed(context, canary):
            return
    except SoundcheckError as error:
        log.warning("nobody knows whether the canary still has traffic: %s", error.what)
        return
    events.canary_settled(canary.family, canary.version)


class Live:
    """The live artifact of one stage, made at the first look, then replaced; and the heartbeat of its looks.

    `held`: the stage is decided, and each look but one that finds harm is like the one before.
    """

    def __init__(self, context: Context, family: str, *, held: bool = False) -> None:
        self._family = family
        self._usual = ("continue", "promote", "hold") if held else ("continue",)
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
        if self._artifact and progress.decision in self._usual and now_s - self._shown_s < UPDATE_S:
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
