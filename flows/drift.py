"""The drift flow: stable is scored again on its packs, and its traffic is compared with what it was.

Boundary: Prefect over tasks/drift.py. `prefect.yaml` runs it daily.
"""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.states import Completed, Failed

from contracts.errors import SoundcheckError
from contracts.verdict import Value
from flows.parameters import Family
from flows.wiring import open_context
from operations.drift import NothingStable
from tasks import drift as task


@flow(name="drift", flow_run_name="drift {family}", persist_result=False)
def drift(family: Family) -> Any:
    """Did the environment or the traffic change under the stable bundle of a family?"""
    try:
        found = task.evaluate(open_context(), Family(family).value)
    except NothingStable as nothing:
        return Completed(message=nothing.what)
    except SoundcheckError as error:
        return Failed(message=error.what, data=error)
    state = Completed if found.verdict.value == Value.PASS else Failed
    said = "; ".join(found.verdict.reasons[:2])
    return state(message=said if found.outcome == "nothing" else f"{found.outcome}: {said}")
