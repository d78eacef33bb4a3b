"""R8 in Prefect: the form a release manager fills, and the task that writes the decision into the ledger.

Boundary: Prefect's pause; decisions and their rules are operations/approve.py.
Invariants: a pause is keyed by the evidence digest, never by an ordinal; no answer is a rejection (R8.1); a decision
that `soundcheck approve` wrote meanwhile counts before what the form says.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from prefect.exceptions import FlowPauseTimeout
from prefect.flow_runs import pause_flow_run
from prefect.input import RunInput
from prefect.runtime import flow_run
from pydantic import Field

from contracts.digest import Digest
from contracts.errors import Refused
from contracts.policy import FamilyPolicy
from operations import approve as operation
from operations.context import Context
from operations.view import release_view
from pages.approval import markdown
from tasks.step import publish, step

POLL_S = 1
"""Seconds between two looks of a paused run; also the latency of an answer."""


class ApprovalForm(RunInput):
    """What a release manager decides."""

    decision: Literal["promote", "hold", "reject"] = Field(
        description="open the list by its arrow; hold asks again, reject is final"
    )
    approver: str = Field(default="", description="your name (a typed name proves nothing; the report says so)")
    reviewed_slices: str = Field(default="", description="slices you looked at, separated by commas")
    note: str = Field(default="", description="why")


@step("approve")
def request(
    context: Context, family: str, captured: dict[str, Digest], steps: dict[str, Digest], version: str
) -> Digest:
    """Gather the evidence and ask for approval."""
    digest = operation.evidence(context, family, captured, steps, version)
    publish(context, family, captured["release"], "approve")
    return digest


@step("record-decision")
def record(context: Context, family: str, evidence: Digest, answer: dict[str, Any]) -> None:
    """Write what the form said into the ledger."""
    slices = tuple(name.strip() for name in str(answer["reviewed_slices"]).split(",") if name.strip())
    operation.record(
        context, family, evidence, decision=answer["decision"], approver=answer["approver"] or "unnamed (Prefect form)",
        note=answer["note"], reviewed_slices=slices,
    )  # fmt: skip


def wait(
    context: Context, policy: FamilyPolicy, release: str, evidence: Digest, check: Callable[[], None] = lambda: None
) -> None:
    """Pause the flow run until the decisions suffice; called from the flow, because only a flow can pause.

    Raises Stopped when the evidence is rejected, and what `check` raises: it is asked before anything is decided.
    """
    asked = 0
    check()
    while (decision := operation.outcome(context, policy, evidence)) != "promote":
        if decision == "reject":
            raise operation.rejection(context, policy, release, evidence)
        known = len(operation.decisions(context, policy, evidence))
        answer = _ask(context, policy, release, evidence, asked)
        check()
        asked += 1
        if answer and len(operation.decisions(context, policy, evidence)) == known:
            record(context, policy.family, evidence, answer)


def _ask(context: Context, policy: FamilyPolicy, release: str, evidence: Digest, asked: int) -> dict[str, Any]:
    context.announce(_where_to_answer(policy.family, evidence))
    form = ApprovalForm.with_initial_data(description=markdown(release_view(context, policy.family, release)))
    try:
        answer = pause_flow_run(
            wait_for_input=form,
            timeout=int(policy.approvals.timeout_s),
            poll_interval=POLL_S,
            key=evidence if not asked else f"{evidence}-{asked}",
        )
    except FlowPauseTimeout:
        raise Refused(
            "nobody answered, which counts as a rejection",
            where=policy.family,
            expected=f"a decision within {policy.approvals.timeout_s:g} s (approvals.timeout_s)",
            next_step="run the release again to ask again",
        ) from None
    return answer.model_dump() if answer else {}


def _where_to_answer(family: str, evidence: Digest) -> str:
    return (
        f"{family} waits for approval of evidence {evidence}\n"
        f"  form      {flow_run.ui_url or 'the Prefect UI'}\n"
        f"  terminal  soundcheck approve {family} --key KEY --evidence {evidence} --decision promote"
    )
