"""The capacity plan of a dialogue: what a first response is spent on, and how many sessions a core carries within it.

Boundary: no I/O. Source: coverage rows 40 and 53.
Invariants: times are milliseconds from the end of the user's speech; what was measured and what is assumed are told
apart; a quantile is one of whole turns, never a sum of quantiles.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from contracts.digest import Digest
from contracts.document import Document, Part


class Assumed(Part):
    """What lies outside of the model, in milliseconds, and how people talk.

    Attributes:
        frame_ms: audio that a client sends at once.
        network_ms: one way.
        endpoint_ms: silence after which a turn has ended.
        playback_ms: what a client gathers before it plays.
        pause_s: seconds between a reply and the user's next words.
    """

    frame_ms: NonNegativeFloat = 20.0
    network_ms: NonNegativeFloat = 40.0
    endpoint_ms: NonNegativeFloat = 300.0
    playback_ms: NonNegativeFloat = 40.0
    pause_s: NonNegativeFloat = 2.0


class Stage(Part):
    """One stage: how long it takes, and from when to when it runs in the median turn."""

    name: str
    measured: bool
    p50_ms: NonNegativeFloat
    p95_ms: NonNegativeFloat
    starts_ms: NonNegativeFloat
    ends_ms: NonNegativeFloat


class Schedule(Part):
    """The stages in one order, until the first sample of the reply is heard.

    Attributes:
        in_use: whether the payload works in this order.
        headroom_ms: what the budget leaves over p95; below 0 it does not fit. So much more a stage that nothing runs
            beside, such as the response step, may take.
        longest_endpoint_ms: the wait for the end of a turn with which p95 is just on the budget; None: none is short
            enough.
    """

    name: str
    in_use: bool
    stages: tuple[Stage, ...]
    p50_ms: NonNegativeFloat
    p95_ms: NonNegativeFloat
    headroom_ms: float
    longest_endpoint_ms: NonNegativeFloat | None


class Load(Part):
    """So many sessions at once on one core: how busy it is, and the first response with the queue in it."""

    sessions: PositiveInt
    busy: NonNegativeFloat
    p95_ms: NonNegativeFloat


class CapacityPlan(Document):
    """A payload's plan on one machine.

    `compute_s` is compute a turn, `turn_s` how long a turn takes a user: speech, waiting, reply and pause, in seconds.
    `sessions_per_core` is the most of `loads` whose p95 is within the budget; 0 where not even one is.
    """

    KIND: ClassVar[str] = "capacity_plan"

    family: str
    version: str
    payload_digest: Digest
    budget_ms: PositiveFloat
    turns: PositiveInt
    assumed: Assumed
    schedules: tuple[Schedule, ...]
    compute_s: PositiveFloat
    turn_s: PositiveFloat
    loads: tuple[Load, ...]
    sessions_per_core: NonNegativeInt
