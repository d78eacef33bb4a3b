"""A linear axis with round ticks, and places on it.

Boundary: no I/O, no markup: places are percentages of a plot's width or height, so that a template can draw them at any
size.
Invariants: every value that an axis was made of lies on it; a tick stands where it says.
Source: pages.md (one visual language).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

from pages.figures import Scale, signless_zero

_PADDING = 0.04


class Tick(NamedTuple):
    """A labelled place on an axis, in percent of its length."""

    x: float
    label: str


class Axis(NamedTuple):
    """A linear axis from `low` to `high` with round ticks."""

    low: float
    high: float
    ticks: tuple[Tick, ...] = ()

    def at(self, value: float) -> float:
        """Percent of the length, within the axis."""
        share = (value - self.low) / (self.high - self.low)
        return round(100 * min(max(share, 0.0), 1.0), 3)

    def place(self, value: float | None) -> float | None:
        """The same, None for None."""
        return None if value is None else self.at(value)

    def up(self, value: float) -> float:
        """Percent from the top of a plot, for an axis that runs upwards."""
        return round(100 - self.at(value), 3)


def same(value: float) -> float:
    """A place reads as its own value."""
    return value


def axis(
    values: Iterable[float],
    label: Scale,
    *,
    signed: bool,
    wanted: int = 5,
    read: Callable[[float], float] = same,
) -> Axis:
    """An axis that holds every value and 0, with about `wanted` ticks at 1, 2 or 5 times a power of ten.

    Args:
        values: places, in the metric's own unit.
        label: how a value is written.
        signed: ticks have a sign, and there is room left of the lowest place.
        read: the value that a place stands for, where that is not the place itself (an axis that is turned round).
    """
    known = [*values, 0.0]
    low, high = min(known), max(known)
    if high - low < 1e-9:
        low, high = low - 0.01 / label.factor, high + 0.01 / label.factor
    padding = (high - low) * _PADDING
    low, high = low - padding * signed, high + padding
    raw = (high - low) * label.factor / wanted
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * one for one in (1, 2, 5, 10) if power * one >= raw * 0.999)
    first, last = math.ceil(low * label.factor / step), math.floor(high * label.factor / step)
    decimals = max(0, -math.floor(math.log10(step)))
    bare = Axis(low, high)
    ticks = []
    for number in range(first, last + 1):
        place = number * step / label.factor
        shown = read(place) * label.factor
        ticks.append(
            Tick(bare.at(place), signless_zero(f"{shown:+.{decimals}f}" if signed else f"{shown:.{decimals}f}"))
        )
    return Axis(low, high, tuple(ticks))
