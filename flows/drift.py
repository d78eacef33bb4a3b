"""The drift flow: stable is scored again on its packs and compared with what it scored when it was released.

Boundary: Prefect over operations/drift.py.
"""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.states import Completed, Failed

from contracts.errors import SoundcheckError
from contracts.verdict import Value
from flows.parameters import Family
from flows.wiring import open_context
from operations.drift import drift as operation


@flow(name="drift", flow_run_name="drift {family}", persist_result=False)
def drift(family: Family) -> Any:
    """Did the environment change under the stable bundle of a family?"""
    name = Family(family).value
    try:
        report = operation(open_context(), name)
    except SoundcheckError as error:
        return Failed(message=error.what, data=error)
    lines = "\n".join(f"- {reason}" for reason in report.verdict.reasons)
    create_markdown_artifact(key=f"{name}-drift", markdown=f"**{report.verdict.value.value}**\n\n{lines}\n")
    state = Completed if report.verdict.value == Value.PASS else Failed
    return state(message="; ".join(report.verdict.reasons[:2]))
