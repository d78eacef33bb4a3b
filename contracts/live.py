"""What a gateway tells about itself now, and what a canary tells while it runs: the documents of the live page.

Boundary: no I/O, no clock. Source: coverage row 47; pages.md "Live page".
Invariants: counts and durations by family, bundle, arm and slice, never text; rates come as their two counts.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import JsonValue, NonNegativeFloat, NonNegativeInt

from contracts.digest import Digest
from contracts.document import Document, Part
from contracts.reports import CanaryDecision, Look, Quantiles, SliceEvidence
from contracts.routing import CanaryRoute

PROGRESS = "run/canary"
"""Folder below the home folder with one CanaryProgress a family that has, or last had, a canary."""


class Window(Part):
    """Some seconds of traffic of one bundle on one slice (`overall`, `device=phone`), `since_s` to `until_s` (epoch).

    `failures` are requests that the server failed (status 500 and above, 429 too); `corrections` and `underruns` are
    client events.
    """

    since_s: float
    until_s: float
    bundle: Digest
    arm: Literal["stable", "canary", "shadow"]
    slice: str
    requests: NonNegativeInt
    failures: NonNegativeInt
    latency_ms: Quantiles | None
    first_partial_ms: Quantiles | None
    first_audio_ms: Quantiles | None = None
    queue_ms: Quantiles | None
    partial_words: NonNegativeInt
    unstable_words: NonNegativeInt
    privacy_errors: NonNegativeInt
    corrections: NonNegativeInt = 0
    interruptions: NonNegativeInt = 0
    underruns: NonNegativeInt = 0
    abandonments: NonNegativeInt = 0
    cost_usd: NonNegativeFloat = 0.0
    audio_s: NonNegativeFloat = 0.0


class Burn(Part):
    """How fast an error budget burns: 1.0 uses it up exactly in its period; `action`: what the alert rules make of it.

    `short` and `long` are the two windows that must both burn (seconds), `rate` the smaller of their burn rates.
    """

    objective: str
    slice: str
    short_s: NonNegativeFloat
    long_s: NonNegativeFloat
    rate: NonNegativeFloat
    left: float
    """Share of the budget of the period that is left; below 0: overspent."""
    action: Literal["none", "ticket", "page"]


class CountedWindow(Part):
    """Requests of the last `span_s` seconds that count for an objective, and those of them that are bad."""

    span_s: NonNegativeFloat
    asked: NonNegativeInt
    bad: NonNegativeInt


class BudgetCounts(Part):
    """What burn rates are made of, one slice and objective: counts of several gateways can be added."""

    objective: str
    slice: str
    windows: tuple[CountedWindow, ...]


class Move(Part):
    """One version of a family's route table: when, by whom, why, and what became stable."""

    version: NonNegativeInt
    moved_at: str
    actor: str
    reason: str
    stable: Digest | None
    canary: Digest | None = None


class CanaryProgress(Document):
    """A canary while it runs, replaced at each look (PROGRESS/FAMILY.json): what the judge knows so far."""

    KIND: ClassVar[str] = "canary_progress"

    family: str
    release: str
    version: str
    bundle: Digest
    stable: Digest | None
    stage: Literal["probe", "shadow", "cohort", "wide"]
    stages: tuple[str, ...]
    weight: float
    started_at: str
    looked_at: str
    deadline_s: NonNegativeFloat
    alpha: float
    decision: CanaryDecision
    reasons: tuple[str, ...] = ()
    evidence: tuple[SliceEvidence, ...] = ()
    looks: tuple[Look, ...] = ()

    def settled(self, route: CanaryRoute) -> bool:
        """Whether nobody needs to look: a shadow that went well, which nobody hears while people are asked (R8.4).

        After any other stage the next begins at once, and after the last one the canary is looked at until it is
        promoted: it has users.
        """
        shadow = self.stage == route.stage == "shadow"
        return shadow and (self.release, self.decision) == (route.release, "promote")


class Promise(Part):
    """What a family promises: the share of requests that are good; of latency and first audio, the milliseconds that
    decide.
    """

    objective: str
    share: float
    latency_ms: float | None = None


class BurnAlarm(Part):
    """Who is called from which burn rate on: both windows (seconds) must burn at `rate`."""

    action: Literal["ticket", "page"]
    short_s: NonNegativeFloat
    long_s: NonNegativeFloat
    rate: NonNegativeFloat


class AlertRule(Part):
    """One rule of the alerts that a monitoring system runs on this gateway's metrics."""

    name: str
    action: Literal["ticket", "page"]
    says: str
    command: str = ""


class LiveFamily(Part):
    """One family on one gateway. `table` is its route table, `workers` what `/v1/status` says of each by bundle.

    `now` is the last minute, `series` the last half hour of the busiest slices in windows of a minute, oldest first.
    """

    family: str
    versions: dict[Digest, str] = {}
    """Version names of the bundles that are served."""
    preparing: NonNegativeInt | None = None
    """Version of the table that waits for its workers."""
    store_error: str = ""
    """Why the pointer could not be read at the last look, "" where it could."""
    promises: tuple[Promise, ...] = ()
    table: dict[str, JsonValue] | None
    workers: dict[Digest, dict[str, JsonValue]] = {}
    now: tuple[Window, ...] = ()
    series: tuple[Window, ...] = ()
    burns: tuple[Burn, ...] = ()
    counts: tuple[BudgetCounts, ...] = ()
    """Of every slice, for each window of the alarms and the whole period."""
    history: tuple[Move, ...] = ()
    canary: CanaryProgress | None = None


class LiveReport(Document):
    """All that the live page shows of one gateway (`GET /v1/live`)."""

    KIND: ClassVar[str] = "live_report"

    at_s: float
    url: str
    families: tuple[LiveFamily, ...] = ()
    alarms: tuple[BurnAlarm, ...] = ()
    rules: tuple[AlertRule, ...] = ()
    telemetry_dropped: NonNegativeInt = 0
    """Telemetry rows that were lost since the gateway was started."""
