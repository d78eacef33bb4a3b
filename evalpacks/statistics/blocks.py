"""One metric on one slice as sums over the units that are resampled (U1, U2).

Boundary: pure.
Invariants: the unit is the speaker, or the utterance where a slice has fewer than 10 speakers or speakers are not
known; neither the order of utterances nor, for speakers, the other pairs of a comparison change a block; a block has
no more than MAX_BLOCKS rows.
Method: the harm of every metric is a sum of ratios of sums. Where both arms share the denominator d it is one ratio,
sum x / sum d, with x the difference of numerators; where they do not (churn: each arm shows its own partials) it is
two, sum n1 / sum d1 - sum n0 / sum d0. More than MAX_BLOCKS units are dealt into MAX_BLOCKS blocks at random (a seeded
permutation, blind to their content): sums of independent units are independent units. What it costs is precision of
the standard error, 1.6% of it with 2,048 blocks; a slice with fewer units than blocks loses next to nothing.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from contracts.errors import WrongCall
from contracts.reports import Better

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Unit = Literal["speaker", "utterance"]

MIN_SPEAKERS = 10
"""Fewer speakers than this: the unit is the utterance, and the result is conditional on these speakers (U4)."""

MAX_BLOCKS = 2048
"""More units than this are dealt into this many blocks, which bounds time and memory of the bootstrap."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """One metric on one slice, candidate and stable on the same audio.

    Attributes:
        population: pairs that share it are resampled together (the name of the pack); they are over the same
            utterances.
        candidate, stable: numerators per utterance, shape (utterances,).
        denominator: what both are divided by (reference words), shape (utterances,).
        mask: which utterances are in the slice, shape (utterances,).
        speakers: speaker of each utterance as 0, 1, ... in sorted order of names, shape (utterances,); None where
            speakers are not known.
        better: whether lower or higher values are better.
        stable_denominator: what the stable numerator is divided by where that is not `denominator` (churn: words of
            partials), shape (utterances,).
        relative_margin: share of the stable rate that the harm may be; 0: no relative budget.
    """

    population: str
    candidate: npt.ArrayLike
    stable: npt.ArrayLike
    denominator: npt.ArrayLike
    mask: npt.NDArray[np.bool_]
    speakers: Integers | None
    better: Better = "lower"
    stable_denominator: npt.ArrayLike | None = None
    relative_margin: float = 0.0


class Block(NamedTuple):
    """One pair by unit, in the orientation of harm.

    Attributes:
        population: of the pair; blocks of one population and unit are resampled together.
        columns: numerator and denominator of each ratio whose sum is the harm, shape (units, 2) or (units, 4).
        estimate: the harm, NaN where a ratio has no denominator.
        residuals: what each unit adds to the harm, linearised, shape (units,); rounding is zero.
        unit, resampled: what a unit is, and how many the slice has after dealing: what a bound rests on.
        units, speakers, utterances: how many of each the slice has.
    """

    population: str
    columns: Floats
    estimate: float
    residuals: Floats
    unit: Unit
    resampled: int
    units: int
    speakers: int
    utterances: int

    @property
    def has_rate(self) -> bool:
        """Whether each ratio has a denominator."""
        return not math.isnan(self.estimate)

    @property
    def equal(self) -> bool:
        """Whether the arms are the same in every unit."""
        return not self.columns[:, 0::2].any()

    @property
    def standard_error(self) -> float:
        """Of the harm."""
        return math.sqrt(float(self.residuals @ self.residuals))


class Arranged(NamedTuple):
    """A pair's harm, and its harm beyond the relative margin (None without one)."""

    harm: Block
    excess: Block | None


class _Units(NamedTuple):
    """The unit of each utterance of a population, shape (utterances,), and how many there are."""

    codes: Integers
    size: int


def sign_error(units: int) -> float:
    """The two-sided error of the surest test that this many units allow: that all have the same sign."""
    return 2.0 ** (1 - units)


def sum_of_ratios(sums: Floats) -> tuple[Floats, Floats]:
    """The sum of the ratios numerator / denominator, and its gradient; `sums` has the columns of a block last."""
    ratios = sums[..., 0::2] / sums[..., 1::2]
    gradient = np.empty_like(sums)
    gradient[..., 0::2] = 1 / sums[..., 1::2]
    gradient[..., 1::2] = -ratios / sums[..., 1::2]
    return ratios.sum(axis=-1), gradient


def arrange(pairs: Sequence[Paired], *, seed: int) -> list[Arranged]:
    """The blocks of each pair, in order.

    Raises WrongCall for counts that are not finite, for arrays of different lengths, and for pairs of one population
    over different utterances.
    """
    _refuse_lengths(pairs)
    counted = [_speakers_in(pair) for pair in pairs]
    units: list[Unit] = ["speaker" if speakers >= MIN_SPEAKERS else "utterance" for speakers in counted]
    groups: dict[tuple[str, Unit], list[Paired]] = {}
    for pair, unit in zip(pairs, units, strict=True):
        groups.setdefault((pair.population, unit), []).append(pair)
    numbered = {key: _units(members, key, seed) for key, members in groups.items()}
    return [
        _arranged(pair, numbered[pair.population, unit], unit, speakers)
        for pair, unit, speakers in zip(pairs, units, counted, strict=True)
    ]


def stream_of(seed: int, *names: str) -> np.random.Generator:
    """The random numbers that belong to a seed and some names."""
    return np.random.default_rng([seed, zlib.crc32("/".join(names).encode())])


def _refuse_lengths(pairs: Sequence[Paired]) -> None:
    lengths: dict[str, int] = {}
    for pair in pairs:
        expected = lengths.setdefault(pair.population, len(pair.mask))
        found = {len(np.asarray(values)) for values in _arrays(pair)} - {expected}
        if found:
            raise WrongCall(
                "the pairs of one population are not over the same utterances",
                where=f"population {pair.population}",
                got=f"arrays of {min(found)} and of {expected} utterances",
                expected="one length",
            )


def _arrays(pair: Paired) -> list[npt.ArrayLike]:
    optional = [values for values in (pair.stable_denominator, pair.speakers) if values is not None]
    return [pair.candidate, pair.stable, pair.denominator, pair.mask, *optional]


def _speakers_in(pair: Paired) -> int:
    return 0 if pair.speakers is None else int((np.bincount(pair.speakers[pair.mask]) > 0).sum())


def _units(pairs: Sequence[Paired], key: tuple[str, Unit], seed: int) -> _Units:
    """The units of pairs that are resampled together, at most MAX_BLOCKS of them."""
    if key[1] == "speaker" and pairs[0].speakers is not None:
        codes = pairs[0].speakers
        size = int(codes.max()) + 1
    else:
        codes, size = _ranks(pairs)
    if size <= MAX_BLOCKS:
        return _Units(codes, size)
    dealt = stream_of(seed, *key, "dealt").permutation(size) % MAX_BLOCKS
    return _Units(dealt[codes], MAX_BLOCKS)


def _ranks(pairs: Sequence[Paired]) -> tuple[Integers, int]:
    """Utterances of any of the slices numbered in an order that their content alone decides, and their number.

    The order is that of a 64-bit hash of all counts; utterances with equal hashes are alike, so their order is free.
    """
    distinct = {id(values): values for pair in pairs for values in _arrays(pair)}
    used = np.flatnonzero(np.logical_or.reduce([pair.mask for pair in pairs]))
    hashes = np.zeros(len(used), dtype=np.uint64)
    for values in distinct.values():
        bits = (np.asarray(values, dtype=np.float64)[used] + 0.0).view(np.uint64)  # + 0.0: no negative zero
        hashes = (hashes ^ bits) * np.uint64(0x9E3779B97F4A7C15)
        hashes ^= hashes >> np.uint64(32)
    codes = np.zeros(len(pairs[0].mask), dtype=np.int64)
    codes[used[np.argsort(hashes, kind="stable")]] = np.arange(len(used))
    return codes, len(used)


def _arranged(pair: Paired, units: _Units, unit: Unit, speakers: int) -> Arranged:
    inside = np.flatnonzero(pair.mask)
    codes = units.codes[inside]
    weights = [np.asarray(values, dtype=np.float64)[inside] for values in _counts(pair)]
    sums = [np.bincount(codes, weights=weight, minlength=units.size).astype(np.float64) for weight in weights]
    if not np.isfinite(sums).all():
        raise WrongCall(
            "a count is not a finite number",
            where=f"population {pair.population}",
            got="NaN or an infinity",
            expected="numerators and denominators per utterance",
            next_step="leave utterances that the metric says nothing of at denominator 0",
        )
    harm = _block(pair, _columns(sums, pair.better, 0.0), codes, unit, speakers)
    if not pair.relative_margin:
        return Arranged(harm, None)
    beyond = _columns(sums, pair.better, pair.relative_margin)
    return Arranged(harm, _block(pair, beyond, codes, unit, speakers))


def _block(pair: Paired, columns: Floats, codes: Integers, unit: Unit, speakers: int) -> Block:
    estimate, residuals = _linearised(columns)
    return Block(
        population=pair.population,
        columns=columns,
        estimate=estimate,
        residuals=residuals,
        unit=unit,
        resampled=int((np.bincount(codes, minlength=len(columns)) > 0).sum()),
        units=speakers if unit == "speaker" else len(codes),
        speakers=speakers,
        utterances=len(codes),
    )


def _linearised(columns: Floats) -> tuple[float, Floats]:
    """Estimate and residuals of a block with these columns."""
    sums = columns.sum(axis=0)
    if not (sums[1::2] > 0).all():
        return math.nan, np.zeros(len(columns))
    harm, gradient = sum_of_ratios(sums)
    terms = columns * gradient
    residuals: Floats = terms.sum(axis=1)
    residuals[np.abs(residuals) < 1e-9 * np.abs(terms).max()] = 0.0
    return float(harm), residuals


def _counts(pair: Paired) -> list[npt.ArrayLike]:
    """Numerators of candidate and stable, their denominator, and the stable one's own where it is another."""
    shared = [pair.candidate, pair.stable, pair.denominator]
    own = pair.stable_denominator
    return shared if own is None or np.array_equal(own, pair.denominator) else [*shared, own]


def _columns(sums: Sequence[Floats], better: Better, share: float) -> Floats:
    """Columns of a block from sums by unit; the harm less `share` of the stable rate.

    >>> _columns([np.array([3.0]), np.array([2.0]), np.array([10.0])], "lower", 0.5)
    array([[ 0., 10.]])
    """
    sign = 1.0 if better == "lower" else -1.0
    candidate, stable, *denominators = sums
    if len(denominators) == 1:
        numerators = [sign * (candidate - stable) - share * stable]
    else:
        numerators = [sign * candidate, -(sign + share) * stable]
    pairs = zip(numerators, denominators, strict=True)
    return np.column_stack([column for ratio in pairs for column in ratio])
