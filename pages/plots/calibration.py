"""Calibration: is confidence honest? Share that was exactly right against mean confidence, bin by bin, both arms.

Boundary: no I/O, no markup: places are percentages of a square plot.
Invariants: a bin without utterances has no mark; the area of a mark grows with its utterances.
Source: pages.md (Release report); reliability diagrams as in Guo et al. 2017.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from contracts.reports import Calibration
from pages.figures import PERCENT, many, plain

_SMALL, _LARGE = 3.0, 9.0
"""Radii in pixels of the emptiest and the fullest bin."""


class Bin(NamedTuple):
    """One bin: its place, its radius in pixels, what it says."""

    x: float
    y: float
    radius: float
    title: str


class Arm(NamedTuple):
    """One arm's bins, the line through them (SVG path data in a box of 100 x 100), its expected calibration error."""

    arm: str
    error: str
    utterances: str
    path: str
    bins: tuple[Bin, ...]


class Reliability(NamedTuple):
    """One pack's reliability diagram."""

    pack: str
    arms: tuple[Arm, ...]


def reliabilities(candidate: Sequence[Calibration], stable: Sequence[Calibration]) -> tuple[Reliability, ...]:
    """One diagram a pack whose engine gives a confidence, stable behind candidate."""
    before = {one.pack: one for one in stable}
    return tuple(
        Reliability(
            plain(one.pack),
            tuple(_arm(arm, found) for arm, found in (("stable", before.get(one.pack)), ("candidate", one)) if found),
        )
        for one in candidate
        if any(part.utterances for part in one.bins)
    )


def _arm(arm: str, one: Calibration) -> Arm:
    filled = [part for part in one.bins if part.utterances]
    most = max((part.utterances for part in filled), default=1)
    bins = tuple(
        Bin(
            x=round(100 * part.confidence, 3),
            y=round(100 - 100 * part.accuracy, 3),
            radius=round(_SMALL + (_LARGE - _SMALL) * math.sqrt(part.utterances / most), 2),
            title=f"{arm}: confidence {part.confidence:.0%}, exactly right {part.accuracy:.0%}, "
            f"{many(part.utterances, 'utterance')}",
        )
        for part in filled
    )
    path = "M" + "L".join(f"{one.x:g} {one.y:g}" for one in bins) if bins else ""
    utterances = many(sum(part.utterances for part in filled), "utterance")
    return Arm(arm, PERCENT.value(one.error), utterances, path, bins)
