"""R7 Canary: the candidate meets live traffic, stage by stage, and the judge decides.

Boundary: moves the family's pointer, reads telemetry, writes one document and ledger events.
Invariants: every stage has a stop condition and a deadline (R7.1); a stage that was interrupted goes on from its first
look, it does not start over; after anything but `promote` the route table has no canary.
"""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from pydantic import JsonValue

from contracts.digest import Digest
from contracts.policy import CanaryPlan, FamilyPolicy
from contracts.reports import CanaryReport, StageResult
from contracts.routing import CanaryRoute, Stage
from contracts.verdict import Value, Verdict
from monitoring.canary import Judgement, judge
from operations import pointer
from operations.context import Context, once, put
from operations.gate import Stopped
from operations.mirror import follow
from registry.documents import get_document

if TYPE_CHECKING:
    import pandas as pd

LOOK_S = 1.0
"""Seconds between two looks of the judge."""
_VERDICT = {
    "promote": Value.PASS,
    "continue": Value.INCONCLUSIVE,
    "hold": Value.INCONCLUSIVE,
    "partial_rollback": Value.FAIL,
    "rollback": Value.FAIL,
}


def canary(
    context: Context, family: str, captured: dict[str, Digest], packaged: dict[str, Digest], staged: dict[str, Digest]
) -> dict[str, Digest]:
    """Outputs: `canary_report`; raises Stopped when the judge does not say `promote`."""
    policy = get_document(context.store, FamilyPolicy, captured["policy"])
    stable = pointer.current(context, family).stable
    release = captured["release"]
    inputs = {"bundle": packaged["bundle"], "replay_report": staged["replay_report"], "policy": captured["policy"]}
    inputs |= {"stable": stable} if stable else {}

    def body() -> tuple[dict[str, Digest], dict[str, JsonValue]]:
        report = _stages(context, policy, packaged["bundle"], stable, release)
        (digest,) = put(context, report)
        facts: dict[str, JsonValue] = {"decision": report.decision, "verdict": report.verdict.value.value}
        if report.decision != "promote":
            facts["reasons"] = list(report.verdict.reasons[:5])
        return {"canary_report": digest}, facts

    outputs = once(
        context,
        family=family,
        release=release,
        step="canary",
        inputs=inputs,
        body=body,
        settled=lambda facts: facts["decision"] != "hold",
    )
    report = get_document(context.store, CanaryReport, outputs["canary_report"])
    if report.decision != "promote":
        version = context.ledger(family).state().releases[release].version
        raise Stopped(
            "canary", report.verdict, family=family, version=version, release=release, next_step=_NEXT[report.decision]
        )
    return outputs


_NEXT = {
    "continue": "run the release again",
    "hold": "send traffic (soundcheck traffic) or look at the gateway, change what held it, and release again",
    "rollback": "read the canary evidence in the release report; stable serves all traffic",
    "partial_rollback": "read the canary evidence in the release report; stable serves all traffic",
}


def _stages(
    context: Context, policy: FamilyPolicy, bundle: Digest, stable: Digest | None, release: str
) -> CanaryReport:
    plan = policy.canary
    names: tuple[Stage, ...] = plan.stages if stable else ("probe",)
    results = []
    for name in names:
        result = _stage(context, policy.family, plan, name, bundle, stable, release)
        results.append(result)
        if result.decision != "promote":
            break
    decision = results[-1].decision
    if decision != "promote":
        _withdraw(context, policy.family, f"canary: {decision}")
    return CanaryReport(
        family=policy.family,
        bundle=bundle,
        stable=stable,
        stages=tuple(results),
        decision=decision,
        verdict=Verdict(value=_VERDICT[decision], reasons=results[-1].reasons),
    )


def _stage(
    context: Context,
    family: str,
    plan: CanaryPlan,
    stage: Stage,
    bundle: Digest,
    stable: Digest | None,
    release: str,
) -> StageResult:
    """Route, then look until the judge decides; the stage's first look is in the ledger, so that a restart goes on."""
    route = CanaryRoute(
        bundle=bundle, stage=stage, weight=plan.weights.get(stage, 1.0), cohort=plan.cohort, release=release
    )
    seen = pointer.current(context, family)
    if seen.table is None or seen.table.canary != route:
        context.ledger(family).append(
            "canary_stage", "start", at=context.timestamp(), release=release, inputs={"bundle": bundle},
            data={"stage": stage},
        )  # fmt: skip
        warm = seen.table.warm if seen.table else ()
        table = pointer.move(
            context, family, seen, stable=stable, canary=route, warm=warm, actor="release", reason=f"canary: {stage}"
        )
        follow(context, family)
    else:
        table = seen.table
    pointer.wait_for_gateways(context, table, timeout_s=120)
    started_s = datetime.fromisoformat(table.moved_at).timestamp()
    judgement = _watch(context, family, _plan_of(plan, stage), stage, table.version, started_s, bool(stable))
    return StageResult(
        stage=stage,
        route_version=table.version,
        started_at=table.moved_at,
        duration_s=round(context.now().timestamp() - started_s, 3),
        stable_sessions=judgement.stable_sessions,
        canary_sessions=judgement.canary_sessions,
        decision=judgement.decision,
        reasons=judgement.reasons,
        evidence=judgement.evidence,
    )


def _watch(
    context: Context, family: str, plan: CanaryPlan, stage: Stage, version: int, started_s: float, baseline: bool
) -> Judgement:
    while True:
        now_s = context.now().timestamp()
        rows = _rows(context, family, stage, version, started_s)
        judgement = judge(rows, plan, now_s=now_s, started_s=started_s, baseline=baseline)
        needed = plan.min_sessions
        context.progress(f"canary {stage}", min(judgement.canary_sessions, needed), needed)
        if judgement.decision != "continue":
            return judgement
        time.sleep(LOOK_S)


def _rows(context: Context, family: str, stage: Stage, version: int, started_s: float) -> pd.DataFrame:
    """The stage's telemetry; shadow copies stand for the canary arm while its answers reach nobody."""
    from serving.telemetry import read

    rows = read(context.home / "telemetry", family, started_s)
    rows = rows[rows["route_version"] == version]
    if stage == "shadow":
        return rows.assign(arm=rows["arm"].replace("shadow", "canary"))
    return rows


def _plan_of(plan: CanaryPlan, stage: Stage) -> CanaryPlan:
    """Shadow answers reach nobody, so no client scores them: word errors are judged from the cohort stage on."""
    if stage != "shadow":
        return plan
    kept = {name: metric for name, metric in plan.metrics.items() if metric.kind != "ratio"}
    return plan.model_copy(update={"metrics": kept, "slices": ()})


def _withdraw(context: Context, family: str, reason: str) -> None:
    seen = pointer.current(context, family)
    if seen.table is not None and seen.table.canary is not None:
        pointer.move(
            context, family, seen, stable=seen.table.stable, slice_rules=seen.table.slice_rules,
            warm=seen.table.warm, actor="release", reason=reason,
        )  # fmt: skip
        follow(context, family)


def abort(context: Context, family: str, *, actor: str) -> Literal["stopped", "none"]:
    """Stop the running canary at once: stable serves all traffic (B7)."""
    seen = pointer.current(context, family)
    if seen.table is None or seen.table.canary is None:
        return "none"
    context.ledger(family).append(
        "abort", "complete", at=context.timestamp(), release=seen.table.canary.release, data={"actor": actor}
    )
    _withdraw(context, family, f"aborted by {actor}")
    return "stopped"
