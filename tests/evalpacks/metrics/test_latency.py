"""Latency distributions: quantiles with intervals, a curve, and no figure from nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import WrongCall
from contracts.reports import CURVE
from evalpacks.metrics.latency import quantiles, real_time_factor

Values = st.lists(st.floats(0, 1e6), min_size=1, max_size=150)


def test_a_hundred_values() -> None:
    shown = quantiles(np.arange(1.0, 101.0))
    assert (shown.n, shown.p50, shown.maximum) == (100, 50.5, 100.0)
    assert (shown.p95, shown.p99) == pytest.approx((95.05, 99.01))
    assert shown.p50_interval == (40.0, 61.0)  # the 40th and 61st value: binomial (100, 0.5) at 2.5% on each side
    assert shown.p95_interval == (90.0, 100.0)
    assert shown.p99_interval is None  # a hundred values do not bound their p99
    assert shown.curve[CURVE.index(0.5)] == shown.p50
    assert (shown.curve[0], shown.curve[-1]) == (1.0, 100.0)


def test_one_value_has_no_interval() -> None:
    shown = quantiles([7.0])
    assert (shown.p50, shown.p95, shown.p99, shown.maximum) == (7.0, 7.0, 7.0, 7.0)
    assert (shown.p50_interval, shown.p95_interval, shown.p99_interval) == (None, None, None)


def test_values_of_one_speaker_are_not_independent() -> None:
    generator = np.random.default_rng(3)
    speakers = np.repeat(np.arange(20), 15)
    values = generator.normal(500, 100, 20)[speakers] + generator.normal(0, 5, 300)
    alone, together = quantiles(values).p50_interval, quantiles(values, speakers=speakers).p50_interval
    assert alone is not None
    assert together is not None
    assert together[1] - together[0] > 2 * (alone[1] - alone[0])


@pytest.mark.parametrize(
    ("values", "got"),
    [([], "0 values, 0 of them not finite"), ([1.0, float("nan"), float("inf")], "3 values, 2 of them not finite")],
)
def test_no_figure_from_nothing(values: list[float], got: str) -> None:
    with pytest.raises(WrongCall) as caught:
        quantiles(values)
    assert str(caught.value) == (
        "quantiles are of finite values, at least one\n"
        "  where: quantiles\n"
        f"  got: {got}\n"
        "  next step: leave out what was not measured, or say that there is no figure"
    )


@given(values=Values)
@settings(deadline=None, max_examples=50)
def test_figures_are_in_order(values: list[float]) -> None:
    shown = quantiles(values)
    assert min(values) <= shown.p50 <= shown.p95 <= shown.p99 <= shown.maximum == max(values)
    assert list(shown.curve) == sorted(shown.curve)
    assert len(shown.curve) == len(CURVE)


@given(values=Values, factor=st.sampled_from([0.5, 2.0, 1024.0]))
@settings(deadline=None, max_examples=50)
def test_figures_scale_with_their_unit(values: list[float], factor: float) -> None:
    shown, scaled = quantiles(values), quantiles([value * factor for value in values])
    assert scaled.curve == pytest.approx([value * factor for value in shown.curve])
    assert (scaled.p95_interval is None) == (shown.p95_interval is None)


def test_the_real_time_factor_is_a_ratio_of_sums() -> None:
    assert real_time_factor([1.0, 1.0], [1.0, 9.0]) == 0.2  # not the mean of 1 and 1/9
