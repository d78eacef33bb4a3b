"""Where marks stand: axes, forests, latencies, errors, calibration, cost, the stream of one utterance."""

from __future__ import annotations

import math
import re
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from contracts.reports import Comparison, Count, Quantiles, StreamTimeline, TimelineEvent, WordCounts
from pages import figures
from pages.comparing import excess, worst_first
from pages.plots.axis import axis
from pages.plots.calibration import reliabilities
from pages.plots.cost import moves
from pages.plots.errors import error_packs
from pages.plots.forest import Mark, forests
from pages.plots.latency import latencies
from pages.plots.timeline import timeline
from pages.view import ReleaseView
from tests.pages import rich_documents
from tests.pages.release_documents import PASS, comparison, policy, score_report, timing_report
from tests.pages.release_examples import FAIL

values = st.floats(-1, 1, allow_nan=False)


@given(st.lists(values, min_size=1, max_size=30), st.booleans())
def test_every_value_lies_on_its_axis_in_order(drawn: list[float], signed: bool) -> None:
    scale = axis(drawn, figures.scale("wer"), signed=signed)
    places = [scale.at(value) for value in sorted(drawn)]
    assert all(0 <= place <= 100 for place in places)
    assert places == sorted(places)
    assert scale.low <= min(drawn) <= max(drawn) <= scale.high


@given(st.lists(values, min_size=1, max_size=30))
def test_ticks_are_few_round_and_where_they_say(drawn: list[float]) -> None:
    assume(max(drawn) - min(drawn) > 1e-3)
    scale = axis(drawn, figures.scale("wer"), signed=True)
    assert 2 <= len(scale.ticks) <= 8
    for tick in scale.ticks:
        assert math.isclose(tick.x, scale.at(float(tick.label) / 100), abs_tol=0.01)


def recall(**changed: Any) -> Comparison:
    one = comparison(3, "accent=rp", bad=False)
    turned = {"metric": "intent_recall", "better": "higher", "estimate": -0.05, "lower": -0.07, "upper": -0.03}
    return one.model_copy(update={**turned, "margin": 0.03, **changed})


def mark_of(one: Comparison) -> Mark:
    (forest,) = forests([one])
    return forest.marks[0]


def test_right_is_worse_where_higher_is_better() -> None:
    mark = mark_of(recall())
    places = (mark.low, mark.point, mark.high, mark.zero, mark.bound)
    low, point, high, zero, bound = (place for place in places if place is not None)
    assert zero < bound < point
    assert low < point < high
    assert (mark.numbers.estimate, mark.numbers.lower, mark.numbers.upper) == ("-5.0", "-7.0", "-3.0")
    assert excess(recall()) == pytest.approx(0.02)


def test_ticks_of_a_turned_axis_say_the_difference_that_stands_there() -> None:
    (forest,) = forests([recall()])
    labels = [float(tick.label) for tick in forest.axis.ticks]
    assert labels == sorted(labels, reverse=True)
    worst = forest.axis.at(0.05)
    assert mark_of(recall()).point == worst
    tick = next(tick for tick in forest.axis.ticks if tick.label == "-4")
    assert tick.x == pytest.approx(forest.axis.at(0.04))


harms = st.lists(st.floats(-0.5, 0.5), min_size=2, max_size=12, unique=True)


@given(harms, st.floats(0, 0.2), st.sampled_from(["lower", "higher"]))
def test_more_harm_stands_further_right_and_everything_in_the_plot(
    shifts: list[float], margin: float, better: str
) -> None:
    sign = 1 if better == "lower" else -1
    group = [
        recall(
            better=better,
            slice=f"accent=a{number}",
            estimate=sign * harm,
            lower=sign * harm - 0.02,
            upper=sign * harm + 0.02,
            margin=margin,
            verdict=FAIL,
        )
        for number, harm in enumerate(shifts)
    ]
    (forest,) = forests(group)
    points = {mark.exact: mark.point for mark in (*forest.marks, *forest.more)}
    placed = [points[f"accent=a{number}"] for number in sorted(range(len(shifts)), key=shifts.__getitem__)]
    assert None not in placed
    assert placed == sorted(point for point in placed if point is not None)
    for mark in (*forest.marks, *forest.more):
        places = [place for place in (mark.low, mark.point, mark.high, mark.bound, mark.zero) if place is not None]
        assert len(places) == 5
        assert all(0 <= place <= 100 for place in places)
        assert places[0] <= places[1] <= places[2]


@pytest.mark.parametrize(("rate", "side", "note"), [(0.88, "right", ("under floor",)), (0.95, "left", ())])
def test_a_floor_without_a_stable_has_what_is_missing_right_of_it(rate: float, side: str, note: tuple[str]) -> None:
    absolute = {"stable": None, "estimate": None, "lower": None, "upper": None, "margin": None, "limit": 0.9}
    mark = mark_of(recall(**absolute, candidate=Count(numerator=rate * 100, denominator=100), protected=False))
    assert mark.point is not None
    assert mark.bound is not None
    assert ("right" if mark.point > mark.bound else "left") == side
    assert mark.notes == note
    assert mark.held == "floor 90.0%"


def test_a_comparison_without_a_difference_is_listed_and_not_drawn() -> None:
    absent = {"estimate": None, "lower": None, "upper": None, "candidate": Count(numerator=0, denominator=0)}
    missing = comparison(4, "accent=us", bad=False).model_copy(update={**absent, "limit": None, "verdict": FAIL})
    (forest,) = forests([comparison(3, "accent=rp", bad=False), missing])
    first = forest.marks[0]
    assert first.exact == "accent=us"
    assert (first.point, first.low, first.high, first.bound) == (None, None, None, None)
    assert first.numbers.after == "none"


def test_what_passes_has_its_own_bound_within_the_margin() -> None:
    """U5: the simultaneous interval may reach over the margin, the slice's own bound may not."""
    wide = comparison(3, "accent=rp", bad=False).model_copy(
        update={"upper": 0.04, "upper_one_sided": 0.02, "margin": 0.03, "verdict": PASS}
    )
    drawn = forests([*rich_documents.comparisons(), wide])
    passing = [mark for one in drawn for mark in (*one.marks, *one.more) if mark.kind == "pass"]
    assert any(mark.high and mark.bound and mark.high > mark.bound for mark in passing)
    for mark in passing:
        assert mark.own is not None
        assert mark.bound is not None
        assert mark.own <= mark.bound
    (scottish,) = [mark for one in drawn for mark in one.marks if mark.kind == "inconclusive"]
    assert scottish.own
    assert scottish.bound
    assert scottish.own > scottish.bound
    assert "own bound -2.8, margin 2.0, floor 90.0%" in scottish.title


def test_own_bound_of_a_relative_budget_is_the_bound_of_what_is_over_it() -> None:
    one = comparison(3, "accent=rp", bad=False).model_copy(
        update={"relative": True, "margin": 0.004, "excess_one_sided": -0.001, "upper_one_sided": 0.02}
    )
    (forest,) = forests([one])
    assert forest.marks[0].own == forest.axis.at(0.003)


def test_one_forest_a_pack_and_nothing_that_does_not_pass_is_hidden(stop: ReleaseView) -> None:
    assert stop.score
    (forest,) = forests(stop.score.comparisons)
    assert len(forest.marks) + len(forest.more) == 30
    assert {mark.kind for mark in forest.more} == {"pass"}
    other = stop.score.comparisons[0].model_copy(update={"pack": "human"})
    assert [one.title for one in forests([*stop.score.comparisons, other])] == ["WER on commands", "WER on human"]


def test_forests_of_every_metric_stand_apart_worst_first_and_say_what_they_are_held_to() -> None:
    found = rich_documents.comparisons()
    waived = {("commands", "accent=scottish", "intent_recall", "stable")}
    drawn = forests(found, waived)
    assert [one.title for one in drawn] == [
        "intent recall on commands",
        "WER on commands",
        "partial churn on commands",
        "early endpoints on commands",
        "Brier score on commands",
        "CER on entities",
        "WER on entities",
        "entity error rate on entities",
        "WER on commands against full precision",
    ]
    assert drawn[0].held == ("margin 2.0 and floor 90.0%: 7 slices",)
    assert drawn[2].held == ("margin 5% of stable and ceiling 20.0%: overall",)
    assert drawn[0].marks[0].notes == ("protected", "waived")
    assert drawn[8].heads[0] == "parent -> candidate"
    assert sum(len(one.marks) + len(one.more) for one in drawn) == len(found)


def test_worst_first_puts_a_missing_rate_before_a_good_one() -> None:
    good = comparison(3, "accent=rp", bad=False).model_copy(update={"verdict": PASS})
    absent = {"estimate": None, "stable": None, "candidate": Count(numerator=0, denominator=0)}
    assert worst_first([good, good.model_copy(update=absent)])[0].candidate.rate is None


def test_latency_over_budget_is_marked_and_an_older_report_still_draws() -> None:
    budget = policy().serving.model_copy(update={"final_p95_ms": 300.0})
    (offline,) = latencies(timing_report(), None, budget)
    assert [(row.name, row.arm, [one.over for one in row.figures][:3]) for row in offline.rows] == [
        ("first partial", "candidate", [False, False, False]),
        ("final", "stable", [False, True, False]),
        ("final", "candidate", [False, True, False]),
    ]
    assert offline.rows[2].title == "final, candidate: p50 187, p95 355, p99 486, max 767 ms, budget of p95 300 ms"
    assert offline.distributions == ()
    assert all(dot.low is None and dot.high is None for row in offline.rows for dot in row.dots)


def test_intervals_hold_their_quantiles_and_lines_rise_to_p99() -> None:
    (offline,) = latencies(rich_documents.timing(), None, policy().serving)
    assert [(row.name, row.arm) for row in offline.rows][:4] == [
        ("first partial", "stable"),
        ("first partial", "candidate"),
        ("first stable", "stable"),
        ("first stable", "candidate"),
    ]
    for row in offline.rows:
        assert len(row.dots) == 3
        for dot in row.dots:
            assert dot.low is not None
            assert dot.high is not None
            assert dot.low <= dot.x <= dot.high
    assert [one.title for one in offline.distributions] == ["first partial", "first stable", "final", "endpoint"]
    for one in offline.distributions:
        for line in one.lines:
            places = [tuple(map(float, pair.split())) for pair in line.path[1:].split("L")]
            assert len(places) == 10
            assert places == sorted(places, key=lambda place: (place[0], -place[1]))
            assert places[0][1] == 100
            assert places[-1][1] == pytest.approx(1)
            assert places[-2][0] == pytest.approx(line.p95, abs=0.01)


def test_short_times_have_a_decimal() -> None:
    quick = Quantiles(n=40, p50=3.24, p95=7.0, p99=9.96, maximum=12.0)
    timing = timing_report().model_copy(update={"first_partial_ms": None, "stable_final_ms": None, "final_ms": quick})
    (offline,) = latencies(timing, None, policy().serving.model_copy(update={"final_p95_ms": 80.0}))
    assert [one.number for one in offline.rows[0].figures] == ["3.2", "7.0", "10.0", "12.0", "80", "40"]


@pytest.mark.parametrize(("budget", "drawn"), [(150.0, True), (400.0, False)])
def test_a_budget_far_beyond_the_times_is_said_and_not_drawn(budget: float, *, drawn: bool) -> None:
    serving = policy().serving.model_copy(update={"final_p95_ms": budget})
    (offline,) = latencies(rich_documents.timing(), None, serving)
    final = next(one for one in offline.distributions if one.title == "final")
    assert (final.budget is not None) == drawn
    assert final.held == f"budget {budget:.0f} ms" + ("" if drawn else ", far right of this")
    assert final.lines[1].p95 > (30 if drawn else 45)


def counts(substitutions: int, deletions: int, insertions: int, words: int) -> WordCounts:
    return WordCounts(
        substitutions=substitutions,
        deletions=deletions,
        insertions=insertions,
        reference_words=words,
        utterances=1,
        speakers=1,
    )


def test_errors_start_with_overall_and_leave_out_what_has_no_words() -> None:
    words = {"p/b=x": counts(6, 2, 2, 40), "p/overall": counts(3, 1, 1, 40), "p/c=x": counts(0, 0, 0, 0)}
    words |= {"q/overall": counts(1, 0, 0, 10)}
    score = score_report(bad=False).model_copy(
        update={"words": words, "stable_words": {"p/overall": counts(4, 1, 1, 40)}}
    )
    first, second = error_packs(score)
    assert (first.pack, second.pack) == ("p", "q")
    assert [one.exact for one in first.shown] == ["overall", "b=x"]
    overall, other = first.shown
    assert (overall.rate, overall.stable_rate, overall.difference) == ("12.5%", "15.0%", "-2.5")
    assert (other.stable_rate, other.stable_parts, other.difference) == ("", (), "")
    end = other.parts[-1].x + other.parts[-1].width
    assert end == pytest.approx(first.axis.at(0.25), abs=0.01)
    assert [one.kind for one in overall.classes] == ["substitutions", "deletions", "insertions"]


counted = st.tuples(*[st.integers(0, 500)] * 3, st.integers(1, 900))


@given(counted, counted)
def test_stacked_bars_end_at_the_rate_of_their_arm(now: tuple[int, ...], was: tuple[int, ...]) -> None:
    tables = {"words": {"p/overall": counts(*now)}, "stable_words": {"p/overall": counts(*was)}}
    (pack,) = error_packs(score_report(bad=False).model_copy(update=tables))
    (overall,) = pack.shown
    for (*errors, words), parts in ((now, overall.parts), (was, overall.stable_parts)):
        assert parts[-1].x + parts[-1].width == pytest.approx(pack.axis.at(sum(errors) / words), abs=0.01)
        assert all(after.x == pytest.approx(one.x + one.width, abs=0.01) for one, after in pairwise(parts))


def test_classes_of_a_slice_count_entities_over_entity_words() -> None:
    score = rich_documents.score()
    pack = error_packs(score)[0]
    overall = pack.shown[0]
    assert [one.kind for one in overall.classes] == ["substitutions", "deletions", "insertions", "short", "entity"]
    entity = overall.classes[-1]
    found = score.classes["commands/overall"]
    assert found.entity is not None
    assert found.entity_words is not None
    assert entity.per == "entity word"
    assert entity.rate == figures.scale("wer").value(found.entity / found.entity_words)
    assert pack.confusions[0].reference == "four"
    assert error_packs(score)[1].confusions == ()


def test_calibration_has_no_mark_for_an_empty_bin() -> None:
    score = rich_documents.score()
    first, second = reliabilities(score.calibration, score.stable_calibration)
    assert [arm.arm for arm in first.arms] == ["stable", "candidate"]
    assert [arm.arm for arm in second.arms] == ["candidate"]
    assert len(first.arms[0].bins) == 9
    sizes = [one.radius for one in first.arms[1].bins]
    assert sizes == sorted(sizes)
    assert first.arms[1].bins[-1].title == "candidate: confidence 96%, exactly right 92%, 486 utterances"
    assert reliabilities((), score.stable_calibration) == ()


def test_cost_moves_from_stable_to_candidate_and_a_first_release_stands_alone() -> None:
    score, timing = rich_documents.score(), rich_documents.timing()
    commands, entities = moves(score, timing)
    assert (commands.pack, entities.pack) == ("commands", "entities")
    stable, candidate = commands.points
    assert candidate.x < stable.x
    assert candidate.y > stable.y
    assert (stable.side, candidate.side) == ("right", "left")
    assert candidate.title == "candidate: WER 6.1%, 0.0011 USD an audio hour"
    alone = moves(score, timing.model_copy(update={"stable_cost_usd_per_audio_hour": None}))[0]
    assert [(one.arm, one.side) for one in alone.points] == [("candidate", "right")]


def stream(*texts: tuple[str, int]) -> StreamTimeline:
    last = len(texts) - 1
    return StreamTimeline(
        pack="p",
        utterance_id="u",
        reference="a b",
        duration_s=1.0 + last,
        chunk_ms=100,
        events=tuple(
            TimelineEvent(heard_s=at + 0.5, shown_s=at + 0.6, text=text, committed=done, final=at == last)
            for at, (text, done) in enumerate(texts)
        ),
    )


def test_words_of_a_stream_are_committed_open_or_later_revised() -> None:
    drawn = timeline(stream(("a", 0), ("x b", 1), ("a b c", 1), ("a b", 2)))
    assert [[(word.text, word.state) for word in row.words] for row in drawn.rows] == [
        [("a", "open")],
        [("x", "revised"), ("b", "open")],
        [("a", "committed"), ("b", "open"), ("c", "revised")],
        [("a", "committed"), ("b", "committed")],
    ]
    assert drawn.said == "4.00 s of audio in chunks of 100 ms; 2 of 6 partial words later revised"
    assert [row.final for row in drawn.rows] == [False, False, False, True]
    assert all(row.heard < row.shown <= 100 for row in drawn.rows)


@pytest.mark.parametrize(
    ("heard", "marked"),
    [
        ("a b", ([], [])),
        ("A b", ([], [])),
        ("a c b", ([], ["c"])),
        ("a", (["b"], [])),
        ("x b", (["a"], ["x"])),
    ],
)
def test_words_that_were_heard_otherwise_are_marked(heard: str, marked: tuple[list[str], list[str]]) -> None:
    drawn = timeline(stream((heard, 0)))
    found = [[word.text for word in words if word.state == "differs"] for words in (drawn.reference, drawn.final)]
    assert tuple(found) == marked
    assert drawn.differs == bool(marked[0] or marked[1])


def test_a_stream_without_an_event_is_drawn_empty() -> None:
    empty = stream(("a", 1)).model_copy(update={"events": ()})
    assert timeline(empty).rows == ()
    assert timeline(empty).final == ()
    assert timeline(empty).differs


def test_no_text_of_a_stream_carries_control_characters() -> None:
    drawn = timeline(stream(("a\x1b[2J", 0), ("b\u202e", 1)))
    assert not re.search(
        "[\x1b\u202e]", " ".join(word.text for row in drawn.rows for word in (*row.words, *drawn.final))
    )
