"""The incident flow: what an alert, or a person at Prefect's Run form, starts; the command line does not need it.

Boundary: Prefect over tasks/incident.py. Writes the packet and an artifact; moves no route: who acts signs.
"""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.states import Completed, Failed

from contracts.errors import SoundcheckError
from flows.parameters import Family
from flows.wiring import open_context
from tasks import incident as tasks


@flow(name="incident", flow_run_name="incident {family}", persist_result=False)
def incident(family: Family, since_minutes: int = 30, update_open: bool = False) -> Any:
    """Declare an incident over the last minutes of a family; the flow fails where there is something to do.

    With `update_open`, as automations ask it, an incident of the family that was opened today is looked at again.
    """
    name = Family(family).value
    try:
        found = tasks.opened(open_context(), name, since_minutes * 60.0, update_open)
    except SoundcheckError as error:
        return Failed(message=error.what, data=error)
    said = found.recommendation
    state = Completed if said.action == "continue" else Failed
    return state(message=f"{found.incident}: {said.action.replace('_', ' ')}: {said.reason}")
