"""The paired block bootstrap: laws, defined results where there is no spread, and error rates on simulated clusters."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import WrongCall
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


def assert_close(one: Interval, other: Interval, *, factor: float = 1.0) -> None:
    """Equal but for the order of summation, and `factor` on every bound."""
    for name in ("estimate", "lower", "upper", "upper_one_sided"):
        expected = getattr(other, name)
        assert getattr(one, name) == (None if expected is None else pytest.approx(factor * expected, rel=1e-6)), name


def _with_excess(interval: Interval, excess: float | None) -> Interval:
    return replace(interval, excess_one_sided=excess)


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


@given(
    seed=st.integers(0, 1000),
    order=st.integers(0, 1000),
    speakers=st.sampled_from([3, 12, 500]),  # 500: 4,000 utterances are more than MAX_BLOCKS
    known=st.booleans(),
)
@settings(deadline=None, max_examples=20)
def test_permuting_utterances_changes_nothing(seed: int, order: int, speakers: int, known: bool) -> None:
    data = draw(seed, speakers=speakers)
    shuffled = np.random.default_rng(order).permutation(len(data["stable"]))
    mixed = {key: values[shuffled] for key, values in data.items()}
    unknown: Draw = {} if known else {"speakers": None}
    assert run(whole(mixed, **unknown)) == run(whole(data, **unknown))


@given(seed=st.integers(0, 1000))
@settings(deadline=None, max_examples=20)
def test_a_stable_denominator_that_is_the_same_changes_no_byte(seed: int) -> None:
    data = draw(seed)
    assert run(whole(data, stable_denominator=1.0 * data["denominator"])) == run(whole(data))


@given(seed=st.integers(0, 1000), factor=st.sampled_from([0.5, 2.0, 10.0]), better=st.sampled_from(["lower", "higher"]))
@settings(deadline=None, max_examples=20)
def test_scaling_one_arm_whole_changes_nothing(seed: int, factor: float, better: str) -> None:
    """A rate is a ratio: the stable arm counted in other units, with its own denominator, has the same rate."""
    data = draw(seed) | {"better": better}
    scaled = {"stable": factor * data["stable"], "stable_denominator": factor * data["denominator"]}
    assert_close(run(whole(data | scaled))[0], run(whole(data))[0])


@given(seed=st.integers(0, 1000))
@settings(deadline=None, max_examples=20)
def test_scaling_both_denominators_scales_the_bounds(seed: int) -> None:
    data = draw(seed)
    assert_close(run(whole(data, denominator=4 * data["denominator"]))[0], run(whole(data))[0], factor=0.25)


@given(seed=st.integers(0, 1000))
@settings(deadline=None, max_examples=20)
def test_swapping_systems_with_denominators_of_their_own_mirrors_the_bounds(seed: int) -> None:
    data = draw(seed)
    own = data["denominator"] + np.random.default_rng(seed).integers(0, 5, size=240)
    there = run(whole(data, stable_denominator=own))[0]
    back = run(
        whole(
            data,
            candidate=data["stable"],
            stable=data["candidate"],
            denominator=own,
            stable_denominator=data["denominator"],
        )
    )[0]
    assert there.estimate == pytest.approx(-(back.estimate or 0.0), rel=1e-6)
    assert (there.lower, there.upper) == pytest.approx((-(back.upper or 0.0), -(back.lower or 0.0)), rel=1e-6)


def test_the_estimate_with_denominators_of_their_own() -> None:
    data = _flat(12, 3.0, 10.0) | {"stable": np.full(12, 1.0), "stable_denominator": np.full(12, 5.0)}
    interval = run(whole(data))[0]
    assert (interval.estimate, interval.lower, interval.upper) == pytest.approx((0.1, 0.1, 0.1))


@given(seed=st.integers(0, 1000), share=st.sampled_from([0.05, 0.5]))
@settings(deadline=None, max_examples=20)
def test_the_harm_beyond_a_relative_margin_is_the_harm_against_a_stable_that_much_worse(
    seed: int, share: float
) -> None:
    data = draw(seed)
    with_margin = run(whole(data, relative_margin=share))[0]
    worse = run(whole(data, stable=(1 + share) * data["stable"]))[0]
    assert with_margin.excess_one_sided == pytest.approx(worse.upper_one_sided, rel=1e-6)
    assert with_margin == _with_excess(run(whole(data))[0], with_margin.excess_one_sided)


@given(seed=st.integers(0, 1000))
@settings(deadline=None, max_examples=20)
def test_a_relative_margin_where_higher_is_better_is_a_share_less(seed: int) -> None:
    data = draw(seed) | {"better": "higher"}
    with_margin = run(whole(data, relative_margin=0.1))[0]
    worse = run(whole(data, stable=0.9 * data["stable"]))[0]
    assert with_margin.excess_one_sided == pytest.approx(worse.upper_one_sided, rel=1e-6)


def test_equal_systems_are_within_any_relative_margin_by_all_of_it() -> None:
    data = _flat(40, 0.0, 10.0)
    data["candidate"][7] = data["stable"][7] = 4.0  # one unit alone has errors: its spread would allow no bound
    interval = run(whole(data, relative_margin=0.05))[0]
    assert interval.excess_one_sided == pytest.approx(-0.05 * 4 / 400)


@given(seed=st.integers(0, 1000))
@settings(deadline=None, max_examples=20)
def test_an_equal_slice_beside_it_changes_nothing_but_the_joint_width(seed: int) -> None:
    data = draw(seed)
    half = data["speakers"] % 2 == 0
    alone = run(whole(data, mask=half))[0]
    for beside in (whole(data, mask=half), whole(data, mask=~half)):
        again = run(whole(data, mask=half), beside)[0]
        assert (again.estimate, again.upper_one_sided) == (alone.estimate, alone.upper_one_sided)
        assert (again.upper or 0.0) >= (alone.upper or 0.0)
    assert run(whole(data, mask=half), whole(data, mask=half)) == [alone, alone]


@pytest.mark.parametrize("events", [1, 2, 3, 5, 10])
def test_a_metric_with_a_handful_of_events_widens_its_own_bounds_alone(events: int) -> None:
    data = draw(4, speakers=120)
    count = len(data["speakers"])
    rare = np.zeros(count)
    rare[:: count // events] = 1.0
    beside = whole(data, candidate=rare, stable=np.zeros(count), denominator=np.ones(count))
    alone, together = run(whole(data))[0], run(whole(data), beside)[0]
    slices = [whole(data, mask=data["speakers"] % 12 == number) for number in range(12)]
    crowd, crowd_with = run(whole(data), *slices)[0], run(whole(data), *slices, beside)[0]
    assert reach(alone) <= reach(together) < 1.4 * reach(alone)
    assert reach(crowd) <= reach(crowd_with) * 1.05 < 1.15 * reach(crowd)


def reach(interval: Interval) -> float:
    assert interval.upper is not None
    assert interval.lower is not None
    return interval.upper - interval.lower


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


def test_all_wrong_against_all_right_is_certain() -> None:
    data = draw(1, speakers=12)
    words = data["denominator"]
    interval = run(whole(data, candidate=words, stable=np.zeros(len(words))))[0]
    assert (interval.estimate, interval.lower, interval.upper, interval.upper_one_sided) == (1.0, 1.0, 1.0, 1.0)


def test_an_arm_without_a_denominator_of_its_own_has_no_rate() -> None:
    data = draw(1)
    pair = whole(data, stable_denominator=np.zeros(240), relative_margin=0.1)
    interval = run(pair)[0]
    bounds = (interval.estimate, interval.lower, interval.upper_one_sided, interval.excess_one_sided)
    assert bounds == (None, None, None, None)


@pytest.mark.parametrize("field", ["candidate", "stable", "denominator", "stable_denominator"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_count_that_is_not_finite_is_refused(field: str, value: float) -> None:
    data = draw(1) | {"stable_denominator": np.full(240, 9.0)}
    data[field] = np.where(np.arange(240) == 17, value, data[field])
    with pytest.raises(WrongCall) as error:
        run(whole(data))
    assert str(error.value) == (
        "a count is not a finite number\n"
        "  where: population pack\n"
        "  got: NaN or an infinity\n"
        "  expected: numerators and denominators per utterance\n"
        "  next step: leave utterances that the metric says nothing of at denominator 0"
    )


def test_what_lies_outside_the_slice_is_not_looked_at() -> None:
    data = draw(1)
    inside = np.arange(240) < 160
    beyond = np.where(inside, data["candidate"], np.nan)
    assert run(whole(data, candidate=beyond, mask=inside)) == run(whole(data, mask=inside))


def test_pairs_of_one_population_are_over_the_same_utterances() -> None:
    with pytest.raises(WrongCall) as error:
        run(whole(draw(1)), whole(draw(1, speakers=20)))
    assert str(error.value) == (
        "the pairs of one population are not over the same utterances\n"
        "  where: population pack\n"
        "  got: arrays of 160 and of 240 utterances\n"
        "  expected: one length"
    )


@pytest.mark.parametrize("known", [True, False])
def test_many_units_dealt_into_blocks_have_the_normal_bounds(known: bool) -> None:
    """20,000 independent units: the bounds are 1.96 standard errors from the estimate, and own ones 1.645."""
    data = draw(3, speakers=20_000, per_speaker=1)
    interval = run(whole(data, **({} if known else {"speakers": None})), replicates=2000)[0]
    x, d = data["candidate"] - data["stable"], data["denominator"]
    error = np.sqrt(((x - x.sum() / d.sum() * d) ** 2).sum()) / d.sum()
    assert interval.estimate is not None
    assert interval.upper is not None
    assert interval.upper_one_sided is not None
    assert interval.units == 20_000
    assert (interval.upper - interval.estimate) / error == pytest.approx(1.96, rel=0.08)
    assert (interval.upper_one_sided - interval.estimate) / error == pytest.approx(1.645, rel=0.08)


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


def test_equal_quality_with_denominators_of_their_own_is_rarely_called_worse() -> None:
    """A/A of a rate whose denominators differ by arm: shown worse in at most alpha of runs."""
    runs, false = 200, 0
    for seed in range(runs):
        data = draw(seed, speakers=20)
        grown = np.random.default_rng([seed, 1]).poisson(3, size=(2, 160))
        denominators = {
            "denominator": data["denominator"] + grown[0],
            "stable_denominator": data["denominator"] + grown[1],
        }
        lower = run(whole(data | denominators))[0].lower
        false += lower is not None and lower > 0
    assert false <= 0.06 * runs  # 2.5% is what is allowed on this side; P(Binomial(200, 0.025) > 12) is 0.2%


def test_the_one_sided_bound_is_over_the_truth_about_as_often_as_it_says() -> None:
    runs = 150
    under = sum((run(whole(draw(seed, speakers=40)))[0].upper_one_sided or 0.0) < 0.0 for seed in range(runs))
    assert under <= 0.11 * runs


def test_sparse_differences_do_not_pass_too_easily() -> None:
    """One utterance a speaker, few of which differ: bootstrap-t alone would be under the truth in 10% of runs."""
    runs = 200
    bounds = (run(whole(draw(seed, speakers=15, per_speaker=1)))[0].upper_one_sided for seed in range(runs))
    assert sum(bound is not None and bound < 0.0 for bound in bounds) <= 0.08 * runs
