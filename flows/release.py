"""The release flow, R1 to R9: wiring of the steps, no decisions.

Boundary: Prefect. Every step is a task over an operation; the ledger says what is done, so that a flow that was killed
goes on where it stopped when it is run again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from prefect import flow
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from contracts.digest import Digest
from contracts.errors import SoundcheckError
from contracts.policy import FamilyPolicy
from flows.canary import canary
from flows.housekeeping import bury_dead_runs
from flows.observing import observed_context
from flows.parameters import Family
from operations import pointer
from operations.canary import find, must_be_approved_first, require_routed
from operations.context import Context
from operations.gate import Stopped
from operations.release import already_released, exclusive, finish
from registry.documents import get_document
from tasks import approve
from tasks.canary import held
from tasks.capture import capture
from tasks.gate import gate
from tasks.migrate import migrate
from tasks.package import package
from tasks.promote import promote
from tasks.register import register
from tasks.score import score
from tasks.stage import stage

ALREADY = "this payload was already released under this policy; nothing was done again"


@flow(name="release", flow_run_name="release {family} {candidate}", persist_result=False)
def release(family: Family, candidate: str = "latest") -> Any:
    """Release a candidate of a family: its folder, its version, or `latest`."""
    context = observed_context()
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
        migrated = migrate(context, family, captured, packaged)
        steps = {**scored, **gated, **packaged, **staged, **migrated}
        found = find(context, family, identity)
        if must_be_approved_first(found):
            shadowed = cast(Digest, canary(family=Family(family), release=identity, shadow_only=True))
            _approved(context, family, captured, {**steps, "canary_report": shadowed})
        watched = cast(Digest, canary(family=Family(family), release=identity))
        with held(context, find(context, family, identity)) as check:  # it has traffic while people are asked
            evidence = _approved(context, family, captured, {**steps, "canary_report": watched}, check)
            require_routed(context, found)
            promote(context, family, captured, evidence)
    finally:
        finish(context, family, identity, {})
    version = context.ledger(family).state().releases[identity].version
    return identity, f"{family} {version} is stable"


def _approved(
    context: Context, family: str, captured: dict[str, Digest], steps: dict[str, Digest],
    check: Callable[[], None] = lambda: None,
) -> Digest:  # fmt: skip
    """The digest of evidence that people said yes to, while `check` has nothing against it; they are asked once."""
    identity = captured["release"]
    version = context.ledger(family).state().releases[identity].version
    evidence: Digest = approve.request(context, family, captured, steps, version)
    policy = get_document(context.store, FamilyPolicy, captured["policy"])
    approve.wait(context, policy, identity, evidence, check)
    return evidence
