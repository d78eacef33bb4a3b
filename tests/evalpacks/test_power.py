"""Power of a pack: laws of sizes, planned sizes find what they are planned for, and packs that are too small."""

from __future__ import annotations

import doctest
import importlib
from typing import TypedDict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import WrongCall
from evalpacks.statistics import Assumptions, minimum_detectable_effect, power_of, speakers_needed


class Size(TypedDict):
    speakers: int
    units: float
    comparisons: int


SIZES = st.builds(Size, speakers=st.integers(12, 400), units=st.floats(1, 500), comparisons=st.integers(1, 60))


@pytest.mark.parametrize("name", ["blocks", "bootstrap", "power", "quantiles"])
def test_docstring_examples(name: str) -> None:
    failures, examples = doctest.testmod(importlib.import_module(f"evalpacks.statistics.{name}"))
    assert (failures, examples > 0) == (0, True)


@given(size=SIZES)
@settings(deadline=None, max_examples=30)
def test_a_larger_pack_or_fewer_comparisons_detect_smaller_effects(size: Size) -> None:
    speakers, units, comparisons = size["speakers"], size["units"], size["comparisons"]
    for larger in (
        Size(speakers=2 * speakers, units=units, comparisons=comparisons),
        Size(speakers=speakers, units=2 * units, comparisons=comparisons),
        Size(speakers=speakers, units=units, comparisons=(comparisons + 1) // 2),
    ):
        assert detectable(larger) <= detectable(size) + 1e-6


@given(size=SIZES, power=st.sampled_from([0.5, 0.8, 0.95]))
@settings(deadline=None, max_examples=40)
def test_the_detectable_effect_is_found_with_the_power_it_is_for(size: Size, power: float) -> None:
    effect = minimum_detectable_effect(**size, power=power)
    assert effect is not None
    assert power_of(effect, **size) == pytest.approx(power, abs=1e-3)


@given(effect=st.floats(0.02, 0.2), units=st.floats(3, 300), comparisons=st.integers(1, 60))
@settings(deadline=None, max_examples=30)
def test_planned_speakers_are_enough_and_one_less_is_not(effect: float, units: float, comparisons: int) -> None:
    planned = speakers_needed(effect=effect, units_per_speaker=units, comparisons=comparisons)
    assert power_of(effect, speakers=planned, units=units, comparisons=comparisons) >= 0.95
    assert power_of(effect, speakers=planned - 1, units=units, comparisons=comparisons) < 0.95


def test_the_same_effect_is_as_far_from_a_high_rate_as_from_a_low_one() -> None:
    """A recall of 95% that falls is an error rate of 5% that rises."""
    low, high = Assumptions(rate=0.05), Assumptions(rate=0.95)
    size = Size(speakers=50, units=20, comparisons=10)
    assert detectable(size, low) == pytest.approx(detectable(size, high))


@pytest.mark.parametrize(
    ("speakers", "comparisons", "bounded"),
    [
        (9, 1, False),  # under 10 speakers a bound is conditional on them
        (10, 1, True),
        (10, 25, True),  # 25 / 2^9 < 0.05
        (10, 26, False),
        (1, 1, False),
    ],
)
def test_too_few_speakers_have_no_bound(speakers: int, comparisons: int, bounded: bool) -> None:
    size = Size(speakers=speakers, units=30, comparisons=comparisons)
    assert (minimum_detectable_effect(**size) is not None) == bounded
    assert (power_of(0.5, **size) > 0) == bounded


def test_speakers_who_differ_are_not_made_up_for_by_more_words() -> None:
    apart = Assumptions(speaker_sd=0.1)
    assert detectable(Size(speakers=30, units=1e6, comparisons=20), apart) > 0.05


def test_a_harm_within_the_margin_cannot_be_planned_for() -> None:
    with pytest.raises(WrongCall) as error:
        speakers_needed(effect=0.01, units_per_speaker=30, comparisons=20)
    assert str(error.value) == (
        "a harm within the margin is never a Fail, however many speakers there are\n"
        "  where: speakers_needed\n"
        "  got: effect 0.01, margin 0.01\n"
        "  expected: an effect over the margin"
    )


def test_speakers_who_say_nothing_show_nothing() -> None:
    assert minimum_detectable_effect(speakers=50, units=0, comparisons=20) is None
    with pytest.raises(WrongCall) as error:
        speakers_needed(effect=0.03, units_per_speaker=0, comparisons=20)
    assert str(error.value) == (
        "speakers who say nothing show nothing, however many there are\n"
        "  where: speakers_needed\n"
        "  got: 0 units of the denominator a speaker\n"
        "  expected: a number over 0"
    )


def test_a_rate_that_is_no_share_is_refused() -> None:
    with pytest.raises(WrongCall, match=r"rate 1\.2") as error:
        Assumptions(rate=1.2)
    assert error.value.expected == "a share of the denominator, from 0 to 1"


def detectable(size: Size, assumptions: Assumptions | None = None) -> float:
    effect = minimum_detectable_effect(**size, assumptions=assumptions or Assumptions())
    assert effect is not None
    return effect
