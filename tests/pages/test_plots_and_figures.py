"""Numbers as text, places on axes, the layout of the lineage graph."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from contracts.ledger_event import GENESIS, LedgerEvent
from contracts.reports import Count, WordCounts
from pages import figures, lineage, plots
from pages.reading import excess, worst_first
from pages.view import ReleaseView
from tests.pages.release_documents import PASS, comparison, name_of, timing_report, word_counts


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("overall", "overall"),
        ("accent=scottish&noise=5db", "scottish x 5 dB"),
        ("length=1-2", "length 1-2"),
        ("codec=g722", "codec g722"),
        ("rate=16khz", "16 kHz"),
        ("digits=yes", "digits yes"),
        ("noise=-5db", "-5 dB"),
    ],
)
def test_slice_names(name: str, said: str) -> None:
    assert figures.slice_name(name) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(None, ""), (0.42, "0.42 s"), (12.34, "12.3 s"), (59.96, "1 min 00 s"), (252, "4 min 12 s"), (7500, "2 h 05 min")],
)
def test_durations(seconds: float | None, said: str) -> None:
    assert figures.duration(seconds) == said


@pytest.mark.parametrize(
    ("count", "said"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (47_300_000, "47.3 MB"), (25 * 10**8, "2.5 GB")],
)
def test_sizes(count: int, said: str) -> None:
    assert figures.size(count) == said


def test_times_are_utc() -> None:
    assert figures.moment("2026-11-20T15:02:31+01:00") == "2026-11-20 14:02:31 UTC"
    assert figures.clock("2026-11-20T14:02:31Z") == "14:02:31 UTC"
    assert figures.moment("some day\x1b[1m") == "some day?[1m"


def test_rates_and_differences() -> None:
    wer = figures.scale("wer")
    assert (wer.value(0.0841), wer.value(None)) == ("8.4%", "none")
    assert (wer.difference(-0.0231), wer.difference(0.0004), wer.difference(-0.0004)) == ("-2.3", "0.0", "0.0")
    assert wer.interval(None, 0.01) == "[.., +1.0]"
    assert wer.interval(None, None) == ""
    assert figures.scale("mos").value(3.41) == "3.410"


def test_typographic_signs_leave_options_and_ranges_alone() -> None:
    assert figures.typographic("-2.3 [-3.1, -1.5]") == "\u22122.3 [\u22123.1, \u22121.5]"
    assert figures.typographic("--key KEY, length 1-2, 2026-11-20") == "--key KEY, length 1-2, 2026-11-20"
    assert figures.typographic("8.4% -> 6.1%") == "8.4% \u2192 6.1%"


values = st.floats(-1, 1, allow_nan=False)


@given(st.lists(values, min_size=1, max_size=30), st.booleans())
def test_every_value_lies_on_its_axis_in_order(drawn: list[float], signed: bool) -> None:
    scale = plots.axis(drawn, figures.scale("wer"), signed=signed)
    places = [scale.at(value) for value in sorted(drawn)]
    assert all(0 <= place <= 100 for place in places)
    assert places == sorted(places)
    assert scale.low <= min(drawn) <= max(drawn) <= scale.high


@given(st.lists(values, min_size=1, max_size=30))
def test_ticks_are_few_round_and_where_they_say(drawn: list[float]) -> None:
    assume(max(drawn) - min(drawn) > 1e-3)
    scale = plots.axis(drawn, figures.scale("wer"), signed=True)
    assert 2 <= len(scale.ticks) <= 8
    for tick in scale.ticks:
        assert math.isclose(tick.x, scale.at(float(tick.label) / 100), abs_tol=0.01)


def test_right_is_worse_where_higher_is_better() -> None:
    one = comparison(3, "accent=rp", bad=False)
    turned = one.model_copy(
        update={"better": "higher", "estimate": -0.05, "lower": -0.07, "upper": -0.03, "margin": 0.03}
    )
    (forest,) = plots.forests([turned])
    mark = forest.marks[0]
    assert mark.zero is not None
    assert mark.point is not None
    assert mark.low is not None
    assert mark.high is not None
    assert mark.bound is not None
    assert mark.zero < mark.bound < mark.point
    assert mark.low < mark.point < mark.high
    assert mark.difference == "-5.0 [-7.0, -3.0]"
    assert excess(turned) == pytest.approx(0.02)


def test_one_forest_a_pack_and_nothing_that_does_not_pass_is_hidden(stop: ReleaseView) -> None:
    assert stop.score
    (forest,) = plots.forests(stop.score.comparisons)
    assert len(forest.marks) + len(forest.more) == 30
    assert {mark.kind for mark in forest.more} == {"pass"}
    other = stop.score.comparisons[0].model_copy(update={"pack": "human"})
    assert [one.title for one in plots.forests([*stop.score.comparisons, other])] == ["WER on commands", "WER on human"]


def test_worst_first_puts_a_missing_rate_before_a_good_one() -> None:
    good = comparison(3, "accent=rp", bad=False).model_copy(update={"verdict": PASS})
    absent = {"estimate": None, "stable": None, "candidate": Count(numerator=0, denominator=0)}
    assert worst_first([good, good.model_copy(update=absent)])[0].candidate.rate is None


def test_latency_over_budget_is_marked() -> None:
    from tests.pages.release_documents import policy

    budget = policy().serving.model_copy(update={"final_p95_ms": 300.0})
    (offline,) = plots.latencies(timing_report(), None, budget)
    assert [(row.name, row.arm, row.over) for row in offline.rows] == [
        ("first partial", "candidate", False),
        ("final", "stable", True),
        ("final", "candidate", True),
    ]
    assert offline.rows[2].title == "final, candidate: p50 187, p95 355, p99 486, max 767 ms, budget of p95 300 ms"


def test_error_bars_start_with_overall_and_leave_out_what_has_no_words() -> None:
    one = comparison(3, "overall", bad=False)
    counts = word_counts(3, one, one.candidate)
    none = WordCounts(substitutions=0, deletions=0, insertions=0, reference_words=0, utterances=1, speakers=1)
    worse = counts.model_copy(update={"substitutions": counts.substitutions * 2})
    shown, more = plots.error_bars({"b": worse, "overall": counts, "c": none}, {"overall": counts})
    assert [bar.name for bar in shown] == ["overall", "b"]
    assert more == ()
    assert sum(shown[1].widths) == pytest.approx(100, abs=0.01)
    assert shown[0].stable_width == pytest.approx(sum(shown[0].widths), abs=0.01)
    assert shown[1].stable_width is None


def test_lineage_runs_left_to_right(release: ReleaseView) -> None:
    graph = lineage.graph(release.events)
    places = {box.digest: box for box in graph.boxes}
    for event in release.events:
        for source in event.inputs.values():
            for made in event.outputs.values():
                assert places[source].x < places[made].x
    assert {box.role for box in graph.boxes if box.given} == {"params", "policy", "pack", "stable"}
    corners = [(box.x, box.y) for box in graph.boxes]
    assert len(corners) == len(set(corners))
    assert all(box.x + lineage.BOX[0] <= graph.width and box.y + lineage.BOX[1] <= graph.height for box in graph.boxes)
    numbers = [float(one) for curve in graph.curves for one in re.findall(r"-?\d+(?:\.\d+)?", curve)]
    assert min(numbers) >= 0
    assert max(numbers) <= graph.width


def test_lineage_of_nothing_and_of_an_output_written_twice() -> None:
    assert lineage.graph(()).boxes == ()
    same = name_of("same")
    first = LedgerEvent(
        family="f", sequence=0, previous=GENESIS, at="x", step="capture", outcome="complete", outputs={"a": same}
    )
    second = first.model_copy(update={"sequence": 1, "step": "gate", "outcome": "fail", "inputs": {"a": same}})
    graph = lineage.graph((first, second))
    assert [box.digest for box in graph.boxes] == [same]
    assert graph.curves == ()
    assert [column.name for column in graph.columns] == ["capture", "gate failed"]
