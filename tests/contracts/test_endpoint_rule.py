"""The endpoint rule: a hangover after the last change of what was shown."""

from __future__ import annotations

import doctest

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts import endpoint
from contracts.endpoint import HANGOVER_S, endpoint_s

Shown = st.lists(st.tuples(st.floats(0.1, 5.0), st.sampled_from(["", "a", "b"])), min_size=1, max_size=6).map(sorted)


@pytest.mark.parametrize(
    ("shown", "fired_s"),
    [
        ([], None),
        ([(2.0, "")], None),
        ([(2.0, "a")], None),  # shown at the very end
        ([(0.5, "a"), (2.0, "a")], 1.3),
        ([(0.5, "a"), (1.3, "a")], 1.3),  # the hangover to the sample
        ([(0.5, "a"), (1.2, "a")], None),
        ([(0.5, "a"), (1.3, "a b"), (3.0, "a b")], 1.3),  # it does not know what comes
        ([(0.5, "a"), (1.2, "a b"), (3.0, "a b")], 2.0),
        ([(0.5, "a"), (1.0, "a"), (1.5, "a")], 1.3),  # the same again is no change
        ([(0.5, "a"), (0.7, ""), (3.0, "")], None),  # what was shown was taken back
        ([(0.4, "a"), (1.2, "a")], 1.2),  # 1.2 - 0.4 is a little less than 0.8
    ],
)
def test_named_streams(shown: list[tuple[float, str]], fired_s: float | None) -> None:
    assert endpoint_s(shown) == (None if fired_s is None else pytest.approx(fired_s))


@given(shown=Shown, more=Shown)
@settings(deadline=None)
def test_what_is_shown_later_changes_nothing(shown: list[tuple[float, str]], more: list[tuple[float, str]]) -> None:
    fired_s = endpoint_s(shown)
    later = [(shown[-1][0] + seconds, text) for seconds, text in more]
    if fired_s is not None:
        assert endpoint_s([*shown, *later]) == fired_s


@given(shown=Shown)
@settings(deadline=None)
def test_it_fires_a_hangover_after_a_change_and_within_the_audio(shown: list[tuple[float, str]]) -> None:
    fired_s = endpoint_s(shown)
    if fired_s is not None:
        assert any(abs(fired_s - HANGOVER_S - heard_s) < 1e-9 for heard_s, text in shown if text)
        assert fired_s <= shown[-1][0] + 1e-5


def test_the_docstring_example_is_true() -> None:
    assert doctest.testmod(endpoint) == (0, 1)
