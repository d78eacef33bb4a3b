"""The rollback flow: the same operation that `soundcheck rollback` calls, from Prefect's Run form.

Boundary: Prefect. The command line does not need this flow; it works when Prefect is down.
"""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.states import Completed, Failed

from contracts.digest import short
from contracts.errors import SoundcheckError
from flows.parameters import Family
from flows.wiring import open_context
from operations.drift_rollback import require
from operations.rollback import rollback as operation


@flow(name="rollback", flow_run_name="rollback {family}", persist_result=False)
def rollback(family: Family, key: str, reason: str, to: str | None = None, drift: str | None = None) -> Any:
    """Take a family back to its last good bundle, or to the one that `to` names (a version or a digest).

    `drift` is the evaluation that asks for it, by digest: the limits of what drift may do are looked at again first.
    """
    name = Family(family).value
    try:
        context = open_context()
        if drift is not None:
            require(context, name, drift, key_name=key)
        done = operation(context, name, key_name=key, reason=reason, to=to)
    except SoundcheckError as error:
        return Failed(message=error.what, data=error)
    return Completed(message=f"{done.version} ({short(done.target)}) serves {done.family} after {done.switch_s:.2f} s")
