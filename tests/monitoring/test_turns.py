"""Which requests are one turn: the same recording, of the same session, soon after."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitoring.incident.turns import Turns, turns_of

WITHIN_S = 60.0
Request = tuple[int, float, float, bool]
"""Session, time (s), length of the recording (s), whether it was answered."""


def joined(requests: list[Request]) -> Turns:
    session, times, audio, success = zip(*requests, strict=True)
    sound = [np.array(audio), np.where(np.isnan(audio), np.nan, -20.0)]
    return turns_of(np.array(session), np.array(times), sound, np.array(success, dtype=bool), within_s=WITHIN_S)


@pytest.mark.parametrize(
    ("requests", "again", "success"),
    [
        ([(1, 0, 2.5, True), (1, 5, 2.5, True)], [False, True], [True, False]),  # asked twice, paid twice, one success
        ([(1, 0, 2.5, False), (1, 5, 2.5, True)], [False, True], [False, True]),  # the second try succeeds
        ([(1, 0, 2.5, False), (1, 5, 2.5, False)], [False, True], [False, False]),
        ([(1, 0, 2.5, True), (1, 5, 2.6, True)], [False, False], [True, True]),  # another recording
        ([(1, 0, 2.5, True), (2, 5, 2.5, True)], [False, False], [True, True]),  # another session
        ([(1, 0, 2.5, True), (1, 61, 2.5, True)], [False, False], [True, True]),  # too late
        ([(1, 0, 2.5, True), (1, 50, 2.5, True), (1, 100, 2.5, True)], [False, True, True], [True, False, False]),
        ([(1, 0, 2.5, True), (1, 3, 9.0, True), (1, 5, 2.5, True)], [False, False, True], [True, True, False]),
        ([(1, 0, np.nan, True), (1, 5, np.nan, True)], [False, False], [True, True]),  # never measured
    ],
)
def test_a_recording_that_is_asked_again_soon_is_the_same_turn(
    requests: list[Request], again: list[bool], success: list[bool]
) -> None:
    found = joined(requests)
    assert found.again.tolist() == again
    assert found.success.tolist() == success


REQUESTS = st.lists(
    st.tuples(st.integers(0, 3), st.floats(0, 200), st.sampled_from((1.0, 2.0, float("nan"))), st.booleans()),
    min_size=1, max_size=40,
)  # fmt: skip


@given(REQUESTS, st.randoms())
def test_the_order_of_rows_changes_nothing(requests: list[Request], draw: random.Random) -> None:
    requests = [(session, number + at / 1e4, audio, won) for number, (session, at, audio, won) in enumerate(requests)]
    places = list(range(len(requests)))
    draw.shuffle(places)
    straight, mixed = joined(requests), joined([requests[place] for place in places])
    assert mixed.again.tolist() == [bool(straight.again[place]) for place in places]
    assert mixed.success.tolist() == [bool(straight.success[place]) for place in places]


@given(REQUESTS)
def test_there_are_at_most_as_many_successes_as_turns(requests: list[Request]) -> None:
    found = joined(requests)
    assert found.success.sum() <= (~found.again).sum()
    assert found.success.any() == any(won for *_, won in requests)


def test_nobody_asked() -> None:
    nothing = turns_of(np.zeros(0, np.int64), np.zeros(0), [np.zeros(0)], np.zeros(0, bool), within_s=WITHIN_S)
    assert nothing.again.tolist() == nothing.success.tolist() == []
