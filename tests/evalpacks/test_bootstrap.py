"""The paired block bootstrap: laws, defined results where there is no spread, and error rates on simulated clusters."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalpacks.statistics import Interval, Paired, compare

Draw = dict[str, Any]


def draw(
    seed: int,
    *,
    speakers: int = 30,
    per_speaker: int = 8,
    words: int = 8,
    harm: float = 0.0,
    differing: float = 0.4,
) -> Draw:
    """Clustered word errors of two systems that are equally good but for `harm` (a fraction of words)."""
    generator = np.random.default_rng(seed)
    codes = np.repeat(np.arange(speakers), per_speaker)
    length = generator.integers(words // 2, words * 3 // 2 + 1, size=len(codes))
    difficulty = generator.beta(2, 18, size=len(codes))
    taste = generator.normal(0, 0.3, size=speakers)[codes]
    stable = generator.binomial(length, np.clip(difficulty * np.exp(-taste), 0, 1))
    candidate = generator.binomial(length, np.clip(difficulty * np.exp(taste) + harm, 0, 1))
    alike = (generator.random(len(codes)) > differing) & (harm == 0)
    return {
        "candidate": np.where(alike, stable, candidate),
        "stable": stable,
        "denominator": length,
        "speakers": codes,
    }


def whole(data: Draw, **changes: Any) -> Paired:
    fields = {"population": "pack", "mask": np.ones(len(data["stable"]), dtype=bool)} | data | changes
    return Paired(**fields)


def run(*pairs: Paired, alpha: float = 0.05, replicates: int = 400, seed: int = 7) -> list[Interval]:
    return compare(pairs, alpha=alpha, replicates=replicates, seed=seed)


@given(seed=st.integers(0, 1000), speakers=st.integers(1, 30))
@settings(deadline=None, max_examples=30)
def test_equal_systems_differ_by_nothing(seed: int, speakers: int) -> None:
    data = draw(seed, speakers=speakers)
    interval = run(whole(data, candidate=data["stable"]))[0]
    bounds = (interval.estimate, interval.lower, interval.upper, interval.upper_one_sided)
    assert bounds == (0.0, 0.0, 0.0, 0.0)


@given(seed=st.integers(0, 1000))
@settings(deadline=None, max_examples=20)
def test_the_estimate_is_the_difference_of_the_ratios_of_sums(seed: int) -> None:
    data = draw(seed)
    expected = (data["candidate"].sum() - data["stable"].sum()) / data["denominator"].sum()
    assert run(whole(data))[0].estimate == pytest.approx(expected, rel=1e-8)


@given(seed=st.integers(0, 1000))
@settings(deadline=None, max_examples=20)
def test_the_estimate_lies_within_its_bounds(seed: int) -> None:
    interval = run(whole(draw(seed)))[0]
    assert interval.estimate is not None
    assert interval.lower is not None
    assert interval.upper is not None
    assert interval.lower <= interval.estimate <= interval.upper


@given(seed=st.integers(0, 1000), order=st.integers(0, 1000))
@settings(deadline=None, max_examples=20)
def test_permuting_utterances_changes_nothing(seed: int, order: int) -> None:
    data = draw(seed, speakers=12)
    shuffled = np.random.default_rng(order).permutation(len(data["stable"]))
    assert run(whole({key: values[shuffled] for key, values in data.items()})) == run(whole(data))


@given(seed=st.integers(0, 1000))
@settings(deadline=None, max_examples=20)
def test_swapping_the_systems_mirrors_the_bounds(seed: int) -> None:
    data = draw(seed)
    there = run(whole(data))[0]
    back = run(whole(data, candidate=data["stable"], stable=data["candidate"]))[0]
    assert there.lower is not None
    assert back.upper is not None
    assert there.lower == pytest.approx(-back.upper, rel=1e-6)


@given(seed=st.integers(0, 1000))
@settings(deadline=None, max_examples=20)
def test_higher_is_better_turns_the_harm_round(seed: int) -> None:
    data = draw(seed)
    lower = run(whole(data))[0]
    higher = run(whole(data, candidate=data["stable"], stable=data["candidate"], better="higher"))[0]
    assert higher.upper_one_sided == lower.upper_one_sided
    assert higher.estimate == pytest.approx(-(lower.estimate or 0.0))


def test_a_seed_gives_equal_bytes_and_another_seed_does_not() -> None:
    pair = whole(draw(1))
    assert run(pair, seed=1) == run(pair, seed=1)
    assert run(pair, seed=1) != run(pair, seed=2)


def test_another_pack_beside_it_only_widens_the_simultaneous_bounds() -> None:
    pair, other = whole(draw(1)), whole(draw(2), population="other pack")
    alone, beside = run(pair)[0], run(pair, other)[0]
    assert alone.upper_one_sided == beside.upper_one_sided
    assert alone.lower is not None
    assert beside.lower is not None
    assert beside.lower <= alone.lower


@pytest.mark.parametrize(
    ("speakers", "unit", "units"), [(10, "speaker", 10), (9, "utterance", 72), (1, "utterance", 8)]
)
def test_under_ten_speakers_the_unit_is_the_utterance(speakers: int, unit: str, units: int) -> None:
    interval = run(whole(draw(1, speakers=speakers)))[0]
    assert (interval.unit, interval.units, interval.speakers) == (unit, units, speakers)


def test_unknown_speakers_leave_the_utterance_as_unit() -> None:
    interval = run(whole(draw(1), speakers=None))[0]
    assert (interval.unit, interval.units, interval.speakers) == ("utterance", 240, 0)


def _flat(units: int, x: float, d: float) -> Draw:
    return {
        "candidate": np.full(units, x),
        "stable": np.zeros(units),
        "denominator": np.full(units, d),
        "speakers": np.arange(units),
    }


@pytest.mark.parametrize(
    ("units", "x", "d", "expected"),
    [
        (12, 0.0, 0.0, (None, None, None, None)),  # no reference words: no rate
        (12, 1.0, 0.0, (None, None, None, None)),
        (1, 0.0, 4.0, (0.0, 0.0, 0.0, 0.0)),
        (1, 1.0, 4.0, (0.25, None, None, None)),  # one utterance proves nothing
        (4, 1.0, 4.0, (0.25, None, None, None)),
        (5, 1.0, 4.0, (0.25, None, None, 0.25)),
        (6, 1.0, 4.0, (0.25, 0.25, 0.25, 0.25)),  # 2^(1 - 6) <= alpha
    ],
)
def test_zero_spread_and_zero_words_have_defined_results(
    units: int, x: float, d: float, expected: tuple[float | None, ...]
) -> None:
    interval = run(whole(_flat(units, x, d)))[0]
    assert (interval.estimate, interval.lower, interval.upper, interval.upper_one_sided) == expected


def test_an_empty_slice_has_no_rate() -> None:
    data = draw(1)
    interval = run(whole(data, mask=np.zeros(240, dtype=bool)))[0]
    assert (interval.estimate, interval.lower, interval.units, interval.utterances) == (None, None, 0, 0)


def test_one_differing_unit_has_the_bound_of_one_poisson_event() -> None:
    data = _flat(400, 0.0, 10.0)
    data["candidate"][17] = 2.0
    interval = run(whole(data), replicates=1000)[0]
    assert interval.upper_one_sided == pytest.approx(4.74 * 2 / 4000, rel=0.02)
    assert interval.lower is not None
    assert interval.lower < 0


def test_too_few_replicates_give_no_bound() -> None:
    interval = run(whole(draw(1)), replicates=10)[0]
    assert (interval.lower, interval.upper, interval.upper_one_sided) == (None, None, None)


def _sliced(data: Draw, slices: int) -> list[Paired]:
    masks: list[npt.NDArray[np.bool_]] = [data["speakers"] % slices == index for index in range(slices)]
    return [whole(data), *(whole(data, mask=mask) for mask in masks)]


@pytest.mark.parametrize("speakers", [3, 10, 40])
def test_equal_quality_is_rarely_called_worse(speakers: int) -> None:
    """A/A: any of five slices shown worse in at most alpha of runs (measured: 0 to 3.3%)."""
    runs = 120
    false = sum(
        any(
            interval.lower is not None and interval.lower > 0
            for interval in run(*_sliced(draw(seed, speakers=speakers), 4))
        )
        for seed in range(runs)
    )
    assert false <= 0.08 * runs


def test_a_planted_harm_is_found() -> None:
    found = 0
    for seed in range(40):
        interval = run(whole(draw(seed, speakers=60, harm=0.05)))[0]
        found += interval.lower is not None and interval.lower > 0
    assert found >= 36


def test_the_one_sided_bound_is_over_the_truth_about_as_often_as_it_says() -> None:
    runs = 150
    under = sum((run(whole(draw(seed, speakers=40)))[0].upper_one_sided or 0.0) < 0.0 for seed in range(runs))
    assert under <= 0.11 * runs


def test_sparse_differences_do_not_pass_too_easily() -> None:
    """One utterance a speaker, few of which differ: bootstrap-t alone would be under the truth in 10% of runs."""
    runs = 200
    bounds = (run(whole(draw(seed, speakers=15, per_speaker=1)))[0].upper_one_sided for seed in range(runs))
    assert sum(bound is not None and bound < 0.0 for bound in bounds) <= 0.08 * runs
