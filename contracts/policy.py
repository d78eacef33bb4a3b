"""The release policy: the typed form of params.yaml, every threshold with its unit.

Boundary: no I/O (operations/settings.py reads the file). Source: release-algorithm R4, R7, R8.
Invariants: unknown keys are refused; the digest of a family's policy is part of the evidence (R4.7).
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field, JsonValue, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from contracts.document import Document, Part, later
from contracts.registry_entry import ResourceEnvelope

Share = Annotated[float, Field(ge=0, le=1)]
"""A fraction in [0, 1]."""

Task = Literal["transcription", "synthesis", "embedding", "classification", "dialogue"]
"""What a family's models do. The task chooses how a model is run, what its golden outputs are, which route of the API
answers, what is planted for its safety report, and which metrics can be measured (speech/kinds, operations/kinds)."""

MetricName = Literal[
    # transcription; of a synthesis, what a recogniser hears in it
    "wer",
    "cer",
    "entity_error_rate",
    "intent_recall",
    "churn",
    "early_endpoint_rate",
    "brier",
    # synthesis
    "mos",
    "noise_mos",
    "speaker_similarity",
    "duration_error",
    "silence_share",
    "clipping",
    # embedding
    "eer",
    "min_dcf",
    "recall_at_1",
    "recall_at_5",
    "cross_version_eer",
    # classification
    "macro_f1",
    "class_recall",
    # dialogue
    "task_success",
    "groundedness",
    "citation_coverage",
    "barge_in_success",
]
"""Every quality metric a policy may name; evalpacks/metrics has one file a family, and METRICS says how each reads."""


class QualityGate(Part):
    """One metric on some slices of one pack.

    Attributes:
        pack: name of the eval pack.
        metric: its name; evalpacks.metrics says whether lower or higher is better (WER is a fraction: 0.01 is a point).
        slices: `overall`, `protected` (each protected slice of the pack) or a list of slice names like `accent=us`.
        margin: the regression budget, in the metric's unit; with `relative` a share of the stable one's value.
        limit: the absolute limit, a ceiling where lower is better and a floor where higher is: every release is held to
            it, a first one to nothing else (R4.3).
        min_speakers, min_support: speakers, and units of the denominator (reference words for WER), below which the
            verdict is Inconclusive.
    """

    pack: str
    metric: MetricName
    slices: Literal["overall", "protected"] | tuple[str, ...]
    margin: NonNegativeFloat
    relative: bool = False
    limit: PositiveFloat
    min_speakers: PositiveInt
    min_support: PositiveInt


class ServingGate(Part):
    """Budgets of speed and size; milliseconds, megabytes, US dollars an audio hour.

    `*_regression` are shares: how much worse than the stable one, measured in the same interleaved pass, a figure may
    be (0.15: 15 per cent); `*_regression_ms` say the same in milliseconds. An audio hour is of audio heard, of a
    synthesis of audio made. `first_audio_*` run from the request (in a dialogue from the end of the user's speech) to
    the first samples, `underrun_share` is the share of answers whose playback starves; the final of a dialogue is the
    end of the reply, of a synthesis the last sample.
    """

    first_partial_p95_ms: PositiveFloat | None = None
    first_stable_p95_ms: PositiveFloat | None = None
    first_audio_p50_ms: PositiveFloat | None = later(None)
    first_audio_p95_ms: PositiveFloat | None = later(None)
    first_audio_p99_ms: PositiveFloat | None = later(None)
    underrun_share: Share | None = later(None)
    cost_usd_per_successful_turn: PositiveFloat | None = later(None)
    final_p95_ms: PositiveFloat
    rtf: PositiveFloat
    peak_memory_mb: PositiveFloat
    cost_usd_per_audio_hour: PositiveFloat
    final_p95_regression: PositiveFloat | None = None
    final_p95_regression_ms: PositiveFloat | None = None
    peak_memory_regression: PositiveFloat | None = None
    cost_regression: PositiveFloat | None = None


class SafetyGate(Part):
    """Budgets of the safety report (R4.8).

    Attributes:
        max_hallucinating_clips: share of the non-speech clips that may yield words.
        max_redaction_leaks, max_spoken_leaks: private strings, written and spoken, that may survive redaction.
        max_harmful_clips: clips in which a word of `harmful_words` may be heard that nobody said.
        max_answered_refusals: requests that must be refused and may be answered.
    """

    max_hallucinating_clips: Share
    max_redaction_leaks: NonNegativeInt
    max_spoken_leaks: NonNegativeInt = 0
    max_harmful_clips: NonNegativeInt = 0
    max_answered_refusals: NonNegativeInt = 0
    harmful_words: tuple[str, ...] = ()


class CanaryMetric(Part):
    """A metric of the judge (house.md `judge`): margins are absolute unless `relative`.

    `slices` are the slice columns that this metric is judged on beside the whole; None: those of the plan.
    """

    kind: Literal["ratio", "quantile", "never"]
    numerator: str = ""
    denominator: str = ""
    column: str = ""
    quantile: Share = 0.95
    budget: float | None = None
    margin: NonNegativeFloat = 0.0
    relative: bool = False
    better: Literal["lower", "higher"] = "lower"
    slices: tuple[str, ...] | None = later(None)

    def columns(self, name: str) -> tuple[str, ...]:
        """The columns that it is read from, where it is called `name`."""
        return (self.numerator, self.denominator) if self.kind == "ratio" else (self.column or name,)


class CanaryPlan(Part):
    """The plan a canary is judged by; the `--plan` file of `soundcheck judge`.

    `min_sessions` is per arm and slice before any decision; `deadline_s`, `stale_after_s` are seconds;
    `cohort` names the values a request's labels must have in the cohort stage; `weights` is the canary's share a stage,
    `deadlines` the seconds of a stage that has its own.
    """

    metrics: dict[str, CanaryMetric]
    slices: tuple[str, ...] = ()
    alpha: Share = 0.05
    deadline_s: PositiveFloat
    min_sessions: PositiveInt = 30
    caps: dict[str, PositiveFloat] = {"utterances": 60, "words": 400}
    stale_after_s: PositiveFloat = 300.0
    routable: tuple[str, ...] = ()
    stages: tuple[Literal["shadow", "cohort", "wide"], ...] = ("shadow", "cohort", "wide")
    cohort: dict[str, tuple[str, ...]] = {}
    weights: dict[Literal["probe", "shadow", "cohort", "wide"], Share] = {}
    deadlines: dict[Literal["probe", "shadow", "cohort", "wide"], PositiveFloat] = later({})


class Approvals(Part):
    """Who must say yes: `ui` counts unsigned decisions of the Prefect form, `signed` only signatures."""

    mode: Literal["ui", "signed"]
    quorum: PositiveInt
    mandatory: tuple[str, ...] = ()
    timeout_s: PositiveFloat


class Waiver(Part):
    """Evidence that cannot be had, accepted in sight: it is part of the policy, whose digest the approver signs."""

    check: Literal["leakage"]
    reason: str
    owner: str


class StagingPolicy(Part):
    """The staged replay: how many requests, the golden tolerance, how many fixtures are kept.

    `soak_requests` one after another show how memory grows (0: no soak), at most by `max_growth_mb_per_1000` requests;
    one utterance of `long_audio_s` seconds is heard whole and as a stream (0: none is). `golden_max_distance` is how
    far a component of a golden vector (embedding, class scores, sketch of speech) may be off.
    """

    requests: PositiveInt
    golden_fixtures: PositiveInt
    golden_max_word_edits: NonNegativeInt
    golden_max_distance: NonNegativeFloat = later(0.0)
    timeout_s: PositiveFloat
    soak_requests: NonNegativeInt = later(0)
    max_growth_mb_per_1000: PositiveFloat = later(64.0)
    long_audio_s: NonNegativeFloat = later(0.0)


class Statistics(Part):
    """Family-wise error of the offline gates, bootstrap replicates, seed (U4, U5); how much is streamed and timed.

    `stream_utterances` of each pack that a streaming metric asks about are heard chunk by chunk (`chunk_ms`), drawn
    evenly over speakers and protected slices; `timed_utterances` of the first pack are the exclusive timing pass (R3).
    """

    alpha: Share
    replicates: PositiveInt
    seed: int
    stream_utterances: PositiveInt = 600
    timed_utterances: PositiveInt = 120
    chunk_ms: PositiveInt = 100


class Exchange(Part):
    """Cost against quality: what a cheaper candidate may lose.

    A candidate whose cost an audio hour is at least `min_saving` (a share) below the stable one's has `extra_margin`
    (in the metric's unit) added to its margins on slices that are neither protected nor high-risk. A protected slice
    never pays for a saving.
    """

    min_saving: Share
    extra_margin: NonNegativeFloat


class Quantization(Part):
    """A quantized candidate against the full-precision model it was made from: `margin` on every protected slice."""

    margin: NonNegativeFloat


class FamilyPolicy(Document):
    """All that decides about a family's releases."""

    KIND: ClassVar[str] = "family_policy"

    family: str
    task: Task = later("transcription")
    registry: dict[str, JsonValue]
    normalizer: Literal["none", "basic", "english"]
    high_risk: bool = False
    high_risk_slices: tuple[str, ...] = ()
    quality: tuple[QualityGate, ...]
    serving: ServingGate
    safety: SafetyGate
    statistics: Statistics
    staging: StagingPolicy
    canary: CanaryPlan
    approvals: Approvals
    envelope: ResourceEnvelope
    exchange: Exchange | None = None
    quantization: Quantization | None = None
    bake_time_s: NonNegativeFloat
    waivers: tuple[Waiver, ...] = ()


def _text(value: object) -> object:
    return str(value) if isinstance(value, int) else value


class StoreSettings(Part):
    """Where bundles and ledger live: `file://DIR` (a relative DIR is below the home folder) or `s3://BUCKET/PREFIX`.

    `serving_url` is the same store for gateways, which read and never write: another profile, with fewer rights.
    `wheels`: whether a release keeps the wheels that serving needs of its runtime lock there (R5.6).
    """

    url: Annotated[str, BeforeValidator(_text)]
    serving_url: str | None = None
    wheels: bool = False


class Ports(Part):
    """Loopback ports of the embedded servers."""

    prefect: PositiveInt
    mlflow: PositiveInt
    gateway: PositiveInt


class RateLimit(Part):
    """A token bucket an API key: requests a second in the long run, and how many may come at once."""

    per_s: PositiveFloat
    burst: PositiveInt


class ServingSettings(Part):
    """The gateway: how often it looks at the pointers, bounds of a worker's queues, request deadline, drain time.

    `queue_limit` interactive and `batch_queue_limit` batch requests may wait for one worker, `stream_limit` streams may
    be open on it; up to `max_batch` waiting utterances are heard at once, the first of them waits at most
    `batch_wait_ms` for others. From a queue that is `no_partials_at` full, streams send finals alone. `traces` is an
    OTLP/HTTP collector's address. `availability` is the share of requests that must be answered: its complement is the
    error budget whose burn pages somebody.
    """

    poll_s: PositiveFloat
    queue_limit: PositiveInt
    batch_queue_limit: PositiveInt = 64
    stream_limit: PositiveInt = 64
    max_batch: PositiveInt = 8
    batch_wait_ms: NonNegativeFloat = 0.0
    no_partials_at: Share | None = None
    rate: RateLimit | None = None
    traces: str | None = None
    availability: Share = 0.999
    deadline_s: PositiveFloat
    drain_s: PositiveFloat
    worker_start_s: PositiveFloat
