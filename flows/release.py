"""The release flow, R1 to R9: wiring of the steps, no decisions.

Boundary: Prefect. Every step is a task over an operation; the ledger says what is done, so that a flow that was killed
goes on where it stopped when it is run again.
"""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from contracts.digest import Digest
from contracts.errors import SoundcheckError
from contracts.policy import FamilyPolicy
from flows.housekeeping import bury_dead_runs
from flows.parameters import Family
from flows.wiring import open_context
from operations import pointer
from operations.context import Announce, Context, Progress
from operations.gate import Stopped
from operations.release import already_released, exclusive, finish
from registry.documents import get_document
from tasks import approve
from tasks.canary import canary
from tasks.capture import capture
from tasks.gate import gate
from tasks.package import package
from tasks.promote import promote
from tasks.register import register
from tasks.score import score
from tasks.stage import stage

ALREADY = "this payload was already released under this policy; nothing was done again"

_watchers: list[tuple[Progress, Announce]] = []


def observe(progress: Progress, announce: Announce) -> None:
    """Where a release in this process shows how far it is; a flow's parameters are its form, so it is not one."""
    _watchers[:] = [(progress, announce)]


@flow(name="release", flow_run_name="release {family} {candidate}", persist_result=False)
def release(family: Family, candidate: str = "latest") -> Any:
    """Release a candidate of a family: its folder, its version, or `latest`."""
    context = open_context(*(_watchers[-1] if _watchers else ()))
    name = Family(family).value
    try:
        with exclusive(context, name):
            bury_dead_runs(name, flow_run.id)
            pointer.reconcile(context, name)
            identity, message = _run(context, name, candidate)
    except Stopped as stop:
        return Failed(message=f"stopped at {stop.step}: " + "; ".join(stop.verdict.reasons[:2]), data=stop)
    except SoundcheckError as error:
        return Failed(message=error.what, data=error)
    return Completed(message=message, data=identity)


def _run(context: Context, family: str, candidate: str) -> tuple[Digest, str]:
    """The release's id and what became of it."""
    captured = capture(context, family, candidate)
    identity = captured["release"]
    if already_released(context, family, identity):
        return identity, ALREADY
    try:
        registered = register(context, family, captured)
        scored = score(context, family, captured)
        gated = gate(context, family, captured, scored)
        packaged = package(context, family, captured, registered, scored, gated)
        staged = stage(context, family, captured, packaged)
        watched = canary(context, family, captured, packaged, staged)
        steps = {**scored, **gated, **packaged, **staged, **watched}
        version = context.ledger(family).state().releases[identity].version
        evidence = approve.request(context, family, captured, steps, version)
        policy = get_document(context.store, FamilyPolicy, captured["policy"])
        approve.wait(context, policy, identity, evidence)
        promote(context, family, captured, evidence)
    finally:
        finish(context, family, identity, {})
    return identity, f"{family} {version} is stable"
