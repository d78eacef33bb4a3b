"""The capacity plan for a first response: stages with and without overlap, and sessions a core within the budget.

Boundary: pure; measured turns and assumptions in, a plan out.
Invariants: every figure is made turn by turn, so that a quantile is one of whole turns; the wait for the end of a turn
hides what is done meanwhile and nothing else; a queue is added to p95 before sessions are promised.
Source: coverage row 40. The queue is an M/G/1 queue: its mean wait is Pollaczek and Khinchine's, its tail the usual
exponential one, P(W > t) = rho exp(-rho t / mean wait) (Kleinrock 1975, "Queueing Systems", volume 1).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from contracts.capacity import Assumed, CapacityPlan, Load, Schedule, Stage
from contracts.digest import Digest
from contracts.errors import WrongCall

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

TAIL = 0.05
"""Share of turns that may be over the budget."""
_BUSIEST = 0.9
"""No plan runs a core busier than this: the formulas of a steady queue mean little beyond."""
_MEASURED = ("hearing", "retrieval", "response step", "first sentence of voice")


class Turns(NamedTuple):
    """Measured turns, each field of shape (turns,), in milliseconds unless the name says seconds.

    `paused`: whether the hearing was done while the end of the turn was waited for; `margin_ms` is the silence that
    must be heard before it can begin.
    """

    hear_ms: Floats
    retrieve_ms: Floats
    respond_ms: Floats
    speak_ms: Floats
    compute_s: Floats
    speech_s: Floats
    reply_s: Floats
    margin_ms: Floats
    paused: Bools


class _Span(NamedTuple):
    name: str
    starts: Floats
    ends: Floats


def plan(
    turns: Turns, assumed: Assumed, *, family: str, version: str, payload_digest: Digest, budget_ms: float
) -> CapacityPlan:
    """The plan of one payload; WrongCall without a turn."""
    if not turns.hear_ms.size:
        raise WrongCall("a capacity plan needs turns", got="none", next_step="name a pack with utterances")
    overlaps = bool(turns.paused.mean() > 0.5)
    schedules = [
        _schedule("one stage after another", turns, assumed, budget_ms, overlap=False, in_use=not overlaps),
        _schedule("hearing while the end is waited for", turns, assumed, budget_ms, overlap=True, in_use=overlaps),
    ]
    compute_s = float(turns.compute_s.mean())
    turn_s = float((turns.speech_s + turns.reply_s).mean()) + assumed.pause_s + assumed.endpoint_ms / 1000
    p95_ms = next(one.p95_ms for one in schedules if one.in_use)
    loads = _loads(turns, turn_s, p95_ms)
    return CapacityPlan(
        family=family,
        version=version,
        payload_digest=payload_digest,
        budget_ms=budget_ms,
        turns=turns.hear_ms.size,
        assumed=assumed,
        schedules=tuple(schedules),
        compute_s=compute_s,
        turn_s=turn_s,
        loads=loads,
        sessions_per_core=max((load.sessions for load in loads if load.p95_ms <= budget_ms), default=0),
    )


def _schedule(name: str, turns: Turns, assumed: Assumed, budget_ms: float, *, overlap: bool, in_use: bool) -> Schedule:
    spans = _spans(turns, assumed, overlap=overlap)
    total = spans[-1].ends
    p95_ms = float(np.quantile(total, 1 - TAIL))
    longest = _longest_endpoint(turns, assumed, budget_ms, overlap=overlap)
    return Schedule(
        name=name,
        in_use=in_use,
        stages=tuple(_stage(span) for span in spans),
        p50_ms=float(np.quantile(total, 0.5)),
        p95_ms=p95_ms,
        headroom_ms=budget_ms - p95_ms,
        longest_endpoint_ms=longest,
    )


def _stage(span: _Span) -> Stage:
    took = span.ends - span.starts
    return Stage(
        name=span.name,
        measured=span.name in _MEASURED,
        p50_ms=float(np.quantile(took, 0.5)),
        p95_ms=float(np.quantile(took, 1 - TAIL)),
        starts_ms=float(np.quantile(span.starts, 0.5)),
        ends_ms=float(np.quantile(span.ends, 0.5)),
    )


def _spans(turns: Turns, assumed: Assumed, *, overlap: bool) -> list[_Span]:
    """Each stage from its start to its end, ms from the end of speech, (turns,); the last ends when it is heard."""
    zero = np.zeros_like(turns.hear_ms)
    captured = zero + assumed.frame_ms
    there = captured + assumed.network_ms
    told = there + assumed.endpoint_ms
    early = turns.paused if overlap else np.zeros_like(turns.paused)
    hearing = np.where(early, there + np.minimum(turns.margin_ms, assumed.endpoint_ms), told)
    heard = hearing + turns.hear_ms
    both = np.maximum(told, heard)
    found = both + turns.retrieve_ms
    replied = found + turns.respond_ms
    spoken = replied + turns.speak_ms
    arrived = spoken + assumed.network_ms
    return [
        _Span("capture of a frame", zero, captured),
        _Span("network, up", captured, there),
        _Span("wait for the end of the turn", there, told),
        _Span(_MEASURED[0], hearing, heard),
        _Span(_MEASURED[1], both, found),
        _Span(_MEASURED[2], found, replied),
        _Span(_MEASURED[3], replied, spoken),
        _Span("network, down", spoken, arrived),
        _Span("playback buffer", arrived, arrived + assumed.playback_ms),
    ]


def _longest_endpoint(turns: Turns, assumed: Assumed, budget_ms: float, *, overlap: bool) -> float | None:
    """By bisection over the wait, to a millisecond: p95 grows with it."""

    def p95(endpoint_ms: float) -> float:
        waited = assumed.model_copy(update={"endpoint_ms": endpoint_ms})
        return float(np.quantile(_spans(turns, waited, overlap=overlap)[-1].ends, 1 - TAIL))

    if p95(0.0) > budget_ms:
        return None
    low, high = 0.0, budget_ms
    while high - low > 1.0:
        middle = (low + high) / 2
        low, high = (middle, high) if p95(middle) <= budget_ms else (low, middle)
    return low


def _loads(turns: Turns, turn_s: float, p95_ms: float) -> tuple[Load, ...]:
    """Sessions on one core, up to the busiest that means anything, each with its queue."""
    compute_s = float(turns.compute_s.mean())
    job_s = (turns.hear_ms + turns.retrieve_ms + turns.respond_ms + turns.speak_ms) / 1000
    most = max(1, math.floor(_BUSIEST * turn_s / compute_s))
    return tuple(
        Load(sessions=sessions, busy=busy, p95_ms=p95_ms + 1000 * _wait_s(busy, job_s))
        for sessions in range(1, most + 1)
        for busy in [(sessions - 1) * compute_s / turn_s]
    )


def _wait_s(busy: float, job_s: Floats) -> float:
    """The wait that a share of TAIL of the jobs exceeds; `busy` is what the others keep the core busy with."""
    if busy <= TAIL:
        return 0.0
    mean_s = busy * float((job_s**2).mean()) / (2 * float(job_s.mean()) * (1 - busy))
    return math.log(busy / TAIL) * mean_s / busy


def turns_of(columns: Mapping[str, npt.NDArray[np.generic]]) -> Turns:
    """Turns from a table's columns (speech.assistant.stages.Stages)."""
    return Turns(
        **{name: columns[name].astype(np.float64) for name in Turns._fields if name != "paused"},
        paused=columns["paused"].astype(np.bool_),
    )
