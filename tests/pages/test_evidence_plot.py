"""Canary evidence over sessions: where its lines stand, what they say, in which order."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.reports import Look, SliceEvidence
from pages.plots.evidence import TOP, Track, share, tracks
from pages.release import render
from tests.pages import release_documents, release_examples


def said(slice_name: str, state: Any, worse_at: float) -> SliceEvidence:
    """What the judge says of a pair."""
    return release_documents.evidence_rows(20, "fine")[0].model_copy(
        update={"slice": slice_name, "state": state, "worse_at": worse_at}
    )


e_values = st.floats(0, 1e12, allow_nan=False)


def look(sessions: int, worse: dict[str, float], fine: dict[str, float]) -> Look:
    return Look(at_s=float(sessions), stable_sessions=sessions, canary_sessions=sessions, e_worse=worse, e_fine=fine)


def heights(track: Track, side: str) -> list[float]:
    (path,) = [trace.path for trace in track.traces if trace.side == side]
    return [float(place) for place in re.findall(r"[ML][\d.]+ ([\d.]+)", path)]


@pytest.mark.parametrize(
    ("e_value", "bar", "expected"),
    [(1.0, 20, 0.0), (0.01, 20, 0.0), (0.0, 20, 0.0), (20.0, 20, 1.0), (400.0, 20, 2.0), (math.sqrt(20), 20, 0.5)],
)
def test_the_share_is_of_the_logarithm(e_value: float, bar: float, expected: float) -> None:
    assert share(e_value, bar) == pytest.approx(expected)


@given(st.lists(st.tuples(e_values, e_values), min_size=1, max_size=30))
def test_every_line_lies_in_its_box_and_runs_to_the_right(values: list[tuple[float, float]]) -> None:
    looks = [
        look(5 * turn, {"overall wer": worse}, {"overall wer": fine}) for turn, (worse, fine) in enumerate(values, 1)
    ]
    (track,) = tracks(looks, alpha=0.05)
    for trace in track.traces:
        places = [(float(x), float(y)) for x, y in re.findall(r"[ML]([\d.]+) ([\d.]+)", trace.path)]
        assert len(places) == len(values)
        assert all(0 <= x <= 100 and 0 <= y <= 100 for x, y in places)
        assert places == sorted(places, key=lambda place: place[0])


def test_bars_of_different_height_are_one_line() -> None:
    """A side that has just reached its own bar stands on the boundary, whatever the bar is."""
    made = tracks(
        [look(10, {"a=x wer": 50.0, "a=y wer": 1.0}, {"a=x wer": 1.0, "a=y wer": 20.0})],
        alpha=0.05,
        evidence=[said("a=x", "undecided", 50.0)],
    )
    by_slice = {track.exact: track for track in made}
    bar = 100 * (1 - 1 / TOP)
    assert heights(by_slice["a=x"], "worse") == pytest.approx([bar], abs=0.01)
    assert heights(by_slice["a=y"], "fine") == pytest.approx([bar], abs=0.01)
    assert by_slice["a=x"].bar == pytest.approx(bar, abs=0.01)
    assert (by_slice["a=x"].state, by_slice["a=y"].state) == ("worse", "fine")


def test_worse_comes_first_then_what_is_least_settled() -> None:
    fine = {"a=w wer": 0.1, "a=x wer": 30.0, "a=y wer": 2.0, "a=z wer": 8.0}
    made = tracks([look(10, {"a=w wer": 1e6}, fine)], alpha=0.05)
    assert [(track.slice, track.state) for track in made] == [
        ("w", "worse"), ("y", "undecided"), ("z", "undecided"), ("x", "fine"),
    ]  # fmt: skip


def test_a_pair_that_came_later_and_one_with_one_side_are_drawn_as_far_as_they_are_known() -> None:
    made = tracks([look(5, {"overall wer": 1.0}, {}), look(9, {"overall wer": 2.0}, {"overall wer": 3.0})], alpha=0.05)
    assert [(trace.side, trace.path.count("L")) for trace in made[0].traces] == [("worse", 1), ("fine", 0)]
    assert [trace.said for trace in made[0].traces] == ["worse: e 2 of 20", "not worse: e 3 of 20"]


def test_no_looks_no_pictures() -> None:
    assert tracks([], alpha=0.05) == ()


def test_a_report_from_before_looks_were_kept_has_no_pictures_and_a_new_one_has() -> None:
    view = release_examples.promoted()
    assert 'class="trace fine"' in render(view)
    assert view.canary is not None
    old = view.canary.model_copy(
        update={"stages": tuple(stage.model_copy(update={"looks": ()}) for stage in view.canary.stages)}
    )
    assert 'class="trace' not in render(replace(view, canary=old))


def test_the_pair_that_rolled_back_is_first_and_says_so() -> None:
    made = tracks(release_documents.looks(96, bad=True), alpha=0.05)
    assert (made[0].slice, made[0].state) == ("scottish", "worse")
    assert made[0].traces[0].said.startswith("worse: e 4,000 of ")


def test_what_was_decided_between_two_looks_stays_decided() -> None:
    """The judge's decision is the first crossing in event time; the e-value may have come back since."""
    now = look(10, {"a=x wer": 1.0}, {"a=x wer": 13.0})
    assert tracks([now], alpha=0.05)[0].state == "undecided"
    assert tracks([now], alpha=0.05, evidence=[said("a=x", "fine", 50.0)])[0].state == "fine"
    earlier = look(8, {"a=x wer": 1.0}, {"a=x wer": 25.0})
    assert tracks([earlier, now], alpha=0.05)[0].state == "fine"
