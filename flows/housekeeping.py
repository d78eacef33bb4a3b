"""Runs of Prefect that nobody executes any more: found and told apart from living ones.

Boundary: the Prefect API. Called while the family's release lock is held, so every other unfinished run of a release or
its canary is dead: its process was killed, and Prefect would show it as Running (or its form as open) for ever.
"""

from __future__ import annotations

from collections.abc import Sequence

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowFilter, FlowFilterName, FlowRunFilter, FlowRunFilterState
from prefect.client.schemas.filters import FlowRunFilterStateType as StateTypeFilter
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.states import Crashed


def release_runs(
    client: SyncPrefectClient, family: str, *states: StateType, flows: Sequence[str] = ("release",)
) -> list[FlowRun]:
    """The family's runs of these flows in these states."""
    runs = client.read_flow_runs(
        flow_filter=FlowFilter(name=FlowFilterName(any_=list(flows))),
        flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=StateTypeFilter(any_=list(states)))),
    )
    return [run for run in runs if run.parameters.get("family") == family]


def bury_dead_runs(family: str, own_run_id: str | None) -> int:
    """Mark the family's runs of releases and canaries whose process is gone as crashed; how many there were."""
    with get_client(sync_client=True) as client:
        unfinished = release_runs(client, family, StateType.RUNNING, StateType.PAUSED, flows=("release", "canary"))
        dead = [run for run in unfinished if str(run.id) != own_run_id]
        for run in dead:
            message = "its process ended; the ledger has what it did, and the same command goes on"
            client.set_flow_run_state(run.id, Crashed(message=message), force=True)
    return len(dead)
