"""The drift evaluation: what moved in traffic, whose change it is, what the packs miss, what to do.

Boundary: no I/O, no clock. Source: coverage rows 13, 36 and 37; pages.md "Drift page".
Invariants: counts and means by window and slice, never a row; a value comes with the error it has. The scores of stable
on its packs stay a DriftReport (contracts/reports.py), so that documents of before keep their names.
"""

from __future__ import annotations

from datetime import date
from typing import Annotated, ClassVar, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from contracts.digest import Digest
from contracts.document import Document, Part, later
from contracts.policy import MetricName, Task
from contracts.reports import Better, Count
from contracts.verdict import Verdict

Outcome = Literal["nothing", "ticket", "propose_slice", "propose_pack", "page", "recommend_rollback"]
"""What a drift evaluation asks for, from the least to the most urgent."""
Cause = Literal["none", "population", "pipeline", "bundle"]
"""Whose change it is: that of the people, devices and rooms who ask, that of our own machinery, or of the stable bundle
alone: what it makes of traffic that did not move."""


class DriftSettings(Part):
    """A family's section of `drift` in params.yaml.

    Attributes:
        window_h: hours of a window.
        reference_weeks: weeks that later windows are compared with: for what stable makes of traffic those after its
            promotion, for who asks and how it sounds the first that are known.
        reference_from: an ISO date from which on they count, for traffic that has changed for good.
        false_alarms_per_year: how many false alarms all signals and slices of the family together may have.
        min_sessions: sessions that a slice needs in a window before it is looked at there.
        slices: label columns whose values are slices.
        min_traffic_share, min_pack_utterances: the share of traffic from which a value needs so many utterances in the
            family's packs.
        page_on: signals that page somebody when they get worse by twice their margin; others make a ticket.
        rollback: whether a rollback that is recommended is also started (monitoring/drift/take_back.py has the limits).
        rollback_key: the operator's key of this installation that signs it: the actor in the ledger.
        rollback_cooldown_h: hours after any rollback of the family in which none is started.
    """

    window_h: Literal[6, 12, 24] = 24
    reference_weeks: Annotated[int, Field(ge=2, le=26)] = 4
    reference_from: date | None = None
    false_alarms_per_year: PositiveFloat = 1.0
    min_sessions: PositiveInt = 50
    slices: tuple[Literal["tenant", "device", "language", "codec"], ...] = ("device", "language", "tenant", "codec")
    min_traffic_share: Annotated[float, Field(gt=0, lt=1)] = 0.02
    min_pack_utterances: PositiveInt = 30
    page_on: tuple[str, ...] = ("confidence", "corrections", "refused_rate")
    rollback: Literal["recommend", "start"] = "recommend"
    rollback_key: Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.-]*$")] = "drift-watch"
    rollback_cooldown_h: PositiveFloat = 168.0


class Distribution(Part):
    """Two histograms over the same bins: shares of the reference and of now; `edges` has one value more than bins."""

    edges: tuple[float, ...]
    unit: str
    reference: tuple[NonNegativeFloat, ...]
    now: tuple[NonNegativeFloat, ...]


class Point(Part):
    """One window of a signal: its value, and what the season and the reference let expect."""

    at_s: float
    value: float
    expected: float


class Moved(Part):
    """A signal that moved on a slice.

    `since_s` is where the change most likely began (seconds since the epoch), `alarmed_s` the end of the window that
    raised the alarm. `before` and `now` are means in the signal's unit, `now` of the windows since; `lower` and `upper`
    bound the change (95%). `evidence` is the detector's value, the alarm is at `alarm_at`.
    """

    signal: str
    says: str
    unit: str
    slice: str
    since_s: float
    alarmed_s: float
    before: float
    now: float
    change: float
    lower: float
    upper: float
    margin: NonNegativeFloat
    evidence: NonNegativeFloat
    alarm_at: PositiveFloat
    sessions: NonNegativeInt
    worse: bool
    series: tuple[Point, ...] = ()
    distribution: Distribution | None = None


class Watch(Part):
    """What the detector looked at: streams (signal x slice), windows and the threshold each stream is held to."""

    window_h: PositiveInt
    reference_from_s: float | None
    reference_until_s: float | None
    until_s: float
    windows: NonNegativeInt
    streams: NonNegativeInt
    waiting: tuple[str, ...] = ()
    """Why something is not looked at yet, in sentences."""
    alarm_at: NonNegativeFloat
    false_alarms_per_year: PositiveFloat


class PipelineCheck(Part):
    """One look at our own machinery: what was compared, whether it is as promised (None: it could not be seen)."""

    name: str
    same: bool | None
    says: str


class Uncovered(Part):
    """A value of traffic that the packs say little of: its share of traffic, utterances that packs have of it."""

    column: str
    value: str
    traffic_share: NonNegativeFloat
    pack_share: NonNegativeFloat
    pack_utterances: NonNegativeInt


class Mix(Part):
    """Traffic beside the packs on one column: shares by value; `distance` is the total variation between the two."""

    column: str
    traffic: dict[str, float]
    packs: dict[str, float]
    distance: NonNegativeFloat


class PackCoverage(Part):
    """Do the packs still look like traffic (coverage 13)? `unseen` are label columns that no pack has."""

    mixes: tuple[Mix, ...] = ()
    uncovered: tuple[Uncovered, ...] = ()
    unseen: tuple[str, ...] = ()
    proposals: tuple[str, ...] = ()


class QualityEstimate(Part):
    """The share of utterances heard exactly, told from confidence alone, with the interval that this knowledge has.

    `change` is now less the reference, `change_lower` and `change_upper` bound it; None where there is no reference.
    `unsupported` is the share of traffic whose confidence no pack utterance had: there anything is possible.
    """

    estimate: float
    lower: float
    upper: float
    change: float | None = None
    change_lower: float | None = None
    change_upper: float | None = None
    unsupported: NonNegativeFloat
    requests: NonNegativeInt


class Expectation(Part):
    """An expectation about telemetry that is not met: its type, its column, how many rows break it."""

    expectation: str
    column: str
    rows: NonNegativeInt


class ScoredAgain(Part):
    """One metric on one slice of a pack, when stable was released and now.

    `measured` is None where it could not be measured now. `same`: every count is equal (None: not measured).
    `difference` is now less then, in the metric's own unit; `lower` and `upper` are simultaneous bounds over all that
    differ; None where there is none.
    """

    pack: str
    metric: MetricName
    slice: str
    better: Better
    released: Count
    measured: Count | None
    same: bool | None
    difference: float | None
    lower: float | None
    upper: float | None


class TakeBack(Part):
    """The rollback that is recommended: where it goes to, who would sign it, and what stands against starting it.

    `target` is the next bundle that was stable and verifies; None where there is none. It is started where nothing
    stands against it.
    """

    target: Digest | None
    version: str
    key: str
    refusals: tuple[str, ...]

    @property
    def starts(self) -> bool:
        """Whether drift starts it."""
        return not self.refusals


class ReadyFile(Part):
    """A file that is ready to be merged: its name below `change/` beside the page, where it belongs, and its bytes."""

    name: str
    place: str
    change: Digest


class DriftEvaluation(Document):
    """One re-evaluation of a family: stable's scores are in `rescored` (a DriftReport), the rest is from telemetry."""

    KIND: ClassVar[str] = "drift_evaluation"

    family: str
    bundle: Digest
    version: str
    at: str
    rescored: Digest
    rescored_verdict: Verdict
    watch: Watch
    moved: tuple[Moved, ...] = ()
    cause: Cause = "none"
    checks: tuple[PipelineCheck, ...] = ()
    coverage: PackCoverage = PackCoverage()
    quality: QualityEstimate | None = None
    telemetry_rows: NonNegativeInt = 0
    expectations: tuple[Expectation, ...] = ()
    outcome: Outcome
    verdict: Verdict
    commands: tuple[str, ...] = ()
    task: Task = later("transcription")
    scores: tuple[ScoredAgain, ...] = later(())
    changes: tuple[ReadyFile, ...] = later(())
    rollback: TakeBack | None = later(None)
    """Where the outcome is `recommend_rollback`."""
    quality_unknown: str = later("")
    """Why there is no estimate of quality without labels; "" where there is one."""
