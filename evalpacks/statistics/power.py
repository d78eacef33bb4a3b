"""What difference a pack of a given size can find: power of the regression verdict before anything is run (U4, U5).

Boundary: pure; sizes and assumptions in, numbers out; no simulation.
Invariants: more speakers, more units a speaker or fewer comparisons never make the detectable effect larger; too few
speakers for any bound are None, never a number. "Found" means the verdict Fail: the simultaneous lower bound of the
harm is over 0, and the estimate is over the margin.
Method: with n speakers of u units (reference words) each, the standard error of the harm is sqrt((s^2 + v / u) / n), s
the standard deviation over speakers of the true difference and v the variance of the difference per unit. The estimate
is normal, its estimated error follows a chi distribution of n - 1 degrees of freedom. The simultaneous bound over k
comparisons lies Student's t at alpha / 2k (Bonferroni) times the estimated error below the estimate, and further where
there are few speakers. Power is the mean over the estimated error of P(estimate > max(margin, that distance)).
benchmarks/gate_power.py measures what the product's own bounds find at the size planned here.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass
from functools import partial

import numpy as np

from contracts.errors import WrongCall
from evalpacks.statistics.blocks import MIN_SPEAKERS, Floats, sign_error

_GRID = (np.arange(400) + 0.5) / 400
_BOOTSTRAP_EXTRA = 80
"""The bootstrap's own joint width is wider than Student's by up to about 1 + 80 / n^2: 1.87, 1.36, 1.19 and 1.06 at 10,
15, 20 and 40 speakers (19 of 20 among 150 simulations of 20 slices; medians 1.55, 1.20, 1.10 and 1.03)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumptions:
    """How candidate and stable differ where nothing is known yet.

    The defaults come from three pairs of real models (v1, v2, v3 of asr-commands on its 2,016 utterances, 288 speakers,
    22 protected slices). Variance of the difference per word over 2 r (1 - r): median over slices 0.60 (v1, v2), 0.64
    (v2, v3), 0.85 (v1, v3); the default is their mean. Standard deviation over speakers within a slice, pooled: 0,
    0.013 and 0; over all accents together up to 0.037. Those speakers are synthetic, and people differ more: where you
    know better, give your own.

    Attributes:
        rate: the metric's value of the arm that is not harmed, a share in [0, 1].
        disagreement: variance of the difference per unit, as a share of r0 (1 - r0) + r1 (1 - r1) with r0 and r1
            the rates of the arms; 1: they err independently.
        speaker_sd: standard deviation over speakers of the true difference, in the metric's unit.
    """

    rate: float = 0.10
    disagreement: float = 0.7
    speaker_sd: float = 0.02

    def __post_init__(self) -> None:
        if not 0 <= self.rate <= 1:
            raise WrongCall(
                "the rate that power is planned for is not a share",
                where="Assumptions",
                got=f"rate {self.rate:g}",
                expected="a share of the denominator, from 0 to 1",
            )

    def standard_error(self, speakers: int, units: float, effect: float) -> float:
        """Of the difference, with `units` of the denominator a speaker, where one arm is worse by `effect`."""
        harmed = self.rate + effect if self.rate <= 0.5 else self.rate - effect
        harmed = min(1.0, max(0.0, harmed))
        per_unit = self.disagreement * (self.rate * (1 - self.rate) + harmed * (1 - harmed))
        return math.sqrt((self.speaker_sd**2 + per_unit / units) / speakers)


def power_of(
    effect: float,
    *,
    speakers: int,
    units: float,
    comparisons: int,
    alpha: float = 0.05,
    margin: float = 0.01,
    assumptions: Assumptions = Assumptions(),
) -> float:
    """The chance that a harm of `effect` is found on one slice; 0 where so few speakers give no bound.

    >>> round(power_of(0.03, speakers=100, units=30, comparisons=20), 2)
    0.85
    """
    if not _bounded(speakers, units, comparisons, alpha):
        return 0.0
    from scipy.special import chdtri, ndtr

    freedom = speakers - 1
    error = assumptions.standard_error(speakers, units, effect)
    estimated: Floats = error * np.sqrt(chdtri(freedom, _GRID) / freedom)
    bar = np.maximum(margin, _reach(speakers, comparisons, alpha) * estimated)
    return float(ndtr((effect - bar) / error).mean())


def minimum_detectable_effect(
    *,
    speakers: int,
    units: float,
    comparisons: int,
    alpha: float = 0.05,
    power: float = 0.95,
    margin: float = 0.01,
    assumptions: Assumptions = Assumptions(),
) -> float | None:
    """The smallest harm that is found with `power` on a slice of `speakers` with `units` of the denominator each.

    `comparisons` are the (metric, slice) pairs that are judged together. None: so few speakers that no bound exists.

    >>> minimum_detectable_effect(speakers=9, units=30, comparisons=20) is None
    True
    """
    if not _bounded(speakers, units, comparisons, alpha):
        return None
    from scipy.optimize import brentq

    found = partial(power_of, comparisons=comparisons, alpha=alpha, margin=margin, assumptions=assumptions)

    def surplus(effect: float) -> float:
        return found(effect, speakers=speakers, units=units) - power

    enough = max(margin, assumptions.standard_error(speakers, units, 0.0))
    while surplus(enough) < 0:
        enough *= 2
    return float(brentq(surplus, 0.0, enough, xtol=1e-6 * enough))


def speakers_needed(
    *,
    effect: float,
    units_per_speaker: float,
    comparisons: int,
    alpha: float = 0.05,
    power: float = 0.95,
    margin: float = 0.01,
    assumptions: Assumptions = Assumptions(),
) -> int:
    """The fewest speakers on a slice with which a harm of `effect` is found with `power`.

    Raises WrongCall for an effect within the margin, which no number of speakers makes a Fail, and for no units.

    >>> speakers_needed(effect=0.03, units_per_speaker=30, comparisons=20)
    130
    """
    if effect <= margin:
        raise WrongCall(
            "a harm within the margin is never a Fail, however many speakers there are",
            where="speakers_needed",
            got=f"effect {effect:g}, margin {margin:g}",
            expected="an effect over the margin",
        )

    if units_per_speaker <= 0:
        raise WrongCall(
            "speakers who say nothing show nothing, however many there are",
            where="speakers_needed",
            got=f"{units_per_speaker:g} units of the denominator a speaker",
            expected="a number over 0",
        )
    found = partial(power_of, comparisons=comparisons, alpha=alpha, margin=margin, assumptions=assumptions)

    def enough(speakers: int) -> bool:
        return found(effect, speakers=speakers, units=units_per_speaker) >= power

    few, many = MIN_SPEAKERS - 1, MIN_SPEAKERS
    while not enough(many):
        few, many = many, 2 * many
    return bisect_left(range(few + 1, many), True, key=enough) + few + 1


def _bounded(speakers: int, units: float, comparisons: int, alpha: float) -> bool:
    """Whether bounds exist: units, and enough speakers to stand for others and for a sign test over all comparisons."""
    return units > 0 and speakers >= MIN_SPEAKERS and sign_error(speakers) * comparisons <= alpha


def _reach(speakers: int, comparisons: int, alpha: float) -> float:
    """How many standard errors the simultaneous bounds are from the estimate."""
    from scipy.special import stdtrit

    return float(stdtrit(speakers - 1, 1 - alpha / (2 * comparisons))) * (1 + _BOOTSTRAP_EXTRA / speakers**2)
