"""An incident: what is known of it without anybody's content, what to do first, and what was added so that it is found
sooner the next time.

Boundary: no I/O, no clock. Source: coverage rows 27, 38, 39, 41 to 45; pages.md "Incident packet".
Invariants: counts, durations, digests, versions, and sentences made of these; a slice is named by values that the
family's own documents name, or by a keyed hash; facts stand apart from hypotheses; who is in a group that is smaller
than `smallest_group` sessions is not shown as a group.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt, StringConstraints

from contracts.digest import Digest
from contracts.document import Document, Part, later

INCIDENTS = "incidents"
"""Folder below the home folder with one folder an incident."""

Action = Literal["continue", "pause", "partial_rollback", "rollback", "degrade"]
Added = Literal["gate", "fixture", "slice", "alert", "runbook"]
Side = Literal["before", "stable"]
"""What a regression is measured against: the family's own traffic before, or stable's while a canary runs."""

IncidentId = Annotated[str, StringConstraints(pattern=r"^[0-9]{8}-[0-9]{6}-[0-9a-f]{8}$")]
SafeSlice = Annotated[str, StringConstraints(pattern=r"^(overall|[a-z_]+=(#[0-9a-f]{12}|[a-z0-9][a-z0-9_.+-]{0,39}))$")]
"""`overall`, `device=phone`, or `device=#3f9a0c11d2e4`: the keyed hash of a value that nothing of the family names."""


class Spread(Part):
    """Quantiles in milliseconds."""

    p50: NonNegativeFloat
    p95: NonNegativeFloat
    p99: NonNegativeFloat


class SliceImpact(Part):
    """How many requests and sessions of a slice there were, and how many of them were harmed."""

    slice: SafeSlice
    requests: NonNegativeInt
    sessions: NonNegativeInt
    harmed_requests: NonNegativeInt
    harmed_sessions: NonNegativeInt
    latency_ms: Spread | None = None


class BundleImpact(Part):
    """The same by what answered."""

    bundle: Digest
    arm: Literal["stable", "canary"]
    requests: NonNegativeInt
    harmed_requests: NonNegativeInt


class Impact(Part):
    """Who was hurt.

    Attributes:
        whole: all traffic that users got an answer to; `slices` and `bundles` its parts, the most harmed first.
        harms: harmed requests by kind; a request may be harmed in several ways.
        errors: requests by error code of the API.
        burn: how many times too fast the error budgets burn, by objective.
        suppressed_groups: groups that are left out because they are too small.
        before: latency of the same family before the window.
    """

    whole: SliceImpact
    slices: tuple[SliceImpact, ...] = ()
    bundles: tuple[BundleImpact, ...] = ()
    harms: dict[str, NonNegativeInt] = {}
    errors: dict[str, NonNegativeInt] = {}
    burn: dict[str, NonNegativeFloat] = {}
    before: Spread | None = None
    suppressed_groups: NonNegativeInt = 0


class Regression(Part):
    """One metric of one slice that is over its budget against its own baseline, or cannot be compared.

    `delta`, `lower`, `upper`: worse by, with simultaneous bounds over all that was compared, in the metric's unit,
    positive is harm; `severity` is the excess over the allowed delta in units of it, None where a baseline or metric is
    missing: that ranks first, because nothing vouches for it.
    """

    bundle: Digest | None
    against: Side
    slice: SafeSlice
    metric: str
    problem: Literal["over_budget", "missing_baseline", "missing_metric"]
    baseline: float | None = None
    value: float | None = None
    allowed: NonNegativeFloat | None = None
    delta: float | None = None
    lower: float | None = None
    upper: float | None = None
    severity: float | None = None
    sessions: NonNegativeInt
    confirmed: bool = False


class StageShift(Part):
    """One stage of the path: mean milliseconds a request before and now, and its share of the path's growth."""

    stage: Literal["queue", "preprocess", "inference", "postprocess", "gateway", "client"]
    before_ms: NonNegativeFloat
    now_ms: NonNegativeFloat
    growth_ms: float
    lower_ms: float
    share: float
    confirmed: bool = False


class Localised(Part):
    """Where on the path the time went, `stage` None where no stage stands out."""

    stage: Literal["queue", "preprocess", "inference", "postprocess", "gateway", "client"] | None
    because: str
    stages: tuple[StageShift, ...] = ()


class SaturatedMinute(Part):
    """A minute in which work waited: mean requests in the queue, how much more than the minute before, p95 latency."""

    minute_s: float
    depth: NonNegativeFloat
    growth: float
    p95_ms: NonNegativeFloat


class Saturation(Part):
    """Overload as a joint signal; minutes without telemetry are `missing`, not healthy.

    `batch_share`: of the time that was waited in saturated minutes, how much batch requests waited.
    """

    minutes: tuple[SaturatedMinute, ...] = ()
    watched: NonNegativeInt = 0
    missing: NonNegativeInt = 0
    growth_threshold: NonNegativeFloat
    p95_threshold_ms: NonNegativeFloat
    batch_share: NonNegativeFloat = later(0.0)


class RouteCost(Part):
    """What a successful turn of a route costs; `usd_per_success` is None where no turn succeeded: it ranks first."""

    route: str
    turns: NonNegativeInt
    successes: NonNegativeInt
    cost_usd: NonNegativeFloat
    usd_per_success: NonNegativeFloat | None
    flagged: bool = False


Factor = Literal["turns_per_success", "attempts_per_turn", "audio_s_per_turn", "usd_per_audio_s"]


class CostFactor(Part):
    """One factor of the cost of a successful turn, before and now; `times` is now over before."""

    factor: Factor
    before: NonNegativeFloat
    now: NonNegativeFloat
    times: NonNegativeFloat


class Cost(Part):
    """Cost a successful turn by route, dearest first, and what made it change; the factors multiply to `times`.

    `driver` is the factor that grew most where the cost changed, and `cause` says it in words.
    """

    routes: tuple[RouteCost, ...] = ()
    before_usd: NonNegativeFloat | None = None
    now_usd: NonNegativeFloat | None = None
    times: NonNegativeFloat | None = None
    factors: tuple[CostFactor, ...] = ()
    cause: str = ""
    driver: Factor | None = later(None)


class Candidate(Part):
    """A bundle that may be taken back: its weighted harm over all slices, in units of the budgets."""

    bundle: Digest
    version: str
    harm: NonNegativeFloat
    slices: NonNegativeInt


class Replay(Part):
    """Golden fixtures heard by two bundles: how many answers differ, by how many word edits of how many words."""

    old: Digest
    new: Digest
    fixtures: NonNegativeInt
    different: NonNegativeInt
    word_edits: NonNegativeInt
    words: NonNegativeInt
    old_declared_different: NonNegativeInt
    """Fixtures to which the old bundle no longer answers what it declared when it was packaged."""
    new_declared_different: NonNegativeInt


class Recommendation(Part):
    """What to do first, why, and the command."""

    action: Action
    reason: str
    command: str
    slices: tuple[SafeSlice, ...] = ()


class Done(Part):
    """A step that the ledger has since the baseline began: when, which, and what it moved to."""

    at: str
    step: str
    version: str = ""


class Closure(Part):
    """What an incident left behind: the change, as a file that is ready to be merged."""

    at: str
    added: Added
    note: str
    file: str
    change: Digest


class Incident(Document):
    """All that is known of an incident at one time; `revision` counts from 1, each in the ledger."""

    KIND: ClassVar[str] = "incident"

    incident: IncidentId
    family: str
    state: Literal["open", "closed"] = "open"
    revision: PositiveInt = 1
    opened_at: str
    updated_at: str
    next_update_at: str | None
    since_s: float
    until_s: float
    baseline_since_s: float
    smallest_group: PositiveInt
    stable: Digest | None
    canary: Digest | None = None
    versions: dict[Digest, str] = {}
    impact: Impact
    regressions: tuple[Regression, ...] = ()
    localised: Localised
    saturation: Saturation
    cost: Cost
    candidates: tuple[Candidate, ...] = ()
    replay: Replay | None = None
    recommendation: Recommendation
    done: tuple[Done, ...] = ()
    facts: tuple[str, ...] = ()
    hypotheses: tuple[str, ...] = ()
    closed: Closure | None = Field(default=None)
