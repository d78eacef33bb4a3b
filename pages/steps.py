"""The artifact of each step: a few lines of Markdown that say what the step found.

Boundary: no I/O. A step's artifact is made of its document alone, so it can be drawn as soon as that is written.
Source: house.md (the way data flows); pages.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from contracts.approval import Approval, Evidence
from contracts.bundle import BundleManifest
from contracts.digest import Digest
from contracts.document import Document
from contracts.errors import WrongCall
from contracts.policy import CanaryPlan
from contracts.registry_entry import RegistryEntry
from contracts.reports import (
    Calibration,
    CanaryReport,
    GateReport,
    Quantiles,
    ReplayReport,
    SafetyReport,
    ScoreReport,
    SliceEvidence,
    TimingReport,
)
from contracts.routing import RouteTable
from contracts.train_manifest import TrainManifest
from contracts.verdict import Verdict
from pages import approval
from pages.comparing import canary_scale, difference, limit, worst_first
from pages.figures import PERCENT, duration, many, moment, plain, scale, size, slice_name
from pages.markdown import bullets, code, table, text, verdict
from pages.plots.latency import offline
from pages.reading import headline, planted, worded
from pages.staged import measured
from pages.stops import stop_of
from pages.view import ReleaseView

STEPS = ("capture", "register", "score", "gate", "package", "stage", "canary", "approve", "promote")
"""The steps of a release that have an artifact, in order."""

_SHOWN = 8


def artifact(step: str, source: ReleaseView | Document) -> str:
    """Markdown for a step, from its own document or from the whole view.

    Args:
        step: one of STEPS.
        source: the document that the step wrote, or the release so far.

    Raises:
        WrongCall: the step or the kind of document is not known here.
    """
    if step not in STEPS:
        raise WrongCall("there is no artifact for this step", got=plain(step), expected=", ".join(STEPS))
    if isinstance(source, ReleaseView):
        lines = _of_view(step, source)
    else:
        writer = _WRITERS.get(type(source))
        if writer is None:
            raise WrongCall(
                "there is no artifact for this kind of document",
                where=f"step {step}",
                got=source.KIND,
                expected=", ".join(sorted(kind.KIND for kind in _WRITERS)),
            )
        lines = writer(source)
    return "\n".join(lines).rstrip() + "\n"


def _of_view(step: str, view: ReleaseView) -> list[str]:
    documents: dict[str, tuple[Document | None, ...]] = {
        "capture": (view.train,),
        "register": (view.entry,),
        "score": (view.score, view.timing, view.safety),
        "gate": (view.gate,),
        "package": (view.manifest,),
        "stage": (view.replay,),
        "canary": (view.canary,),
    }
    if step == "approve":
        return [*approval.markdown(view).splitlines(), "", *_join([_approval(one) for one in view.approvals])]
    if step == "promote":
        return [f"**{text(view.family)} {text(view.version)}** {text(headline(view))}", ""]
    if view.canary and step == "canary":
        return _canary(view.canary, view.policy.canary)
    reached = [document for document in documents[step] if document is not None]
    if not reached and view.stopped_at == step:
        return [f"**Stopped** {text(view.family)} {text(view.version)}", "", *table(("", ""), _answers(view))]
    return _join([_WRITERS[type(one)](one) for one in reached]) or ["Not reached."]


def _answers(view: ReleaseView) -> list[tuple[str, str]]:
    return [(question, text(answer)) for question, answer in stop_of(view).answers()]


def _join(parts: list[list[str]]) -> list[str]:
    return [line for part in parts for line in (*part, "")]


def _judged(found: Verdict, name: str) -> list[str]:
    return [f"**{verdict(found.value)}** {name}", "", *bullets(text(reason) for reason in found.reasons)]


def _digest(value: Digest | None) -> str:
    return code(value) if value else "none"


def _train(train: TrainManifest) -> list[str]:
    data = train.data
    heard = (
        f"{many(data.utterances, 'utterance')}, {data.hours:.1f} h, {many(data.speakers, 'speaker')}"
        if data
        else "not ours: third-party model (R1.5)"
    )
    rows = [
        ("origin", text(train.origin.replace("_", " "))),
        ("training data", heard),
        ("training code", code(train.training_code_sha) + (" **dirty: can never be promoted**" if train.dirty else "")),
        ("base model", text(train.base_model)),
        ("leakage", text(train.leakage)),
        ("payload", f"{_digest(train.payload_digest)} {many(len(train.payload), 'file')}"),
    ]
    return [f"**Captured** {text(train.family)} {text(train.version)}", "", *table(("what", "value"), rows)]


def _entry(entry: RegistryEntry) -> list[str]:
    fields = entry.model_dump(mode="json")
    envelope = fields.pop("resource_envelope")
    rows = [(name.replace("_", " "), _value(value)) for name, value in fields.items()]
    rows += [(f"envelope: {name.replace('_', ' ')}", _value(value)) for name, value in envelope.items()]
    return [f"**Registered** {text(entry.model_id)} {text(entry.version)}", "", *table(("field", "value"), rows)]


def _value(value: Any) -> str:
    return text(", ".join(map(str, value)) if isinstance(value, list) else value)


def _score(score: ScoreReport) -> list[str]:
    ordered = worst_first(score.comparisons)
    rows = [
        (
            f"{code(one.slice)} {text(one.pack)}",
            text(scale(one.metric).label + (" (parent)" if one.baseline == "parent" else "")),
            scale(one.metric).value(one.stable.rate if one.stable else None),
            scale(one.metric).value(one.candidate.rate),
            difference(one).replace("[", "\\[") or "none",
            limit(one),
            verdict(one.verdict.value),
        )
        for one in ordered[:_SHOWN]
    ]
    header = ("slice", "metric", "stable", "candidate", "difference [interval]", "held to", "verdict")
    rest = len(ordered) - len(rows)
    return [
        f"**Scored** {text(score.family)} {text(score.version)}: {many(len(ordered), 'comparison')} on "
        f"{', '.join(text(pack) for pack in score.packs)}, normaliser {text(score.normalizer)}",
        "",
        *(table(header, rows, right=(2, 3, 4, 5)) or ["Nothing was compared.", ""]),
        *([f"and {many(rest, 'more comparison')} that did no worse", ""] if rest else []),
        *bullets(_calibrated(one, score.stable_calibration) for one in score.calibration),
    ]


def _calibrated(one: Calibration, stable: tuple[Calibration, ...]) -> str:
    before = [f" (stable {PERCENT.value(found.error)})" for found in stable if found.pack == one.pack]
    return f"expected calibration error on {text(one.pack)} {PERCENT.value(one.error)}{''.join(before)}"


def _timing(timing: TimingReport) -> list[str]:
    rows = [
        _quantiles(row.name if arm == "candidate" else f"{row.name}, {arm}", one)
        for row in offline(timing, None)
        for arm, one in row.arms()
    ]
    return [
        f"**Timed** RTF {timing.rtf:.2g}, peak {timing.peak_memory_mb:.0f} MB, "
        f"{timing.cost_usd_per_audio_hour:.2g} USD an audio hour",
        "",
        *table(_QUANTILES, rows, right=(1, 2, 3, 4, 5)),
    ]


_QUANTILES = ("time, ms", "p50", "p95 [95% interval]", "p99", "max", "n")


def _quantiles(name: str, one: Quantiles) -> tuple[str, ...]:
    p50, p95, p99, most = (f"{value:.0f}" for value in (one.p50, one.p95, one.p99, one.maximum))
    bounds = " \\[{:.0f}, {:.0f}]".format(*one.p95_interval) if one.p95_interval else ""
    return name, p50, p95 + bounds, p99, most, f"{one.n:,}"


def _safety(safety: SafetyReport) -> list[str]:
    return [
        *_judged(safety.verdict, "safety"),
        *bullets(map(text, (*worded(safety), *planted(safety)))),
    ]


def _gate(gate: GateReport) -> list[str]:
    named = [("quality", gate.quality), ("serving", gate.serving), ("safety", gate.safety)]
    named += [("provenance", gate.provenance)] if gate.provenance else []
    rows = [(name, verdict(found.value), "; ".join(map(text, found.reasons))) for name, found in named]
    review = [f"manual review is mandatory for {code(name)}" for name in gate.manual_review]
    title = f"**{verdict(gate.verdict.value)}** {text(gate.family)} {text(gate.version)} at the gate"
    known = [*review, *(f"waived, see {code(one)}" for one in gate.waivers), *map(text, gate.exchange)]
    known += [f"policy changed: {text(sentence)}" for sentence in gate.policy_changes]
    return [title, "", *table(("gate", "verdict", "reasons"), rows), *bullets(known)]


def _bundle(manifest: BundleManifest) -> list[str]:
    digest = manifest.digest()
    total = sum(entry.size for entry in manifest.files.values())
    rows = [(code(path), size(entry.size), code(entry.sha256)) for path, entry in sorted(manifest.files.items())]
    return [
        f"**Packaged** bundle {code(digest)}: {many(len(rows), 'file')}, {size(total)}",
        "",
        f"Restore it with {code(f'soundcheck restore {digest} --into DIR')}.",
        "",
        *table(("path", "size", "sha256"), rows, right=(1,)),
    ]


def _replay(replay: ReplayReport) -> list[str]:
    rows = [
        (
            text(check.name),
            text(check.clause),
            verdict(check.verdict.value),
            "; ".join(map(text, check.verdict.reasons)),
        )
        for check in replay.checks
    ]
    load = [_quantiles("final", replay.warm.final_ms), _quantiles("queue", replay.warm.queue_ms)]
    first = (("first partial", replay.warm.first_partial_ms), ("first audio", replay.warm.first_audio_ms))
    load = [*(_quantiles(name, found) for name, found in first if found), *load]
    rehearsed = duration(replay.rehearsal_s) if replay.rehearsal_s is not None else "not rehearsed"
    return [
        f"**{verdict(replay.verdict.value)}** golden outputs {replay.golden_equal} of {replay.golden_expected} equal, "
        f"rollback {rehearsed}, {replay.planted_found} of {replay.planted_strings} planted strings found",
        "",
        *table(("check", "clause", "verdict", "reasons"), rows),
        f"{many(replay.warm.requests, 'request')} at concurrency {replay.warm.concurrency}: "
        f"{replay.warm.failures} failed, {replay.warm.timeouts} timed out, {replay.warm.retries} retried.",
        "",
        *table(_QUANTILES, load, right=(1, 2, 3, 4, 5)),
        *bullets(map(text, measured(replay))),
    ]


def _canary(canary: CanaryReport, plan: CanaryPlan | None = None) -> list[str]:
    lines = [f"**{verdict(canary.verdict.value)}** canary: {canary.decision.replace('_', ' ')}", ""]
    header = ("slice", "metric", "stable", "canary", "difference [interval]", "state")
    for stage in canary.stages:
        lines += [
            f"**{stage.stage}**: {stage.decision.replace('_', ' ')} after {duration(stage.duration_s)}, "
            f"{stage.stable_sessions:,} stable and {stage.canary_sessions:,} canary sessions",
            "",
            *bullets(text(reason) for reason in stage.reasons),
            *table(header, (_evidence_row(one, plan) for one in stage.evidence), right=(2, 3, 4)),
        ]
    return lines


def _evidence_row(one: SliceEvidence, plan: CanaryPlan | None) -> tuple[str, ...]:
    metric = canary_scale(one.metric, plan)
    bounds = metric.interval(one.lower, one.upper).replace("[", "\\[")
    return (
        text(slice_name(one.slice)),
        text(metric.label),
        metric.value(one.stable_rate),
        metric.value(one.canary_rate),
        f"{metric.difference(one.estimate)} {bounds}".strip(),
        one.state,
    )


def _approval(one: Approval) -> list[str]:
    who = f"signed with {code(one.key_id)}" if one.mode == "signed" else "unsigned, typed into the form"
    note = f": {text(one.note)}" if one.note else ""
    return [
        f"**{one.decision}** by {text(one.approver)} ({who}), {moment(one.at)}, evidence {code(one.evidence)}{note}"
    ]


def _evidence(evidence: Evidence) -> list[str]:
    rows = [
        (name.replace("_", " "), _digest(value))
        for name, value in evidence.model_dump(mode="json").items()
        if name not in ("family", "version")
    ]
    title = f"**Evidence** {code(evidence.digest())} of {text(evidence.family)} {text(evidence.version)}"
    return [title, "", *table(("document", "digest"), rows)]


def _route(route: RouteTable) -> list[str]:
    rows = [
        ("stable", _digest(route.stable)),
        ("warm", ", ".join(map(code, route.warm)) or "none"),
        ("moved", text(moment(route.moved_at))),
        ("by", text(route.actor)),
        ("reason", text(route.reason)),
        ("ledger head", f"{code(route.ledger_head)} at {route.ledger_sequence}"),
    ]
    return [f"**Serving** {text(route.family)}, route table {route.version}", "", *table(("what", "value"), rows)]


_WRITERS: dict[type[Document], Callable[[Any], list[str]]] = {
    TrainManifest: _train,
    RegistryEntry: _entry,
    ScoreReport: _score,
    TimingReport: _timing,
    SafetyReport: _safety,
    GateReport: _gate,
    BundleManifest: _bundle,
    ReplayReport: _replay,
    CanaryReport: _canary,
    Approval: _approval,
    Evidence: _evidence,
    RouteTable: _route,
}
