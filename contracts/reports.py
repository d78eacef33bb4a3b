"""The reports that steps write: scores, timings, safety, gates, replay, canary, drift.

Boundary: no I/O. Source: release-algorithm R3 to R7; statistics U2 to U5.
Invariants: scores are counts, a rate is a ratio of sums (R3.1); a report holds no transcript, no audio, no path of a
machine; what depends on time (latency, memory) never stands in a report that is packaged (R5.5).
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import NonNegativeFloat, NonNegativeInt

from contracts.digest import Digest
from contracts.document import Document, Part
from contracts.verdict import Verdict

Better = Literal["lower", "higher"]


class Count(Part):
    """A ratio of sums that keeps its parts; `rate` is None where the denominator is 0 (U2)."""

    numerator: float
    denominator: NonNegativeFloat

    @property
    def rate(self) -> float | None:
        """numerator / denominator, None without a denominator."""
        return self.numerator / self.denominator if self.denominator else None


class WordCounts(Part):
    """Word errors of a slice: substitutions, deletions, insertions over reference words."""

    substitutions: NonNegativeInt
    deletions: NonNegativeInt
    insertions: NonNegativeInt
    reference_words: NonNegativeInt
    utterances: NonNegativeInt
    speakers: NonNegativeInt


class Comparison(Part):
    """One metric on one slice of one pack: candidate against stable, and what the gate says of it.

    Differences are candidate minus stable, in the metric's own unit (WER as a fraction: 0.01 is one point).
    `lower` and `upper` are simultaneous bounds at the family-wise alpha; `upper_one_sided` is the slice's own bound of
    the harm (U5). They are None without a stable, and then `ceiling` is what the candidate is held to (R4.3).
    """

    pack: str
    metric: str
    slice: str
    better: Better
    candidate: Count
    stable: Count | None
    estimate: float | None = None
    lower: float | None = None
    upper: float | None = None
    upper_one_sided: float | None = None
    margin: float | None = None
    ceiling: float | None = None
    speakers: NonNegativeInt
    utterances: NonNegativeInt
    unit: Literal["speaker", "utterance"] = "speaker"
    protected: bool = False
    high_risk: bool = False
    verdict: Verdict


class ScoreReport(Document):
    """Quality of one payload against the stable one on every required pack (R3). Deterministic: it is packaged."""

    KIND: ClassVar[str] = "score_report"

    family: str
    version: str
    payload_digest: Digest
    stable_payload: Digest | None
    packs: dict[str, Digest]
    policy: Digest
    normalizer: str
    alpha: float
    replicates: NonNegativeInt
    words: dict[str, WordCounts]
    stable_words: dict[str, WordCounts]
    comparisons: tuple[Comparison, ...]


class Quantiles(Part):
    """p50, p95, p99 and the maximum of n values, in the unit of the field that holds them."""

    n: NonNegativeInt
    p50: float
    p95: float
    p99: float
    maximum: float


class TimingReport(Document):
    """Speed of a payload offline, from an exclusive pass of its own (R3): never packaged, named by the ledger.

    `*_ms` are milliseconds; `rtf` is compute seconds over audio seconds.
    """

    KIND: ClassVar[str] = "timing_report"

    family: str
    payload_digest: Digest
    stable_payload: Digest | None
    final_ms: Quantiles
    first_partial_ms: Quantiles | None
    stable_final_ms: Quantiles | None
    rtf: NonNegativeFloat
    stable_rtf: NonNegativeFloat | None
    peak_memory_mb: NonNegativeFloat
    cost_usd_per_audio_hour: NonNegativeFloat


class SafetyReport(Document):
    """What a model says where it should say nothing, and whether private words are redacted (R4.8)."""

    KIND: ClassVar[str] = "safety_report"

    family: str
    version: str
    payload_digest: Digest
    clips: NonNegativeInt
    hallucinated_words: NonNegativeInt
    clips_with_words: NonNegativeInt
    redaction_planted: NonNegativeInt
    redaction_leaked: NonNegativeInt
    verdict: Verdict


class GateReport(Document):
    """The four verdicts of a release (R4.5); a gate whose evidence comes later stands as it is known so far."""

    KIND: ClassVar[str] = "gate_report"

    family: str
    version: str
    policy: Digest
    quality: Verdict
    serving: Verdict
    safety: Verdict
    provenance: Verdict | None = None
    """Leakage and work tree (R1); judged where the train manifest is known."""
    verdict: Verdict
    manual_review: tuple[str, ...] = ()


class Check(Part):
    """One check of the staged replay: its name, the clause it shows, its verdict."""

    name: str
    clause: str
    verdict: Verdict


class LoadFigures(Part):
    """What a load did: milliseconds, counts, megabytes."""

    requests: NonNegativeInt
    failures: NonNegativeInt
    timeouts: NonNegativeInt
    retries: NonNegativeInt
    first_partial_ms: Quantiles | None
    final_ms: Quantiles
    queue_ms: Quantiles
    concurrency: NonNegativeInt


class ReplayReport(Document):
    """The staged replay through a fresh production API (R6)."""

    KIND: ClassVar[str] = "replay_report"

    family: str
    bundle: Digest
    golden_expected: NonNegativeInt
    golden_equal: NonNegativeInt
    cold_start_ms: NonNegativeFloat
    cold_final_ms: NonNegativeFloat
    warm: LoadFigures
    peak_memory_mb: NonNegativeFloat
    cost_usd_per_audio_hour: NonNegativeFloat
    rehearsal_s: NonNegativeFloat | None
    planted_strings: NonNegativeInt
    planted_found: NonNegativeInt
    checks: tuple[Check, ...]
    verdict: Verdict


CanaryDecision = Literal["continue", "promote", "hold", "rollback", "partial_rollback"]


class SliceEvidence(Part):
    """What the judge knows of one metric on one slice: sessions of each arm, rates, difference and bound."""

    slice: str
    metric: str
    stable_sessions: NonNegativeInt
    canary_sessions: NonNegativeInt
    stable_rate: float | None
    canary_rate: float | None
    estimate: float | None
    lower: float | None
    upper: float | None
    margin: float | None
    state: Literal["waiting", "fine", "worse", "undecided"]


class StageResult(Part):
    """One stage of a canary: how long, how many sessions an arm, what was decided and why."""

    stage: Literal["probe", "shadow", "cohort", "wide"]
    route_version: NonNegativeInt
    started_at: str
    duration_s: NonNegativeFloat
    stable_sessions: NonNegativeInt
    canary_sessions: NonNegativeInt
    decision: CanaryDecision
    reasons: tuple[str, ...]
    evidence: tuple[SliceEvidence, ...]


class CanaryReport(Document):
    """All stages of a canary and the decision they led to (R7)."""

    KIND: ClassVar[str] = "canary_report"

    family: str
    bundle: Digest
    stable: Digest | None
    stages: tuple[StageResult, ...]
    decision: CanaryDecision
    verdict: Verdict


class DriftReport(Document):
    """Stable scored again on its packs: did the environment change?"""

    KIND: ClassVar[str] = "drift_report"

    family: str
    bundle: Digest
    released: dict[str, Count]
    measured: dict[str, Count]
    verdict: Verdict
