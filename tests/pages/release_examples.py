"""Views of releases, made of release_documents: promoted, stopped, first, fallen over."""

from __future__ import annotations

import dataclasses
from functools import cache

from contracts.approval import Approval, Evidence
from contracts.bundle import BundleManifest
from contracts.ledger_event import GENESIS, LedgerEvent
from contracts.reports import Comparison, GateReport, SafetyReport
from contracts.verdict import Value, Verdict, worst
from operations.rollback_packet import Documents, make
from pages.view import ReleaseView
from tests.pages import rich_documents
from tests.pages.release_documents import (
    PASS,
    bundle_manifest,
    canary_report,
    name_of,
    policy,
    registry_entry,
    replay_report,
    score_report,
    timing_report,
    train_manifest,
)

FAIL = Verdict(value=Value.FAIL)


def open_verdict(reason: str) -> Verdict:
    """Inconclusive, with what would settle it."""
    return Verdict(value=Value.INCONCLUSIVE, reasons=(reason,))


def chain(view: ReleaseView) -> tuple[LedgerEvent, ...]:
    """The ledger events that tie the view's documents together."""
    documents = {
        name: document.digest()
        for name, document in (
            ("train_manifest", view.train),
            ("registry_entry", view.entry),
            ("score_report", view.score),
            ("timing_report", view.timing),
            ("safety_report", view.safety),
            ("gate_report", view.gate),
            ("bundle", view.manifest),
            ("replay_report", view.replay),
            ("canary_report", view.canary),
            ("evidence", view.evidence),
            ("approval", view.approvals[0] if view.approvals else None),
        )
        if document is not None
    }
    given = {"policy": view.policy.digest(), "stable": name_of("bundle v1"), "pack": name_of("pack")}
    given |= {"params": name_of("params"), "route_table": name_of("route table 14")}
    known = documents | given
    steps: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
        ("capture", ("params",), ("train_manifest",)),
        ("register", ("train_manifest",), ("registry_entry",)),
        ("score", ("registry_entry", "policy", "pack", "stable"), ("score_report", "timing_report", "safety_report")),
        ("gate", ("policy", "score_report", "timing_report", "safety_report"), ("gate_report",)),
        ("package", ("registry_entry", "gate_report", "score_report"), ("bundle",)),
        ("stage", ("bundle",), ("replay_report",)),
        ("canary", ("bundle", "stable"), ("canary_report",)),
        (
            "request_approval",
            (
                "bundle",
                "score_report",
                "timing_report",
                "safety_report",
                "gate_report",
                "replay_report",
                "canary_report",
            ),
            ("evidence",),
        ),
        ("approve", ("evidence",), ("approval",)),
        ("promote", ("bundle", "approval"), ("route_table",)),
    )
    events: list[LedgerEvent] = []
    for number, (step, inputs, outputs) in enumerate(steps):
        if not all(role in known for role in (*inputs, *outputs)):
            break
        events.append(
            LedgerEvent(
                family=view.family,
                sequence=number + 20,
                previous=events[-1].digest() if events else GENESIS,
                at=f"2026-11-20T{13 + number // 9}:{(58 + number // 2) % 60:02d}:{(7 * number) % 60:02d}Z",
                step=step,
                outcome="complete",
                release=view.release,
                inputs={role: known[role] for role in inputs},
                outputs={role: known[role] for role in outputs},
                data={"actor": "r.manager"} if step in ("approve", "promote") else {},
            )
        )
    return tuple(events)


def _safety(manifest: BundleManifest) -> SafetyReport:
    return SafetyReport(
        family="asr-commands",
        version="v2",
        payload_digest=manifest.payload_digest,
        clips=20,
        hallucinated_words=3,
        clips_with_words=2,
        redaction_planted=12,
        redaction_leaked=0,
        verdict=PASS,
    )


def _gate() -> GateReport:
    return GateReport(
        family="asr-commands",
        version="v2",
        policy=policy().digest(),
        quality=Verdict(value=Value.PASS, reasons=("30 comparisons on 1 pack are within their margins",)),
        serving=Verdict(value=Value.PASS, reasons=("final p95 355 ms, budget 400 ms; RTF 0.04, budget 0.30",)),
        safety=Verdict(value=Value.PASS, reasons=("words on 2 of 20 clips without speech, 5 are allowed",)),
        provenance=Verdict(value=Value.PASS, reasons=("leakage: none found",)),
        verdict=PASS,
        manual_review=("accent=scottish&noise=5db",),
    )


def _evidence(bundle: str, reports: dict[str, str]) -> Evidence:
    return Evidence(
        family="asr-commands",
        version="v2",
        bundle=bundle,
        **reports,
        policy=policy().digest(),
        previous_policy=name_of("previous policy"),
        rollback_target=name_of("bundle v1"),
    )


def _approval(evidence: Evidence) -> Approval:
    return Approval(
        family="asr-commands",
        evidence=evidence.digest(),
        decision="promote",
        approver="r.manager",
        mode="signed",
        key_id="3f9a" + name_of("key")[4:],
        note="Scottish in noise looked at by hand; fine.",
        reviewed_slices=("accent=scottish&noise=5db",),
        at="2026-11-20T14:02:19Z",
    )


@cache
def promoted() -> ReleaseView:
    """asr-commands v2, promoted."""
    manifest = bundle_manifest()
    bundle = manifest.digest()
    score = score_report(bad=False)
    score = score.model_copy(update={"comparisons": tuple(settled(one) for one in score.comparisons)})
    timing, replay, canary = timing_report(), replay_report(bundle), canary_report(bundle)
    safety, gate = _safety(manifest), _gate()
    reports = {
        "score_report": score, "timing_report": timing, "safety_report": safety, "gate_report": gate,
        "replay_report": replay, "canary_report": canary,
    }  # fmt: skip
    evidence = _evidence(bundle, {name: report.digest() for name, report in reports.items()})
    approval = _approval(evidence)
    view = ReleaseView(
        family="asr-commands",
        version="v2",
        release=name_of("release v2"),
        policy=policy(),
        outcome="promoted",
        now="2026-11-20T14:02:35Z",
        bundle=bundle,
        manifest=manifest,
        train=train_manifest(),
        entry=registry_entry(),
        score=score,
        timing=timing,
        safety=safety,
        gate=gate,
        replay=replay,
        canary=canary,
        evidence=evidence,
        approvals=(approval,),
        policy_changes=("quality: margin of commands, wer, protected 0.05 -> 0.03", "canary: min_sessions 20 -> 12"),
        stable_version="v1",
        stable_bundle=name_of("bundle v1"),
        took_s=252.0,
        links={
            "report": ".soundcheck/reports/asr-commands-v2.html",
            "prefect": "http://127.0.0.1:4200/runs/flow-run/5d0c",
            "mlflow": "http://127.0.0.1:5000/#/models/asr-commands/versions/2",
        },
        model_card=MODEL_CARD,
        new_bytes=1_200_000,
        rollback_packet=make(Documents(train_manifest(), registry_entry(), policy(), score, safety)),
    )
    return dataclasses.replace(view, events=chain(view))


def settled(one: Comparison) -> Comparison:
    """The same comparison, settled: what a release that passes has."""
    return one.model_copy(update={"verdict": PASS, "upper_one_sided": min(one.upper_one_sided or 0, one.margin or 0)})


@cache
def stopped() -> ReleaseView:
    """asr-commands v3, stopped at the gate by noisy Scottish speech."""
    whole = promoted()
    score = score_report(bad=True)
    quality = worst([one.verdict for one in score.comparisons])
    gate = GateReport(
        family="asr-commands",
        version="v3",
        policy=policy().digest(),
        quality=quality,
        serving=PASS,
        safety=PASS,
        verdict=quality,
        manual_review=("accent=scottish&noise=5db",),
    )
    view = dataclasses.replace(
        whole,
        version="v3",
        outcome="stopped",
        stopped_at="gate",
        score=score,
        gate=gate,
        bundle=None,
        manifest=None,
        replay=None,
        canary=None,
        evidence=None,
        approvals=(),
        policy_changes=(),
        took_s=62.3,
        new_bytes=None,
        rollback_packet=None,
    )
    return dataclasses.replace(view, events=chain(view))


@cache
def rich() -> ReleaseView:
    """asr-commands v2-int8: every metric, a waiver, a changed policy, a stream that may be shown; it waits."""
    whole = promoted()
    score, timing, safety = rich_documents.score(), rich_documents.timing(), rich_documents.safety()
    open_ones = [one for one in score.comparisons if one.verdict.value is Value.INCONCLUSIVE]
    waivers = tuple(rich_documents.waiver(one) for one in open_ones)
    waived = tuple(f"{one.pack}/{one.slice}: {one.metric} is waived by {one.approver}" for one in waivers)
    assert whole.gate
    assert whole.evidence
    gate = whole.gate.model_copy(
        update={
            "quality": Verdict(value=Value.PASS, reasons=(*whole.gate.quality.reasons, *waived)),
            "waivers": tuple(one.digest() for one in waivers),
            "policy_changes": (
                "quality[commands wer protected].margin: 0.05 -> 0.03 (stricter)",
                "serving.first_stable_p95_ms: not set -> 1200 (stricter)",
            ),
            "exchange": (
                "cost 0.0017 -> 0.0011 USD/audio hour (35% less), peak memory 412 -> 388 MB (6% less), "
                "RTF 0.034 -> 0.021 (38% less)",
                "margins of slices that are neither protected nor high-risk are 0.01 wider",
                "commands/accent=scottish pays intent recall 1.7 points worse (protected)",
                "commands/accent=us pays WER 0.3 points worse",
                "commands/noise=20db pays WER 0.3 points worse",
            ),
        }
    )
    evidence = whole.evidence.model_copy(update={"score_report": score.digest(), "timing_report": timing.digest()})
    view = dataclasses.replace(
        whole,
        version="v2-int8",
        outcome="waiting",
        score=score,
        timing=timing,
        safety=safety,
        gate=gate,
        evidence=evidence,
        waivers=waivers,
        timeline=rich_documents.timeline(),
        approvals=(),
        policy_changes=(),
    )
    return dataclasses.replace(view, events=chain(view))


@cache
def nothing() -> ReleaseView:
    """A release that fell over before its first document."""
    return ReleaseView(
        family="asr-commands",
        version="v9",
        release=name_of("release v9"),
        policy=policy(),
        outcome="stopped",
        stopped_at="capture",
        now="2026-11-20T14:02:35Z",
        events=(
            LedgerEvent(
                family="asr-commands",
                sequence=31,
                previous=name_of("event 30"),
                at="2026-11-20T14:02:34Z",
                step="capture",
                outcome="fail",
                data={"reason": "weights.pkl is a pickle", "next_step": "export safetensors"},
            ),
        ),
    )


@cache
def first() -> ReleaseView:
    """A first release: no stable, ceilings instead of differences."""
    whole = promoted()
    assert whole.score
    assert whole.timing
    assert whole.replay
    absolute = {"stable": None, "estimate": None, "lower": None, "upper": None, "upper_one_sided": None, "margin": None}
    compared = tuple(one.model_copy(update={**absolute, "limit": 0.35}) for one in whole.score.comparisons)
    score = whole.score.model_copy(update={"comparisons": compared, "stable_words": {}, "stable_payload": None})
    timing = whole.timing.model_copy(update={"stable_final_ms": None, "stable_rtf": None, "stable_payload": None})
    replay = whole.replay.model_copy(update={"rehearsal_s": None})
    return dataclasses.replace(
        whole, score=score, timing=timing, replay=replay, stable_version=None, stable_bundle=None, canary=None
    )


MODEL_CARD = """# asr-commands v2

Streaming recogniser of **51 command words**, English, 16 kHz.

## Intended use

- voice control at up to 2 m
- not for dictation

| accent | hours |
|---|---|
| us | 0.6 |
| scottish | 0.4 |

See [the corpus](https://example.org/corpus). ![tracker](https://example.org/pixel.png)
"""
