"""Which stage of the path took the time: queue, preprocess, inference, postprocess, the gateway itself, or the client.

Boundary: pure; mean stage timings of two sides in. Source: coverage 44.
Invariants: a stage is named only where it has most of the growth and its own lower bound is over 0; recogniser and
decoder are one stage, because telemetry times them together; the network is not measured by a server: where callers
leave or playback stops while no stage grew, that is said of the client's side, as a sign and not as a timing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, get_args

from contracts.incident import Localised, StageShift
from monitoring.incident.tallies import Tally

Stage = Literal["queue", "preprocess", "inference", "postprocess", "gateway"]
STAGES: tuple[Stage, ...] = get_args(Stage)
MOST = 0.5
"""Share of the growth that a stage must have to be named."""
LEAST_MS = 5.0
"""Growth of the whole path below which no stage is looked for."""
CLIENT_SIGNS = ("underrun_rate", "cancellation_rate")
CLIENT_GROWTH = 0.02
REACH = 2.58
"""Standard errors: 99%, two-sided, for five stages looked at together about 95%."""


def localise(before: Mapping[str, Tally], now: Mapping[str, Tally]) -> Localised:
    """Where on the path the time went, from the whole family's tallies before and now."""
    shifts = _shifts(before, now)
    grown = sum(max(one.growth_ms, 0.0) for one in shifts)
    if not shifts:
        return Localised(stage=None, because="there are no stage timings on both sides")
    named = max(shifts, key=lambda one: one.growth_ms)
    if grown >= LEAST_MS and named.confirmed and named.share >= MOST:
        because = (
            f"{named.stage}: {named.before_ms:.0f} ms before, {named.now_ms:.0f} ms now, "
            f"{named.share:.0%} of what the path has grown by"
        )
        return Localised(stage=named.stage, because=because, stages=shifts)
    signs = [name for name in CLIENT_SIGNS if _grew(before.get(name), now.get(name))]
    if signs and grown < LEAST_MS:
        said = " and ".join(name.removesuffix("_rate") + "s" for name in signs)
        because = f"no stage of the server grew, and {said} did: the network or the client"
        return Localised(stage="client", because=because, stages=shifts)
    because = "no stage grew" if grown < LEAST_MS else "the growth is spread over several stages"
    return Localised(stage=None, because=because, stages=shifts)


def _shifts(before: Mapping[str, Tally], now: Mapping[str, Tally]) -> tuple[StageShift, ...]:
    pairs = [(stage, before.get(f"stage.{stage}"), now.get(f"stage.{stage}")) for stage in STAGES]
    rated = [
        (stage, was, after, was.rate, after.rate)
        for stage, was, after in pairs
        if was is not None and after is not None and was.rate is not None and after.rate is not None
    ]
    grown = sum(max(now_ms - before_ms, 0.0) for _, _, _, before_ms, now_ms in rated)
    shifts = []
    for stage, was, after, before_ms, now_ms in rated:
        growth = now_ms - before_ms
        lower = growth - REACH * math.sqrt(was.variance + after.variance)
        shifts.append(
            StageShift(
                stage=stage, before_ms=before_ms, now_ms=now_ms, growth_ms=growth, lower_ms=lower,
                share=max(growth, 0.0) / grown if grown > 0 else 0.0, confirmed=lower > 0,
            )
        )  # fmt: skip
    return tuple(shifts)


def _grew(before: Tally | None, now: Tally | None) -> bool:
    if before is None or now is None or before.rate is None or now.rate is None:
        return False
    growth = now.rate - before.rate
    return growth > CLIENT_GROWTH and growth > REACH * math.sqrt(before.variance + now.variance)
