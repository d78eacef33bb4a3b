"""When a listener who plays what came, as it came, hears a pause."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speech.playback import Playback, starves

Chunks = list[tuple[float, float]]


@pytest.mark.parametrize(
    ("chunks", "starved"),
    [
        ([], False),
        ([(5.0, 0.1)], False),
        ([(5.0, 1.0), (6.0, 1.0), (7.0, 1.0)], False),  # each just in time
        ([(5.0, 1.0), (6.0, 1.0), (7.1, 1.0)], True),
        ([(0.0, 1.0), (0.1, 1.0), (1.9, 1.0)], False),  # kept until it is needed
        ([(0.0, 1.0), (1.5, 9.0), (2.0, 1.0)], True),  # late once is late
    ],
)
def test_a_chunk_that_comes_after_all_before_it_was_played_is_late(chunks: Chunks, starved: bool) -> None:
    assert starves(chunks) is starved


@given(lengths=st.lists(st.floats(0.01, 5), max_size=9), began=st.floats(0, 9))
def test_law_what_is_there_at_once_never_starves(lengths: list[float], began: float) -> None:
    playback = Playback()
    for length in lengths:
        playback.came(length, began)
    assert not playback.starved
    assert playback.seconds == pytest.approx(sum(lengths))
