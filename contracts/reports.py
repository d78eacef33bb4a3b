"""The reports that steps write: scores, timings, safety, gates, replay, canary, drift.

Boundary: no I/O. Source: release-algorithm R3 to R7; statistics U2 to U5.
Invariants: scores are counts, a rate is a ratio of sums (R3.1); a report holds no transcript, no audio, no path of a
machine; what depends on time (latency, memory) never stands in a report that is packaged (R5.5).
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import NonNegativeFloat, NonNegativeInt

from contracts.digest import Digest
from contracts.document import Document, Part, later
from contracts.policy import MetricName
from contracts.route_counts import RouteCounts
from contracts.verdict import Verdict

Better = Literal["lower", "higher"]
Baseline = Literal["stable", "parent"]
"""Whom a candidate is compared with: the current stable, or the full-precision model it was quantized from."""


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
    the harm (U5), and `excess_one_sided` that of the harm over a relative budget. They are None without a stable, and
    then `limit` alone is what the candidate is held to (R4.3). `margin` is in the metric's unit, a relative budget
    already multiplied out. `stable` holds the counts of the `baseline`, whichever it is.
    """

    pack: str
    metric: MetricName
    slice: str
    better: Better
    candidate: Count
    stable: Count | None
    estimate: float | None = None
    lower: float | None = None
    upper: float | None = None
    upper_one_sided: float | None = None
    excess_one_sided: float | None = None
    margin: float | None = None
    relative: bool = False
    limit: float | None = None
    baseline: Baseline = "stable"
    speakers: NonNegativeInt
    utterances: NonNegativeInt
    unit: Literal["speaker", "utterance"] = "speaker"
    protected: bool = False
    high_risk: bool = False
    verdict: Verdict


class Confusion(Part):
    """A reference word that was heard as another, how often; only of packs whose consent lets transcripts be shown."""

    reference: str
    hypothesis: str
    count: NonNegativeInt


class EditClasses(Part):
    """The errors of one slice by class, for the drill-down: counts, never text.

    `short` are errors in utterances of one or two reference words; `entity` are reference words of entities that were
    not heard, of `entity_words`; both are None where the pack cannot say.
    """

    substitutions: NonNegativeInt
    deletions: NonNegativeInt
    insertions: NonNegativeInt
    short: NonNegativeInt | None = None
    entity: NonNegativeInt | None = None
    entity_words: NonNegativeInt | None = None


class CalibrationBin(Part):
    """Utterances whose confidence is in [lower, upper): how many, their mean confidence, the share heard exactly."""

    lower: float
    upper: float
    utterances: NonNegativeInt
    confidence: float
    accuracy: float


class Calibration(Part):
    """Is confidence honest? Expected calibration error (mean gap weighted by utterances) and its bins, of one pack."""

    pack: str
    error: float
    bins: tuple[CalibrationBin, ...]


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
    classes: dict[str, EditClasses] = {}
    stable_classes: dict[str, EditClasses] = {}
    confusions: dict[str, tuple[Confusion, ...]] = {}
    """By pack, the most frequent first; a pack whose consent does not allow it is absent."""
    calibration: tuple[Calibration, ...] = ()
    stable_calibration: tuple[Calibration, ...] = ()
    quantized_from: Digest | None = None
    """The payload of the full-precision model, where the candidate is a quantized one."""
    routes: dict[str, RouteCounts] = later({})
    """Of a candidate that routes, by `PACK/SLICE`."""


CURVE = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0)
"""Shares at which `Quantiles.curve` gives the distribution."""

Bounds = tuple[float, float]
"""Lower and upper bound of a two-sided 95% interval."""


class Quantiles(Part):
    """p50, p95, p99 and the maximum of n values, in the unit of the field that holds them.

    Intervals are None where so few values do not bound the quantile. `curve` is the distribution at the shares CURVE,
    empty in reports that were written before it.
    """

    n: NonNegativeInt
    p50: float
    p95: float
    p99: float
    maximum: float
    p50_interval: Bounds | None = None
    p95_interval: Bounds | None = None
    p99_interval: Bounds | None = None
    curve: tuple[float, ...] = ()


class TimingReport(Document):
    """Speed of a payload offline, from an exclusive pass of its own (R3): never packaged, named by the ledger.

    `*_ms` are milliseconds; `rtf` is compute seconds over audio seconds. `first_stable_ms` is when the first word that
    never changed again was shown, `endpoint_ms` how long after the end of speech the endpoint rule fired,
    `first_audio_ms` until the first samples of an answer, `underrun_share` the share of answers whose playback starved,
    `cost_usd_per_answer` US dollars of compute an answer (tasks that make audio).
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
    first_stable_ms: Quantiles | None = None
    endpoint_ms: Quantiles | None = None
    stable_first_partial_ms: Quantiles | None = None
    stable_first_stable_ms: Quantiles | None = None
    stable_endpoint_ms: Quantiles | None = None
    stable_peak_memory_mb: NonNegativeFloat | None = None
    stable_cost_usd_per_audio_hour: NonNegativeFloat | None = None
    first_audio_ms: Quantiles | None = later(None)
    stable_first_audio_ms: Quantiles | None = later(None)
    underrun_share: NonNegativeFloat | None = later(None)
    stable_underrun_share: NonNegativeFloat | None = later(None)
    cost_usd_per_answer: NonNegativeFloat | None = later(None)
    stable_cost_usd_per_answer: NonNegativeFloat | None = later(None)
    utterances: NonNegativeInt = 0
    stream_faults: tuple[str, ...] = ()
    """What shows that the candidate's stream was not computed from its chunks (speech/honesty.py)."""
    timeline: Digest | None = None
    """A StreamTimeline document, where a pack's consent lets a transcript be shown."""


class TimelineEvent(Part):
    """What a stream showed when `heard_s` seconds of audio had been heard; the first `committed` words are final."""

    heard_s: NonNegativeFloat
    shown_s: NonNegativeFloat
    text: str
    committed: NonNegativeInt
    final: bool = False


class StreamTimeline(Document):
    """One utterance as it was streamed, partial by partial: for the report's picture. Consented packs only."""

    KIND: ClassVar[str] = "stream_timeline"

    pack: str
    utterance_id: str
    reference: str
    duration_s: NonNegativeFloat
    chunk_ms: NonNegativeInt
    events: tuple[TimelineEvent, ...]


class SafetyCheck(Part):
    """One planted check of the safety report: how much was planted, how much of it went wrong."""

    name: str
    planted: NonNegativeInt
    broken: NonNegativeInt


class SafetyReport(Document):
    """What a model says where it should say nothing, whether private words are redacted, what is refused (R4.8)."""

    KIND: ClassVar[str] = "safety_report"

    family: str
    version: str
    payload_digest: Digest
    clips: NonNegativeInt
    hallucinated_words: NonNegativeInt
    clips_with_words: NonNegativeInt
    redaction_planted: NonNegativeInt
    redaction_leaked: NonNegativeInt
    checks: tuple[SafetyCheck, ...] = ()
    verdict: Verdict


class GateReport(Document):
    """The four verdicts of a release (R4.5); a gate whose evidence comes later stands as it is known so far.

    `waivers` are the digests of the SignedWaiver documents by which an Inconclusive comparison may go on (R4.2);
    `policy_changes` are sentences, one a difference from the policy of the last promoted release (R4.7).
    """

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
    waivers: tuple[Digest, ...] = ()
    policy_changes: tuple[str, ...] = ()
    exchanged: tuple[Comparison, ...] = ()
    """Comparisons of the score report as a saving left them, where it changed them."""
    exchange: tuple[str, ...] = ()
    """Cost against quality in sentences: what the candidate saves, and what which slice pays for it."""


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
    first_audio_ms: Quantiles | None = later(None)
    underrun_share: NonNegativeFloat | None = later(None)


class Soak(Part):
    """Memory of a gateway and its worker over `requests` requests: megabytes, and their growth in 1,000 requests.

    `lower` and `upper` bound the growth (95%, Theil and Sen over the samples after the warm-up).
    """

    requests: NonNegativeInt
    began_mb: NonNegativeFloat
    ended_mb: NonNegativeFloat
    growth_mb_per_1000: float
    lower: float
    upper: float


class LongUtterance(Part):
    """An utterance of `audio_s` seconds: ms until the answer to a file, and from the end of a stream to its final."""

    audio_s: NonNegativeFloat
    final_ms: NonNegativeFloat
    stream_final_ms: NonNegativeFloat


class ReplayReport(Document):
    """The staged replay through a fresh production API (R6).

    `cold_*` are of the first stream, to its first words or samples, and the first whole answer of a worker;
    `rehearsal_s` is how long it took until stable answered again, `forward_s` until the candidate did.
    """

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
    forward_s: NonNegativeFloat | None = later(None)
    cold_first_partial_ms: NonNegativeFloat | None = later(None)
    long_utterance: LongUtterance | None = later(None)
    soak: Soak | None = later(None)
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
    e_worse: float | None = later(None)
    """Evidence (an e-value) that the canary is worse by more than the margin; it rolls back at `worse_at`."""
    worse_at: float | None = later(None)
    """What the e-values `e_worse` of one slice must add up to for a stop: 1 over the alpha of one pair (U6)."""
    e_fine: float | None = later(None)
    """Evidence that it is not worse by the margin; it promotes at `1 / alpha`."""


class Look(Part):
    """One look of the judge at a stage: seconds since its start, sessions an arm, e-values by `slice metric`.

    Of a long stage the looks are thinned out, the first, the last and those that moved most are kept.
    """

    at_s: NonNegativeFloat
    stable_sessions: NonNegativeInt
    canary_sessions: NonNegativeInt
    e_worse: dict[str, float] = {}
    e_fine: dict[str, float] = {}


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
    looks: tuple[Look, ...] = later(())


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
