"""The abort flow: takes a canary that nobody watches off, started by an automation; a person uses `soundcheck abort`.

Boundary: Prefect over operations/unwatched.py.
"""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.states import Completed, Failed

from contracts.errors import SoundcheckError
from flows.parameters import Family
from flows.wiring import open_context
from operations.unwatched import abort_unwatched


@flow(name="abort", flow_run_name="abort {family}", persist_result=False)
def abort(family: Family, unwatched_s: float = 60.0) -> Any:
    """Stop a family's canary that was not looked at for so many seconds; stable serves all traffic."""
    name = Family(family).value
    try:
        done = abort_unwatched(open_context(), name, unwatched_s=unwatched_s)
    except SoundcheckError as error:
        return Failed(message=error.what, data=error)
    state = Failed if done.stopped else Completed
    return state(message=f"{name}: {done.reason}")
