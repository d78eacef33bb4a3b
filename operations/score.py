"""R3 Score: candidate and stable over every required pack, counts and timings.

Boundary: runs models through operations/compute.py; writes three reports and one ledger event.
Invariants: what is scored is the payload that will be packaged (R3.2); both hear the same audio in the same run;
nothing that depends on time stands in the score report, which is packaged (R5.5).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from contracts.bundle import BundleManifest
from contracts.digest import Digest
from contracts.policy import FamilyPolicy
from contracts.reports import Quantiles, TimingReport
from contracts.train_manifest import TrainManifest
from operations import compute
from operations.context import Context, once, put
from operations.packs import required_packs
from operations.payload import materialise
from operations.safety import safety_report
from registry.documents import get_document

if TYPE_CHECKING:
    import pandas as pd

    from evalpacks.pack import Pack

TIMED_UTTERANCES = 60
"""Utterances of the exclusive timing pass, drawn from the first pack with the statistics' seed."""


def score(context: Context, family: str, captured: dict[str, Digest]) -> dict[str, Digest]:
    """Outputs: `score_report`, `timing_report`, `safety_report`."""
    packs = required_packs(context, family)
    stable = context.ledger(family).state().current
    inputs = {"train_manifest": captured["train_manifest"], "policy": captured["policy"]}
    inputs |= {f"pack.{pack.name}": pack.digest for pack in packs}
    inputs |= {"stable": stable} if stable else {}

    def body() -> tuple[dict[str, Digest], dict[str, JsonValue]]:
        from evalpacks.metrics import Outputs
        from evalpacks.scoring import score_report

        policy = get_document(context.store, FamilyPolicy, captured["policy"])
        manifest = get_document(context.store, TrainManifest, captured["train_manifest"])
        payloads = {"candidate": materialise(context, manifest)}
        stable_payload = None
        if stable:
            payloads["stable"] = _stable_payload(context, stable)
            stable_payload = get_document(context.store, BundleManifest, stable).payload_digest
        heard = {pack.name: _hear(context, pack, payloads) for pack in packs}
        report = score_report(
            family=family,
            version=manifest.version,
            payload_digest=manifest.payload_digest,
            stable_payload=stable_payload,
            packs=packs,
            candidate={name: Outputs(tables["candidate"]) for name, tables in heard.items()},
            stable={name: Outputs(tables["stable"]) for name, tables in heard.items()} if stable else None,
            policy=policy,
        )
        timing = _timing_report(context, family, manifest.payload_digest, stable_payload, payloads, packs[0], policy)
        safety = safety_report(context, manifest, payloads["candidate"], policy)
        digests = put(context, report, timing, safety)
        return dict(zip(("score_report", "timing_report", "safety_report"), digests, strict=True)), {
            "version": manifest.version
        }

    return once(context, family=family, release=captured["release"], step="score", inputs=inputs, body=body)


def _stable_payload(context: Context, stable: Digest) -> Path:
    from registry.bundle import cached

    return cached(context.store, stable, context.home / "cache") / "payload"


def _hear(context: Context, pack: Pack, payloads: dict[str, Path]) -> dict[str, pd.DataFrame]:
    label = f"score on {pack.name}"
    return compute.hypotheses(
        payloads, pack.utterances, pack.root, on_progress=lambda done, total: context.progress(label, done, total)
    )


def _timing_report(
    context: Context,
    family: str,
    payload_digest: Digest,
    stable_payload: Digest | None,
    payloads: dict[str, Path],
    pack: Pack,
    policy: FamilyPolicy,
) -> TimingReport:
    context.progress("timing pass", 0, 1)
    count = min(TIMED_UTTERANCES, len(pack.utterances))
    sample = pack.utterances.sample(count, random_state=policy.statistics.seed)
    timing = compute.timings(payloads, sample, pack.root)
    context.progress("timing pass", 1, 1)
    own, other = timing.tables["candidate"], timing.tables.get("stable")
    rtf = real_time_factor(own)
    return TimingReport(
        family=family,
        payload_digest=payload_digest,
        stable_payload=stable_payload,
        final_ms=quantiles(own["final_ms"]),
        first_partial_ms=quantiles(own["first_partial_ms"].dropna()) if own["first_partial_ms"].notna().any() else None,
        stable_final_ms=quantiles(other["final_ms"]) if other is not None else None,
        rtf=rtf,
        stable_rtf=real_time_factor(other) if other is not None else None,
        peak_memory_mb=timing.peak_memory_mb,
        cost_usd_per_audio_hour=rtf * policy.envelope.price_usd_per_core_hour,
    )


def real_time_factor(table: pd.DataFrame) -> float:
    """Seconds of compute a second of audio."""
    return float(table["compute_s"].sum() / table["audio_s"].sum())


def quantiles(values: pd.Series[float]) -> Quantiles:
    """p50, p95, p99 and maximum of a column, in its own unit."""
    p50, p95, p99, maximum = (float(values.quantile(share)) for share in (0.5, 0.95, 0.99, 1.0))
    return Quantiles(n=len(values), p50=p50, p95=p95, p99=p99, maximum=maximum)
