"""R4 Gate: the verdicts of a scored release.

Boundary: reads reports, writes one document and one ledger event.
Invariants: a release goes on only with Pass; every other value stops it with the reasons in sentences (R4.2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import JsonValue

from contracts.digest import Digest
from contracts.errors import Refused
from contracts.policy import FamilyPolicy
from contracts.reports import Comparison, GateReport, SafetyReport, ScoreReport, TimingReport
from contracts.train_manifest import TrainManifest
from contracts.verdict import Value, Verdict, worst
from operations.context import Context, once, put
from operations.waive import commands, holding, stopping
from registry.documents import get_document

if TYPE_CHECKING:
    from evalpacks.exchange import Point

_COMPARED = ("score_report", "timing_report")


class Stopped(Refused):
    """A release ended at a step with a verdict that is not Pass; the ledger has the evidence."""

    def __init__(
        self, step: str, verdict: Verdict, *, family: str, version: str, release: Digest, next_step: str
    ) -> None:
        super().__init__(
            f"the release of {family} {version} stopped at the {step} step: {verdict.value.value}",
            where=f"{family} {version}",
            got="; ".join(verdict.reasons[:3]),
            expected="pass",
            next_step=next_step,
        )
        self.step = step
        self.verdict = verdict
        self.release = release

    def __reduce__(self) -> tuple[object, ...]:
        """Cross a process border as a plain refusal."""
        return Refused, (self.what,)


def gate(context: Context, family: str, captured: dict[str, Digest], scored: dict[str, Digest]) -> dict[str, Digest]:
    """Outputs: `gate_report`; raises Stopped after the verdict is in the ledger.

    Waivers that hold now are inputs, so that one more, or one less, asks the gates again.
    """
    waivers = holding(context, family, payload=captured["payload"], policy=captured["policy"])
    previous, released = previous_policy(context, family), _released(context, family, scored)
    inputs = {name: scored[name] for name in ("score_report", "timing_report", "safety_report")}
    inputs |= {"policy": captured["policy"], "train_manifest": captured["train_manifest"]}
    inputs |= {"previous_policy": previous} if previous else {}
    inputs |= {f"waiver.{number}": digest for number, digest in enumerate(sorted(waivers))}
    for version, reports in released.items():
        inputs |= {f"{name}.{version}": reports[name] for name in _COMPARED}

    def body() -> tuple[dict[str, Digest], dict[str, JsonValue]]:
        from evalpacks import gates

        store = context.store
        policy = get_document(store, FamilyPolicy, captured["policy"])
        score = get_document(store, ScoreReport, scored["score_report"])
        timing = get_document(store, TimingReport, scored["timing_report"])
        safety = get_document(store, SafetyReport, scored["safety_report"])
        manifest = get_document(store, TrainManifest, captured["train_manifest"])
        before = get_document(store, FamilyPolicy, previous) if previous else None
        others = _models(context, family, released, timing)
        report = gates.gate(score, timing, safety, policy, previous=before, waivers=waivers, released=others)
        origin = provenance(manifest, policy)
        report = report.model_copy(update={"provenance": origin, "verdict": worst([report.verdict, origin])})
        (digest,) = put(context, report)
        facts: dict[str, JsonValue] = {"version": manifest.version, "verdict": report.verdict.value.value}
        if report.verdict.value != Value.PASS:
            facts["reasons"] = list(report.verdict.reasons[:10])
            failed = gates.stopping(score, timing, policy, waivers)
            facts |= _figures(failed[0]) if failed else {}
        return {"gate_report": digest}, facts

    release = captured["release"]
    outputs = once(context, family=family, release=release, step="gate", inputs=inputs, body=body)
    report = get_document(context.store, GateReport, outputs["gate_report"])
    if report.verdict.value != Value.PASS:
        raise Stopped(
            "gate", report.verdict, family=family, version=report.version, release=release,
            next_step=_next_step(context, report, inputs),
        )  # fmt: skip
    return outputs


def _figures(row: Comparison) -> dict[str, JsonValue]:
    """What the ledger says of the comparison that weighs most."""
    return {"slice": row.slice, "metric": row.metric, "estimate": row.estimate,
            "lower": row.lower, "upper": row.upper, "margin": row.margin}  # fmt: skip


def _next_step(context: Context, report: GateReport, inputs: dict[str, Digest]) -> str:
    """What helps; where only evidence is lacking, the command of each waiver that would let the release go on."""
    train = "read the release report; train a better candidate, or collect more evidence for the slice"
    if report.verdict.value != Value.INCONCLUSIVE:
        return train
    lines = commands(report.family, stopping(context, report.family, inputs))
    if lines:
        context.announce("\n  ".join(["inconclusive; an approver may let it go on:", *lines]))
    return "\n    ".join([train, *(["or let an approver sign for each:"] if lines else []), *lines])


def _released(context: Context, family: str, scored: dict[str, Digest]) -> dict[str, dict[str, Digest]]:
    """Version -> score and timing report of each model that was stable, was not taken back, and heard these packs."""
    state = context.ledger(family).state()
    packs = get_document(context.store, ScoreReport, scored["score_report"]).packs
    found: dict[str, dict[str, Digest]] = {}
    for move in state.history:
        step = state.releases[move.release].steps.get("score") if move.kind == "promote" and move.release else None
        if step is None or move.bundle in state.withdrawn | state.condemned:
            continue
        if get_document(context.store, ScoreReport, step.outputs["score_report"]).packs == packs:
            found[move.version] = {name: step.outputs[name] for name in _COMPARED}
    return found


def _models(
    context: Context, family: str, released: dict[str, dict[str, Digest]], timing: TimingReport
) -> dict[str, Point]:
    """Each model's cost as measured at its release, the stable one's as measured beside the candidate."""
    from evalpacks.exchange import point_of

    found = {
        version: point_of(
            get_document(context.store, ScoreReport, reports["score_report"]),
            get_document(context.store, TimingReport, reports["timing_report"]),
        )
        for version, reports in released.items()
    }
    state = context.ledger(family).state()
    stable, cost = state.packaged.get(state.current or ""), timing.stable_cost_usd_per_audio_hour
    if stable in found and cost is not None:
        found[stable] = found[stable]._replace(cost=cost)
    return found


def previous_policy(context: Context, family: str) -> Digest | None:
    """The policy of the last promoted release (R4.7), None before the first."""
    state = context.ledger(family).state()
    history = [move.release for move in state.history if move.kind == "promote" and move.release]
    return state.releases[history[-1]].steps["capture"].outputs.get("policy") if history else None


def provenance(manifest: TrainManifest, policy: FamilyPolicy) -> Verdict:
    """R1.2, R1.3, R1.5: leakage that cannot be known is Inconclusive unless the policy waives it, in sight."""
    if manifest.dirty:
        return Verdict(value=Value.FAIL, reasons=("the work tree was dirty when the candidate was captured",))
    if not manifest.leakage.startswith("inconclusive"):
        return Verdict(value=Value.PASS, reasons=(f"leakage: {manifest.leakage}",))
    waiver = next((waiver for waiver in policy.waivers if waiver.check == "leakage"), None)
    if waiver is None:
        return Verdict(value=Value.INCONCLUSIVE, reasons=(f"leakage is {manifest.leakage}",))
    return Verdict(
        value=Value.PASS, reasons=(f"leakage is {manifest.leakage}; waived by {waiver.owner}: {waiver.reason}",)
    )
