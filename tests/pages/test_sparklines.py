"""Small multiples: where lines stand, where they have gaps, what they are held to, what is said of the last minute."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.live import Window
from pages.plots.sparklines import FEWEST, FIRST_AUDIO, LATENCY, SPAN_S, Cell, Grid, grid
from tests.pages.live_examples import AT_S, CANARY, OLD, burn, traffic, window


def drawn(*windows: Window, **more: object) -> Grid:
    now = tuple(one for one in windows if one.until_s == AT_S)
    return grid(windows, now, at_s=AT_S, **more)  # type: ignore[arg-type]


def cell(made: Grid, measure: str, row: int = 0) -> Cell:
    (found,) = [one for one in made.rows[row].cells if one.name == measure]
    return found


def points(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"[ML]([\d.]+) ([\d.-]+)", path)]


@given(
    st.lists(
        st.tuples(
            st.integers(0, 29), st.floats(0.1, 20_000), st.integers(0, 500), st.sampled_from(("stable", "canary"))
        ),
        max_size=40,
    )
)
def test_every_line_lies_in_its_cell_and_runs_to_the_right(made: list[tuple[int, float, int, str]]) -> None:
    windows = [window(minute, "overall", arm, requests=n, p95=p95) for minute, p95, n, arm in made]  # type: ignore[arg-type]
    for row in drawn(*windows, budgets_ms={LATENCY: 400.0}).rows:
        for one in row.cells:
            for line in one.lines:
                for part in line.path.split("M")[1:]:
                    places = points(f"M{part}")
                    assert all(0 <= x <= 100 and 0 <= y <= 100 for x, y in places)
                    assert places == sorted(places, key=lambda place: place[0])


def test_all_slices_of_a_measure_stand_on_one_axis() -> None:
    """The same latency has the same height in every slice, however slow another one is."""
    made = drawn(
        window(0, "overall", "stable", requests=50, p95=200),
        window(0, "device=phone", "stable", requests=50, p95=200),
        window(0, "device=web", "stable", requests=50, p95=800),
    )
    heights = [cell(made, "latency p95", row).lines[0].end for row in range(3)]
    assert heights == [(98.333, 75.0), (98.333, 75.0), (98.333, 0.0)]
    assert made.columns[0].top == "800 ms"


def test_a_minute_without_traffic_is_a_gap_and_a_lone_minute_a_dot() -> None:
    made = drawn(*(window(minute, "overall", "stable", requests=50, p95=200) for minute in (0, 1, 5, 9, 10)))
    path = cell(made, "latency p95").lines[0].path
    assert [len(points(f"M{part}")) for part in path.split("M")[1:]] == [2, 2, 2]
    assert len(set(points(path))) == 5


@pytest.mark.parametrize(("requests", "is_drawn"), [(FEWEST - 1, False), (FEWEST, True)])
def test_a_rate_of_few_is_a_gap_and_never_a_zero(requests: int, is_drawn: bool) -> None:
    made = drawn(window(0, "overall", "stable", requests=requests, p95=200, failures=1))
    line = cell(made, "failed").lines[0]
    assert bool(line.path) is is_drawn
    assert line.title == f"stable, last minute: {line.number}%, 1 of {requests} requests"


def test_rates_of_two_bundles_are_put_together_and_quantiles_are_of_the_busier() -> None:
    made = drawn(
        window(0, "overall", "stable", requests=90, p95=200, failures=0),
        window(0, "overall", "stable", requests=10, p95=900, failures=10, bundle=OLD),
    )
    assert cell(made, "failed").lines[0].number == "10.0"
    assert cell(made, "latency p95").lines[0].title == "stable, last minute: 200 ms, p95 of 90 answers"


def test_a_measure_of_zeros_has_an_axis_and_one_of_nothing_has_none() -> None:
    made = drawn(window(0, "overall", "stable", requests=20, p95=200, first=False))
    assert [column.top for column in made.columns] == ["200 ms", "", "6%", "1%", "5%"]


def test_a_shadow_is_drawn_as_the_canary() -> None:
    made = drawn(window(0, "overall", "shadow", requests=20, p95=300, bundle=CANARY))
    assert [line.arm for line in cell(made, "latency p95").lines] == ["canary"]


@pytest.mark.parametrize(
    ("p95", "said", "shown"), [(300.0, "budget 400 ms", True), (40.0, "budget 400 ms, above this", False)]
)
def test_a_budget_far_above_is_named_and_not_drawn(p95: float, said: str, shown: bool) -> None:
    made = drawn(window(0, "overall", "stable", requests=20, p95=p95), budgets_ms={LATENCY: 400.0})
    assert made.columns[0].budget == said
    assert (cell(made, "latency p95").budget is not None) is shown


@pytest.mark.parametrize(("p95", "over"), [(400.0, False), (401.0, True)])
def test_a_last_minute_over_budget_says_so(p95: float, over: bool) -> None:
    line = cell(
        drawn(window(0, "overall", "stable", requests=20, p95=p95), budgets_ms={LATENCY: 400.0}), "latency p95"
    ).lines[0]
    assert line.over is over
    assert line.title.endswith(", over budget") is over


def test_overall_stands_first_then_whoever_is_hurt() -> None:
    windows = [window(0, name, "stable", requests=9, p95=200) for name in ("device=web", "overall", "device=phone")]
    made = drawn(*windows, burns=[burn("latency", 20, action="page", name="device=phone")])
    assert [row.exact for row in made.rows] == ["overall", "device=phone", "device=web"]


def test_moves_of_the_route_table_stand_where_they_happened() -> None:
    made = drawn(moved_s=[AT_S, AT_S - SPAN_S / 2, AT_S - 2 * SPAN_S, AT_S + 60])
    assert made.moves == (100.0, 50.0)


def test_half_an_hour_has_a_row_a_slice_and_a_cell_a_measure() -> None:
    made = grid(traffic(canary=True), (), at_s=AT_S)
    assert len(made.rows) == 7
    names = [column.name for column in made.columns]
    assert all([one.name for one in row.cells] == names for row in made.rows)
    assert all(line.number == "" for row in made.rows for one in row.cells for line in one.lines)


HEARS = ["latency p95", "first partial p95", "partial churn", "failed", "corrected"]
SPEAKS = ["latency p95", "first audio p50", "first audio p95", "failed", "playback paused"]


@pytest.mark.parametrize(
    ("task", "windows", "columns"),
    [
        ("nobody asked", [], HEARS),
        ("transcription", [window(0, "overall", "stable", requests=9, p95=200)], HEARS),
        ("synthesis", [window(0, "overall", "stable", requests=9, p95=200, first=False, audio=90)], SPEAKS),
        (
            "dialogue",
            [window(0, "overall", "stable", requests=9, p95=200, audio=90)],
            SPEAKS[:3] + HEARS[1:3] + SPEAKS[3:],
        ),
    ],
)
def test_the_columns_are_what_a_family_of_a_task_is_judged_by(
    task: str, windows: list[Window], columns: list[str]
) -> None:
    assert [column.name for column in drawn(*windows).columns] == columns, task


def test_first_audio_is_drawn_at_both_quantiles_and_held_to_its_budget() -> None:
    slow = window(0, "overall", "stable", requests=20, p95=2_000, first=False, audio=480.0)
    made = drawn(slow, budgets_ms={FIRST_AUDIO: 400.0})
    (median,), (tail,) = cell(made, "first audio p50").lines, cell(made, FIRST_AUDIO).lines
    assert (median.title, median.over) == ("stable, last minute: 264 ms, p50 of 20 answers", False)
    assert (tail.title, tail.over) == ("stable, last minute: 480 ms, p95 of 20 answers, over budget", True)
    assert [column.budget for column in made.columns] == ["", "", "budget 400 ms", "", ""]
    assert cell(made, "playback paused").said.startswith("stable, last minute: 0.0%, 0 of 20 answers")
