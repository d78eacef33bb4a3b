"""The documents of a release: 30 slices, a bundle, a replay, a canary of three stages."""

from __future__ import annotations

import hashlib
import math
from typing import Literal

from contracts.bundle import BundleManifest, payload_digest
from contracts.policy import FamilyPolicy
from contracts.registry_entry import RegistryEntry, ResourceEnvelope
from contracts.reports import (
    CanaryReport,
    Check,
    Comparison,
    Count,
    LoadFigures,
    LongUtterance,
    Look,
    Quantiles,
    ReplayReport,
    ScoreReport,
    SliceEvidence,
    Soak,
    StageResult,
    TimingReport,
    WordCounts,
)
from contracts.train_manifest import DataSummary, FileEntry, TrainManifest
from contracts.verdict import Value, Verdict

PASS = Verdict(value=Value.PASS)
ACCENTS = ("us", "british", "scottish", "caribbean", "rp", "lancaster")
NOISES = ("clean", "20db", "10db", "5db")


def name_of(text: str) -> str:
    """A digest for a named thing."""
    return hashlib.sha256(text.encode()).hexdigest()


def policy() -> FamilyPolicy:
    """A family's policy, as params.yaml has it."""
    return FamilyPolicy.model_validate(
        {
            "family": "asr-commands",
            "registry": {"owner": "speech-commands team"},
            "normalizer": "none",
            "high_risk_slices": ["accent=scottish&noise=5db"],
            "quality": [
                quality_gate(slices="overall", margin=0.01),
                quality_gate(slices="protected", margin=0.03),
            ],
            "serving": {
                "first_partial_p95_ms": 900,
                "first_stable_p95_ms": 1200,
                "final_p95_ms": 400,
                "rtf": 0.3,
                "peak_memory_mb": 1500,
                "cost_usd_per_audio_hour": 0.05,
            },
            "safety": {"max_hallucinating_clips": 0.25, "max_redaction_leaks": 0},
            "statistics": {"alpha": 0.05, "replicates": 1000, "seed": 7, "timed_utterances": 60},
            "staging": {"requests": 60, "golden_fixtures": 12, "golden_max_word_edits": 0, "timeout_s": 120},
            "canary": {
                "metrics": {
                    "wer": {"kind": "ratio", "numerator": "errors", "denominator": "words", "margin": 0.05},
                    "latency_ms": {"kind": "quantile", "quantile": 0.95, "budget": 900},
                    "privacy": {"kind": "never", "column": "privacy_errors"},
                },
                "slices": ["accent"],
                "deadline_s": 600,
                "min_sessions": 12,
            },
            "approvals": {"mode": "ui", "quorum": 1, "timeout_s": 86400},
            "envelope": envelope(),
            "bake_time_s": 0,
        }
    )


def quality_gate(*, slices: str, margin: float) -> dict[str, object]:
    """A gate of word errors."""
    support = {"min_speakers": 10, "min_support": 300}
    return {"pack": "commands", "metric": "wer", "slices": slices, "margin": margin, "limit": 0.35, **support}


def envelope() -> ResourceEnvelope:
    """What the model may use."""
    return ResourceEnvelope(
        concurrency=4,
        peak_memory_mb=1500,
        cpu_cores=1,
        price_usd_per_core_hour=0.04,
        capacity_sign_off="platform team",
    )


def slices() -> list[str]:
    """overall, 6 accents, 4 noises, 19 combinations: 30 names."""
    pairs = [f"accent={accent}&noise={noise}" for accent in ACCENTS for noise in NOISES]
    return ["overall", *(f"accent={one}" for one in ACCENTS), *(f"noise={one}" for one in NOISES), *pairs[:19]]


def wave(index: int, low: float, high: float) -> float:
    """A number between low and high that is the same in each run."""
    return low + (high - low) * (0.5 + 0.5 * math.sin(1.7 * index + 0.3))


def comparison(index: int, name: str, *, bad: bool) -> Comparison:
    """One comparison; where `bad`, noisy Scottish speech fails and a few slices stay open."""
    words = 40_000 if name == "overall" else int(wave(index, 900, 5200))
    base = 0.084 if name == "overall" else wave(index, 0.04, 0.31)
    shift = -0.023 if name == "overall" else wave(index, -0.032, 0.004)
    half = 0.008 if name == "overall" else wave(index, 0.008, 0.024)
    if bad and name.startswith("accent=scottish&noise=") and name != "accent=scottish&noise=clean":
        shift, half = wave(index, 0.11, 0.17), 0.035
    margin = 0.01 if name == "overall" else 0.03
    lower, upper = shift - half, shift + half
    value, reasons = Value.PASS, tuple[str, ...]()
    if lower > 0 and shift > margin:
        value = Value.FAIL
        reasons = (f"wer on {name} is worse by {100 * shift:.1f} points, lower bound {100 * lower:.1f}, margin 3.0",)
    elif upper > margin:
        value = Value.INCONCLUSIVE
        reasons = (f"wer on {name} may be worse by {100 * upper:.1f} points; about 31 more speakers would settle it",)
    return Comparison(
        pack="commands",
        metric="wer",
        slice=name,
        better="lower",
        candidate=Count(numerator=round((base + shift) * words), denominator=words),
        stable=Count(numerator=round(base * words), denominator=words),
        estimate=shift,
        lower=lower,
        upper=upper,
        upper_one_sided=upper - half / 6,
        margin=margin,
        speakers=240 if name == "overall" else int(wave(index, 11, 64)),
        utterances=words // 3,
        protected=name != "overall" and index % 3 == 0,
        high_risk=name == "accent=scottish&noise=5db",
        verdict=Verdict(value=value, reasons=reasons),
    )


def key(one: Comparison) -> str:
    """The name of a comparison's slice in the tables of a score report."""
    return f"{one.pack}/{one.slice}"


def word_counts(index: int, one: Comparison, count: Count) -> WordCounts:
    """Errors split into substitutions, deletions and insertions."""
    errors = int(count.numerator)
    substitutions = int(errors * wave(index, 0.5, 0.7))
    deletions = int(errors * 0.2)
    return WordCounts(
        substitutions=substitutions,
        deletions=deletions,
        insertions=errors - substitutions - deletions,
        reference_words=int(count.denominator),
        utterances=one.utterances,
        speakers=one.speakers,
    )


def quantiles(p50: float, n: int = 900) -> Quantiles:
    """A right-skewed distribution in milliseconds."""
    return Quantiles(n=n, p50=p50, p95=p50 * 1.9, p99=p50 * 2.6, maximum=p50 * 4.1)


def score_report(*, bad: bool) -> ScoreReport:
    """30 comparisons on one pack."""
    compared = tuple(comparison(index, name, bad=bad) for index, name in enumerate(slices()))
    stable = {key(one): word_counts(index, one, one.stable) for index, one in enumerate(compared) if one.stable}
    return ScoreReport(
        family="asr-commands",
        version="v3" if bad else "v2",
        payload_digest=name_of("payload"),
        stable_payload=name_of("stable payload"),
        packs={"commands": name_of("pack")},
        policy=policy().digest(),
        normalizer="none",
        alpha=0.05,
        replicates=1000,
        words={key(one): word_counts(index, one, one.candidate) for index, one in enumerate(compared)},
        stable_words=stable,
        comparisons=compared,
    )


def timing_report() -> TimingReport:
    """Speed well inside its budgets."""
    return TimingReport(
        family="asr-commands",
        payload_digest=name_of("payload"),
        stable_payload=name_of("stable payload"),
        final_ms=quantiles(187.0),
        first_partial_ms=quantiles(112.0),
        stable_final_ms=quantiles(203.0),
        rtf=0.041,
        stable_rtf=0.047,
        peak_memory_mb=412.3,
        cost_usd_per_audio_hour=0.0309,
    )


def bundle_manifest() -> BundleManifest:
    """A bundle of some files."""
    sizes = {
        "payload/runtime.json": 212,
        "payload/weights.safetensors": 46_118_220,
        "payload/tokenizer.json": 1_904,
        "payload/front_end.json": 611,
        "payload/feature_contract.json": 902,
        "text_normalizer.json": 44,
        "routing_rules.json": 120,
        "runtime.lock": 18_022,
        "registry_entry.json": 1_822,
        "train_manifest.json": 2_400,
        "reports/quality.json": 64_002,
        "reports/safety.json": 480,
        "MODEL_CARD.md": 3_012,
        "rollback_packet.json": 700,
        "golden/golden.json": 2_011,
        **{f"golden/audio/g{number:02d}.wav": 88_044 + number for number in range(12)},
    }
    files = {path: FileEntry(sha256=name_of(path), size=size) for path, size in sorted(sizes.items())}
    payload = {path.removeprefix("payload/"): entry for path, entry in files.items() if path.startswith("payload/")}
    return BundleManifest(family="asr-commands", version="v2", payload_digest=payload_digest(payload), files=files)


def replay_report(bundle: str) -> ReplayReport:
    """A staged replay without a fault."""
    names = (
        ("golden outputs", "R6.1"),
        ("front-end checksum", "R6.2"),
        ("wrong sample rate is refused", "R6.2"),
        ("load at concurrency 4", "R6.3"),
        ("previous client", "R6.4"),
        ("rollback rehearsal", "R6.5"),
        ("planted strings", "R6.6"),
    )
    return ReplayReport(
        family="asr-commands",
        bundle=bundle,
        golden_expected=12,
        golden_equal=12,
        cold_start_ms=1840.0,
        cold_final_ms=402.0,
        warm=LoadFigures(
            requests=60,
            failures=0,
            timeouts=0,
            retries=1,
            first_partial_ms=quantiles(131.0, 30),
            final_ms=quantiles(221.0, 60),
            queue_ms=quantiles(9.0, 60),
            concurrency=4,
        ),
        peak_memory_mb=438.0,
        cost_usd_per_audio_hour=0.0331,
        rehearsal_s=0.42,
        forward_s=0.38,
        cold_first_partial_ms=311.0,
        long_utterance=LongUtterance(audio_s=30.0, final_ms=904.0, stream_final_ms=88.0),
        soak=Soak(requests=240, began_mb=522.0, ended_mb=523.1, growth_mb_per_1000=3.1, lower=-1.4, upper=8.2),
        planted_strings=24,
        planted_found=0,
        checks=tuple(Check(name=name, clause=clause, verdict=PASS) for name, clause in names),
        verdict=PASS,
    )


def evidence_rows(sessions: int, state: Literal["waiting", "fine", "worse", "undecided"]) -> tuple[SliceEvidence, ...]:
    """What the judge knows at the end of a stage."""
    rows = []
    for index, name in enumerate(["overall", *(f"accent={one}" for one in ACCENTS)]):
        share = sessions if name == "overall" else sessions // 6
        worse = state == "worse" and name == "accent=scottish"
        estimate = 0.131 if worse else wave(index, -0.03, 0.012)
        rows.append(
            SliceEvidence(
                slice=name,
                metric="wer",
                stable_sessions=share,
                canary_sessions=share - 2,
                stable_rate=0.09,
                canary_rate=0.09 + estimate,
                estimate=estimate,
                lower=estimate - 0.05,
                upper=estimate + 0.05,
                margin=0.05,
                state=state if worse or state != "worse" else "undecided",
            )
        )
    extra = (("latency_ms", 0.021, 0.012), ("privacy", 0.0, 0.0))
    for metric, stable, canary in extra:
        rows.append(
            SliceEvidence(
                slice="overall",
                metric=metric,
                stable_sessions=sessions,
                canary_sessions=sessions - 2,
                stable_rate=stable,
                canary_rate=canary,
                estimate=canary - stable,
                lower=None,
                upper=canary - stable + 0.02,
                margin=0.0 if metric == "latency_ms" else None,
                state="fine",
            )
        )
    return tuple(rows)


def looks(sessions: int, *, bad: bool) -> tuple[Look, ...]:
    """The judge's looks at a stage: evidence grows with sessions; where `bad`, against the Scottish accent."""
    found = []
    for number in range(1, 21):
        share = number / 20
        worse = {f"accent={one} wer": 0.9**number for one in ACCENTS} | {"overall latency_ms": 0.8**number}
        fine = {key: 30 ** (share * (1 - 0.02 * place)) for place, key in enumerate(worse)}
        if bad:
            worse["accent=scottish wer"], fine["accent=scottish wer"] = 4_000**share, 0.5**number
        found.append(
            Look(
                at_s=number,
                stable_sessions=sessions * number // 20,
                canary_sessions=(sessions - 2) * number // 20,
                e_worse=worse,
                e_fine=fine,
            )
        )
    return tuple(found)


def canary_report(bundle: str, *, worse: bool = False) -> CanaryReport:
    """Shadow, cohort and wide; where `worse`, the cohort rolls back."""
    stages = []
    for number, (stage, sessions) in enumerate((("shadow", 64), ("cohort", 96), ("wide", 240))):
        bad = worse and stage == "cohort"
        stages.append(
            StageResult(
                stage=stage,
                route_version=11 + number,
                started_at=f"2026-11-20T13:{58 + number if number < 2 else 59}:04Z",
                duration_s=21.4 + 9 * number,
                stable_sessions=sessions,
                canary_sessions=sessions - 2,
                decision="rollback" if bad else "promote",
                reasons=(
                    "wer on accent=scottish is worse by 13.1 points, lower bound 8.1, margin 5.0"
                    if bad
                    else f"all 9 (metric, slice) pairs are within their margins after {sessions - 2} canary sessions",
                ),
                evidence=evidence_rows(sessions, "worse" if bad else "fine"),
                looks=looks(sessions, bad=bad),
            )
        )
        if bad:
            break
    verdict = Verdict(value=Value.FAIL if worse else Value.PASS, reasons=stages[-1].reasons)
    return CanaryReport(
        family="asr-commands",
        bundle=bundle,
        stable=name_of("bundle v1"),
        stages=tuple(stages),
        decision=stages[-1].decision,
        verdict=verdict,
    )


def train_manifest() -> TrainManifest:
    """A clean manifest of our own model."""
    payload = bundle_manifest().payload()
    return TrainManifest(
        family="asr-commands",
        version="v2",
        origin="own",
        training_code_sha="4f1c9ad2e07b55dca1e3f0a9be1c02d7716e2a90",
        dirty=False,
        data=DataSummary(
            digest=name_of("rows"),
            label_digest=name_of("labels"),
            utterances=9_480,
            hours=2.61,
            speakers=312,
            languages=("en",),
            licences=("CC0-1.0",),
        ),
        hyperparameters={"hidden": 192, "epochs": 9},
        seeds={"torch": 7},
        base_model="none: trained from scratch",
        dependency_lock=name_of("lock"),
        dvc_lock=name_of("dvc.lock"),
        params=name_of("params"),
        payload=payload,
        payload_digest=payload_digest(payload),
        leakage="none found",
    )


def registry_entry() -> RegistryEntry:
    """A whole contract."""
    return RegistryEntry(
        model_id="asr-commands",
        version="v2",
        owner="speech-commands team",
        task="streaming-asr",
        base_model="none: trained from scratch",
        data_manifest=name_of("rows"),
        training_code_sha="4f1c9ad2e07b55dca1e3f0a9be1c02d7716e2a90",
        serving_code_sha="4f1c9ad2e07b55dca1e3f0a9be1c02d7716e2a90",
        feature_contract=name_of("feature contract"),
        input_schema="serving_api 1.1: mono PCM WAV or little-endian 16-bit frames",
        output_schema="serving_api 1.1: Transcription, PartialResult, FinalResult",
        serving_image=name_of("lock"),
        resource_envelope=envelope(),
        rollback_target=name_of("bundle v1"),
        review_date="2027-02-18",
        on_call="speech-oncall",
        retention_policy="no audio or text is stored; telemetry rows 30 days",
        licence="Apache-2.0",
        languages=("en",),
        train_manifest=train_manifest().digest(),
        payload_digest=train_manifest().payload_digest,
    )
