"""A release run from the command line: the flow in this process, its outcome as text and exit status; waking it.

Boundary: imports Prefect; used by flows/commands alone.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import Any, NamedTuple, cast

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State, StateType
from prefect.exceptions import ObjectNotFound
from prefect.flow_runs import resume_flow_run

from flows import release as release_flow
from flows.housekeeping import release_runs
from flows.observing import observe
from flows.parameters import Family
from flows.wiring import open_context
from operations.context import Announce, Context, Progress
from operations.gate import Stopped
from operations.release import report_path
from operations.stack import Addresses
from operations.view import release_view
from pages.terminal import release_summary
from pages.view import ReleaseView


class Ended(NamedTuple):
    """How a release ended: text for people, its view, and the exit status."""

    view: ReleaseView
    message: str
    text: str
    exit_status: int

    def as_json(self) -> dict[str, Any]:
        """The outcome for programs."""
        return {
            "family": self.view.family,
            "version": self.view.version,
            "outcome": self.view.outcome,
            "stopped_at": self.view.stopped_at,
            "bundle": self.view.bundle,
            "message": self.message,
            "links": self.view.links,
        }


def run_release(family: str, candidate: str, known: Addresses, progress: Progress, announce: Announce) -> Ended:
    """Run the flow here and gather its outcome; an error that is not the release's verdict is raised."""
    observe(progress, announce)
    state = cast(State[Any], release_flow.release(family=Family(family), candidate=candidate, return_state=True))
    result = state.result(raise_on_failure=False)
    if isinstance(result, Exception) and not isinstance(result, Stopped):
        raise result
    stopped = isinstance(result, Stopped)
    context = open_context()
    view = release_view(context, family, result.release if stopped else result)
    view = replace(view, links=links(context, known, view, state))
    text = release_summary(view, width=min(120, shutil.get_terminal_size((120, 24)).columns))
    message = state.message or ""
    return Ended(view, message, f"{text}\n\n{message}" if message == release_flow.ALREADY else text, int(stopped))


def links(context: Context, known: Addresses, view: ReleaseView, state: State[Any]) -> dict[str, str]:
    """Where the release can be looked at: its report, its Prefect run, its MLflow version."""
    found = {"report": str(report_path(context.home, view.family, view.release))}
    run_id = state.state_details.flow_run_id
    if known.prefect and run_id:
        found["prefect"] = f"{known.prefect}/runs/flow-run/{run_id}"
    if known.mlflow:
        found["mlflow"] = f"{known.mlflow}/#/models/{view.family}"
    return found


def wake(family: str, decision: str, note: str) -> int:
    """Resume the family's paused release runs, so that they read the ledger; how many there were."""
    with get_client(sync_client=True) as client:
        mine = release_runs(client, family, StateType.PAUSED)
    for run in mine:
        try:
            resume_flow_run(
                run.id, run_input={"decision": decision, "approver": "", "reviewed_slices": "", "note": note}
            )
        except ObjectNotFound:
            continue
    return len(mine)
