"""Intervals of a quantile: exact for independent values, never narrower for values that come from few speakers."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import WrongCall
from evalpacks.statistics import quantile_interval


def chance(n: int, share: float, lower: int, upper: int) -> float:
    """P(lower <= Binomial(n, share) < upper): that the values of these ranks hold the quantile between them."""
    return sum(comb(n, k) * share**k * (1 - share) ** (n - k) for k in range(lower, upper))


@given(n=st.integers(6, 200), share=st.sampled_from([0.1, 0.5, 0.9]), confidence=st.sampled_from([0.8, 0.95]))
@settings(deadline=None, max_examples=60)
def test_ranks_cover_as_they_say_and_the_next_inner_ones_do_not(n: int, share: float, confidence: float) -> None:
    interval = quantile_interval(range(1, n + 1), share, confidence=confidence)
    error = (1 - confidence) / 2
    if interval is None:
        assert max((1 - share) ** n, share**n) > error
        return
    lower, upper = (int(bound) for bound in interval)
    below, above = 1 - chance(n, share, lower, n + 1), 1 - chance(n, share, 0, upper)
    assert max(below, above) <= error + 1e-12
    assert 1 - chance(n, share, lower + 1, n + 1) > error
    assert 1 - chance(n, share, 0, upper - 1) > error


@pytest.mark.parametrize(
    ("share", "fewest"),
    [(0.5, 6), (0.95, 72), (0.99, 368)],
)
def test_the_fewest_values_that_bound_a_quantile(share: float, fewest: int) -> None:
    assert quantile_interval(range(fewest - 1), share) is None
    assert quantile_interval(range(fewest), share) is not None
    own = np.arange(fewest)
    assert quantile_interval(np.repeat(own, 9), share, speakers=np.repeat(own, 9) // 2) is None


def test_no_value_has_no_interval() -> None:
    assert quantile_interval([], 0.5) is None
    assert quantile_interval([], 0.5, speakers=np.array([], dtype=np.int64)) is None


def lognormal(seed: int, speakers: int, each: int, apart: float) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    codes = np.repeat(np.arange(speakers), each)
    return np.exp(generator.normal(0, apart, speakers)[codes] + generator.normal(0, 0.3, len(codes))), codes


@given(seed=st.integers(0, 500), order=st.integers(0, 500), known=st.booleans())
@settings(deadline=None, max_examples=20)
def test_the_order_of_values_changes_nothing(seed: int, order: int, known: bool) -> None:
    values, speakers = lognormal(seed, 80, 3, 0.5)
    mixed = np.random.default_rng(order).permutation(len(values))
    there = quantile_interval(values, 0.9, speakers=speakers if known else None)
    assert quantile_interval(values[mixed], 0.9, speakers=speakers[mixed] if known else None) == there


@given(seed=st.integers(0, 500), known=st.booleans())
@settings(deadline=None, max_examples=20)
def test_another_scale_has_the_interval_of_the_same_ranks(seed: int, known: bool) -> None:
    values, speakers = lognormal(seed, 80, 3, 0.5)
    codes = speakers if known else None
    plain, squared = quantile_interval(values, 0.5, speakers=codes), quantile_interval(values**2, 0.5, speakers=codes)
    assert plain is not None
    assert squared == pytest.approx((plain[0] ** 2, plain[1] ** 2))


@given(seed=st.integers(0, 500), apart=st.sampled_from([0.0, 0.5, 2.0]), share=st.sampled_from([0.5, 0.95]))
@settings(deadline=None, max_examples=30)
def test_speakers_never_make_the_interval_narrower(seed: int, apart: float, share: float) -> None:
    values, speakers = lognormal(seed, 80, 4, apart)
    plain, clustered = quantile_interval(values, share), quantile_interval(values, share, speakers=speakers)
    assert plain is not None
    if clustered is not None:
        assert clustered[0] <= plain[0] <= plain[1] <= clustered[1]


def test_values_of_few_speakers_are_covered_as_often_as_it_says() -> None:
    """12 speakers of 20 values who differ: taken as independent, their interval holds the median in half the runs."""
    runs = 300
    held = plain_held = 0
    for seed in range(runs):
        values, speakers = lognormal(seed, 12, 20, 0.5)
        clustered, plain = quantile_interval(values, 0.5, speakers=speakers), quantile_interval(values, 0.5)
        held += clustered is None or clustered[0] <= 1.0 <= clustered[1]
        plain_held += plain is not None and plain[0] <= 1.0 <= plain[1]
    assert held >= 0.93 * runs
    assert plain_held <= 0.75 * runs


def test_a_value_that_is_not_finite_is_refused() -> None:
    with pytest.raises(WrongCall) as error:
        quantile_interval([1.0, float("nan")], 0.5)
    assert str(error.value) == "a value is not a finite number\n  where: quantile_interval\n  got: NaN or an infinity"
