"""The telemetry flow: hours become one file, days that are too old go.

Boundary: Prefect over operations/telemetry.py.
"""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.states import Completed, Failed

from contracts.errors import SoundcheckError
from flows.wiring import open_context
from operations.telemetry import tidy as operation


@flow(name="telemetry", persist_result=False)
def tidy() -> Any:
    """Keep telemetry in few files, and no longer than params.yaml says."""
    try:
        done = operation(open_context())
    except SoundcheckError as error:
        return Failed(message=error.what, data=error)
    return Completed(message=f"{done.hours} hours made one file, {done.days} days deleted")
