"""The canary, R7, as a flow of its own: a part of the release, or started alone to go on where one was interrupted.

Boundary: Prefect; every stage is a task over operations/canary.py. The ledger says which stages are decided and the
route table which one is running, so that a flow that was killed goes on when it, or the release, is run again.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

from prefect import flow
from prefect.runtime import flow_run
from prefect.states import Failed

from contracts.digest import Digest
from contracts.errors import SoundcheckError
from flows.housekeeping import bury_dead_runs
from flows.observing import observed_context
from flows.parameters import Family
from operations.canary import find, goes_on, running
from operations.context import Context
from operations.release import exclusive
from tasks import canary as tasks
from tasks import events


@flow(name="canary", flow_run_name="canary {family}", persist_result=False)
def canary(family: Family, release: str = "", shadow_only: bool = False) -> Any:
    """Watch the canary of a release to its end; without a release, the one that was interrupted.

    With `shadow_only` it ends before the first user is exposed. The digest of the canary's report; a canary that does
    not hold fails the flow with what stopped it. One that holds and has no release beside it is looked at until a
    release asks for its approval.
    """
    context, name = observed_context(), Family(family).value
    alone = flow_run.parent_flow_run_id is None
    try:
        with exclusive(context, name) if alone else nullcontext():
            if alone:
                bury_dead_runs(name, flow_run.id)
            wanted = release or running(context, name)
            report = _run(context, name, wanted, shadow_only)
        if alone and not shadow_only:
            tasks.kept(context, find(context, name, wanted))
        return report
    except SoundcheckError as error:
        return Failed(message=error.what, data=error)


def _run(context: Context, family: str, release: str, shadow_only: bool) -> Digest:
    found = find(context, family, release)
    wanted = [stage for stage in found.stages if stage == "shadow" or not shadow_only]
    for stage in wanted:
        report: Digest = tasks.stage(context, found, stage)
        if not goes_on(context, report):
            break
    if shadow_only and goes_on(context, report):
        events.canary_settled(family, found.version)  # the shadow is heard by nobody while people are asked
        return report
    outputs: dict[str, Digest] = tasks.conclude(context, found, report)
    return outputs["canary_report"]
