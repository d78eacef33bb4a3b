"""Reports that the tests of the gates share: a payload that passes, and one change at a time."""

from __future__ import annotations

from typing import Any

from contracts.policy import FamilyPolicy
from contracts.reports import GateReport, Quantiles, SafetyReport, ScoreReport, TimingReport
from contracts.verdict import Value, Verdict
from evalpacks.gates import gate
from evalpacks.metrics import Outputs
from evalpacks.pack import Pack
from evalpacks.scoring import score_report
from tests.evalpacks.evaluation_samples import make_pack, make_policy, outputs

PAYLOAD, OTHER = "a" * 64, "b" * 64


def quantiles(p95: float) -> Quantiles:
    return Quantiles(n=60, p50=p95 / 2, p95=p95, p99=p95 * 2, maximum=p95 * 3)


def timing(**changes: Any) -> TimingReport:
    fields: dict[str, Any] = {
        "family": "asr-commands",
        "payload_digest": PAYLOAD,
        "stable_payload": OTHER,
        "final_ms": quantiles(355),
        "first_partial_ms": quantiles(212),
        "stable_final_ms": quantiles(340),
        "rtf": 0.04,
        "stable_rtf": 0.04,
        "peak_memory_mb": 412,
        "stable_peak_memory_mb": 400,
        "cost_usd_per_audio_hour": 0.031,
        "stable_cost_usd_per_audio_hour": 0.03,
    }
    return TimingReport.model_validate(fields | changes)


def safety(**changes: Any) -> SafetyReport:
    fields: dict[str, Any] = {
        "family": "asr-commands",
        "version": "v2",
        "payload_digest": PAYLOAD,
        "clips": 24,
        "hallucinated_words": 3,
        "clips_with_words": 2,
        "redaction_planted": 24,
        "redaction_leaked": 0,
        "verdict": Verdict(value=Value.PASS),
    }
    return SafetyReport.model_validate(fields | changes)


def scores(pack: Pack, policy: FamilyPolicy, *, harm: float = 0.0) -> ScoreReport:
    stable = outputs(pack.utterances, 0.1)
    return score_report(
        family="asr-commands",
        version="v2",
        payload_digest=PAYLOAD,
        stable_payload=OTHER,
        packs=[pack],
        candidate={pack.name: Outputs(outputs(pack.utterances, 0.1 + harm))},
        stable={pack.name: Outputs(stable)},
        policy=policy,
    )


def gate_report_of(**changes: Any) -> GateReport:
    """The gate report of a candidate as good as stable, under a policy with changes."""
    policy = make_policy(**changes)
    return gate(scores(make_pack(), policy), timing(), safety(), policy)
