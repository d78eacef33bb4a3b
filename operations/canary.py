"""R7 Canary: the candidate meets live traffic, stage by stage, and the judge decides.

Boundary: the step as its parts, each of which can be run again: find the canary, run a stage, conclude. What a stage is
made of: canary_route.py (where traffic goes), canary_watch.py (looks), canary_rows.py (what is compared),
canary_judge.py, canary_looks.py; what follows its pass: canary_held.py.
Invariants: every stage has a stop condition and a deadline (R7.1); a stage that is decided is in the ledger before
anything is done about it, and is not run again; one that was interrupted goes on where it is (fault 45); after anything
but `promote` the route table has no canary, and its family is as it was before.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import JsonValue

from contracts.digest import Digest, short
from contracts.errors import Refused
from contracts.policy import FamilyPolicy
from contracts.reports import CanaryDecision, CanaryReport, StageResult
from contracts.routing import Stage
from contracts.verdict import Value, Verdict
from operations import pointer
from operations.canary_route import (
    SLICES,
    STAGE,
    Began,
    Canary,
    enter,
    route_back,
    routed_back,
    settle_slices,
    withdraw,
)
from operations.canary_watch import Seen, Tell, Watch, may_go_on
from operations.context import Context, once, put
from operations.gate import Stopped
from registry.documents import get_document

_VERDICT: dict[CanaryDecision, Value] = {
    "promote": Value.PASS,
    "continue": Value.INCONCLUSIVE,
    "hold": Value.INCONCLUSIVE,
    "partial_rollback": Value.FAIL,
    "rollback": Value.FAIL,
}
_NEXT: dict[CanaryDecision, str] = {
    "promote": "",
    "continue": "run the release again",
    "hold": "send traffic (soundcheck traffic) or look at the gateway, change what held it, and release again",
    "rollback": "read the canary evidence in the release report; stable serves all traffic",
    "partial_rollback": "read the canary evidence in the release report: everywhere but on those slices it held; "
    "stable serves all traffic",
}


def canary(
    context: Context, family: str, captured: dict[str, Digest], packaged: dict[str, Digest], staged: dict[str, Digest]
) -> dict[str, Digest]:
    """The whole step. Outputs: `canary_report`; raises Stopped when the judge does not say `promote`."""
    found = _canary(
        context, family, captured["release"], policy=captured["policy"], bundle=packaged["bundle"],
        replay_report=staged["replay_report"],
    )  # fmt: skip
    for stage in found.stages:
        report = run_stage(context, found, stage)
        if not goes_on(context, report):
            break
    return conclude(context, found, report)


def find(context: Context, family: str, release: str) -> Canary:
    """The canary of a release whose bundle is packaged and staged; Refused where it has not come so far."""
    known = context.ledger(family).state().releases.get(release)
    steps = known.steps if known else {}
    lacking = [step for step in ("capture", "package", "stage") if step not in steps]
    if lacking:
        raise Refused(
            "the release has not come to its canary",
            where=f"{family}, release {short(release)}",
            got="not done: " + ", ".join(lacking),
            expected="a bundle that is packaged and staged",
            next_step=f"soundcheck release {family}",
        )
    return _canary(
        context, family, release, policy=steps["capture"].outputs["policy"], bundle=steps["package"].outputs["bundle"],
        replay_report=steps["stage"].outputs["replay_report"],
    )  # fmt: skip


def must_be_approved_first(canary: Canary) -> bool:
    """R8.4: whether people must approve before the first user is exposed; Refused for a plan without a shadow stage.

    A first release is heard by labelled probes alone before it is promoted, and is approved before that anyway.
    """
    risky = canary.policy.high_risk or bool(canary.policy.high_risk_slices)
    if not risky or canary.stable is None:
        return False
    if canary.stages[:1] != ("shadow",):
        raise Refused(
            "a high-risk family must be shadowed before people approve its first exposure (R8.4)",
            where=f"{canary.family}: canary.stages",
            got=", ".join(canary.stages),
            expected="shadow first",
            next_step="put shadow first in canary.stages of params.yaml",
        )
    return True


def running(context: Context, family: str) -> str:
    """The release whose canary is routed now; Refused where none is."""
    table = pointer.current(context, family).table
    if table is None or table.canary is None:
        raise Refused(
            "no canary is running",
            where=family,
            expected="a canary that was interrupted",
            next_step=f"soundcheck release {family}",
        )
    return table.canary.release


def _canary(
    context: Context, family: str, release: str, *, policy: Digest, bundle: Digest, replay_report: Digest
) -> Canary:
    state, stable = context.ledger(family).state(), pointer.current(context, family).stable
    inputs = {"bundle": bundle, "replay_report": replay_report, "policy": policy}
    inputs |= _interfered(context, family, release)
    return Canary(
        family=family,
        release=release,
        version=state.releases[release].version if release in state.releases else "",
        bundle=bundle,
        stable=stable,
        policy=get_document(context.store, FamilyPolicy, policy),
        inputs=inputs | ({"stable": stable} if stable else {}),
    )


def _interfered(context: Context, family: str, release: str) -> dict[str, Digest]:
    """The last abort of this canary, or rollback of its family, since it was staged: after it, it begins anew."""
    found: dict[str, Digest] = {}
    for event in context.ledger(family).events():
        if event.step == "stage" and event.release == release:
            found = {}
        elif event.outcome == "complete" and (
            event.step == "rollback" or (event.step == "abort" and event.release == release)
        ):
            found = {"after": event.digest()}
    return found


def require_routed(context: Context, canary: Canary) -> None:
    """B7: Refused where a canary that had held was taken off while its approval was awaited."""
    table = pointer.current(context, canary.family).table
    if table is None or table.canary is None or table.canary.release != canary.release:
        raise Refused(
            "the canary was taken off while its approval was awaited",
            where=f"{canary.family} {canary.version}",
            got=f"{table.reason}, by {table.actor}" if table else "no route table",
            expected="a canary that is routed until it is promoted",
            next_step=f"soundcheck release {canary.family}: the canary begins anew",
        )


def run_stage(context: Context, canary: Canary, stage: Stage, tell: Tell = lambda _: None) -> Digest:
    """Run a stage to its decision, or find that it is decided; the report of the stages so far.

    Raises DependencyFailed where the store is away when the pointer or the ledger is needed: run it again.
    """
    known = decided(context, canary)
    earlier = known.stages if known else ()
    if any(result.stage == stage for result in earlier):
        (digest,) = put(context, report_of(canary, earlier))
        return digest
    result, close = _watch(context, canary, stage, earlier, tell)
    (digest,) = put(context, report_of(canary, (*earlier, result)))
    if result.decision != "hold":
        facts: dict[str, JsonValue] = {"stage": stage, "decision": result.decision}
        canary.append(context, STAGE, "complete", {"canary_report": digest}, facts | ({"close": True} if close else {}))
    return digest


def goes_on(context: Context, report: Digest) -> bool:
    """Whether the next stage may follow this report's last."""
    return _held(get_document(context.store, CanaryReport, report).stages[-1])


def conclude(context: Context, canary: Canary, report: Digest) -> dict[str, Digest]:
    """Take a canary that did not hold off the route table, and write the step down. Outputs: `canary_report`.

    Raises Stopped for anything but `promote`.
    """

    def body() -> tuple[dict[str, Digest], dict[str, JsonValue]]:
        said = get_document(context.store, CanaryReport, report)
        facts: dict[str, JsonValue] = {"decision": said.decision, "verdict": said.verdict.value.value}
        if said.decision != "promote":
            facts["reasons"] = list(said.verdict.reasons[:5])
        return {"canary_report": report}, facts

    outputs = once(
        context,
        family=canary.family,
        release=canary.release,
        step="canary",
        inputs=canary.inputs,
        body=body,
        settled=lambda facts: facts["decision"] != "hold",
    )
    settled = get_document(context.store, CanaryReport, outputs["canary_report"])
    if settled.decision != "promote":
        raise stopped(context, canary, settled)
    return outputs


def stopped(context: Context, canary: Canary, settled: CanaryReport) -> Stopped:
    """Take a canary whose end is in the ledger off the route table; what stopped it."""
    ended = (event for step in (STAGE, "canary") for event in canary.events(context, step))
    close = any(event.data.get("close") for event in ended)
    withdraw(context, canary.family, f"canary: {settled.decision}", release=canary.release, close=close)
    return Stopped(
        "canary", settled.verdict, family=canary.family, version=canary.version, release=canary.release,
        next_step=_NEXT[settled.decision],
    )  # fmt: skip


def decided(context: Context, canary: Canary) -> CanaryReport | None:
    """The report of the stages that are decided, None before the first."""
    done = [event for event in canary.events(context, STAGE) if event.outcome == "complete"]
    return get_document(context.store, CanaryReport, done[-1].outputs["canary_report"]) if done else None


def _watch(
    context: Context, canary: Canary, stage: Stage, earlier: tuple[StageResult, ...], tell: Tell
) -> tuple[StageResult, bool]:
    """The stage's result, and whether open streams of the canary must be closed."""
    began = enter(context, canary, stage)
    settle_slices(context, canary, stage)
    watch = Watch(context, canary, stage, began, tell)
    while True:
        seen = watch.until_decided()
        if seen.decision == "partial_rollback" and may_go_on(canary, seen, routed_back(context, canary)):
            partial = result_of(context, canary, stage, began, watch, seen)
            (report,) = put(context, report_of(canary, (*earlier, partial)))
            route_back(context, canary, stage, seen.slices, report)
            continue
        if seen.decision == "partial_rollback":
            seen = seen._replace(decision="rollback")
        return result_of(context, canary, stage, began, watch, seen), seen.close


def result_of(context: Context, canary: Canary, stage: Stage, began: Began, watch: Watch, seen: Seen) -> StageResult:
    """A stage as it ended, with what was routed back in it (R7.4)."""
    back = _routed_in(context, canary, stage)
    decision: CanaryDecision = "partial_rollback" if back and seen.decision == "promote" else seen.decision
    failed = tuple(row for result in back for row in result.evidence if row.state == "worse")
    said = tuple(reason for result in back for reason in result.reasons)
    lasted_s = context.now() - datetime.fromisoformat(began.at)
    return StageResult(
        stage=stage,
        route_version=began.version,
        started_at=began.at,
        duration_s=max(round(lasted_s.total_seconds(), 3), 0.0),
        stable_sessions=seen.stable_sessions,
        canary_sessions=seen.canary_sessions,
        decision=decision,
        reasons=(*said, *seen.reasons),
        evidence=(*failed, *seen.evidence),
        looks=watch.looks,
    )


def _routed_in(context: Context, canary: Canary, stage: Stage) -> list[StageResult]:
    """The stage as it stood each time that failing slices of it were routed back."""
    found = [event for event in canary.events(context, SLICES) if event.data["stage"] == stage]
    reports = [get_document(context.store, CanaryReport, event.outputs["canary_report"]) for event in found]
    return [report.stages[-1] for report in reports[-1:]]


def _held(result: StageResult) -> bool:
    """Whether a stage went well, but for slices that were routed back."""
    return result.decision in ("promote", "partial_rollback")


def report_of(canary: Canary, stages: tuple[StageResult, ...]) -> CanaryReport:
    """The report of these stages, and what they led to."""
    partial = [stage for stage in stages if stage.decision == "partial_rollback"]
    last = stages[-1]
    decision: CanaryDecision = "partial_rollback" if partial and _held(last) else last.decision
    reasons = tuple(
        reason for stage in (partial if decision == "partial_rollback" else [last]) for reason in stage.reasons
    )
    return CanaryReport(
        family=canary.family,
        bundle=canary.bundle,
        stable=canary.stable,
        stages=stages,
        decision=decision,
        verdict=Verdict(value=_VERDICT[decision], reasons=reasons),
    )


def abort(context: Context, family: str, *, actor: str) -> Literal["stopped", "none"]:
    """Stop the running canary at once: stable serves all traffic (B7)."""
    table = pointer.current(context, family).table
    if table is None or table.canary is None:
        return "none"
    context.ledger(family).append(
        "abort", "complete", at=context.timestamp(), release=table.canary.release, data={"actor": actor}
    )
    withdraw(context, family, f"aborted by {actor}", actor=actor)
    return "stopped"
