"""Pages of families without words, with a voice, with turns: what the task does not have is not shown as missing."""

from __future__ import annotations

import dataclasses
import re
from typing import get_args

import pytest

from contracts.policy import CanaryMetric, MetricName, Task
from contracts.reports import SafetyCheck
from contracts.route_counts import RouteCounts
from evalpacks.metrics import METRICS
from pages import reading, steps, terminal
from pages.comparing import canary_scale
from pages.figures import scale
from pages.release import render
from pages.view import ReleaseView
from tests.pages import release_examples as examples
from tests.pages.release_documents import quantiles

METRIC: dict[Task, MetricName] = {
    "transcription": "wer",
    "synthesis": "mos",
    "embedding": "eer",
    "classification": "macro_f1",
    "dialogue": "task_success",
}
PLANTED = (
    SafetyCheck(name="requests that must be refused and are answered", planted=8, broken=0),
    SafetyCheck(name="clips without speech in which speech is found", planted=40, broken=3),
)


def of_task(task: Task) -> ReleaseView:
    """The promoted example, as a family of another task would have it."""
    view = examples.promoted()
    if task == "transcription":
        return view
    assert view.score
    assert view.timing
    assert view.replay
    assert view.safety
    worded = task in ("synthesis", "dialogue")
    spoken = task in ("synthesis", "dialogue")
    compared = tuple(one.model_copy(update={"metric": METRIC[task]}) for one in view.score.comparisons)
    wordless: dict[str, object] = (
        {} if worded else {"words": {}, "stable_words": {}, "classes": {}, "stable_classes": {}}
    )
    first = {"first_audio_ms": quantiles(180.0), "underrun_share": 0.025} if spoken else {}
    gone = {"first_partial_ms": None, "first_stable_ms": None, "endpoint_ms": None}
    gone |= {f"stable_{name}": None for name in gone}
    score = view.score.model_copy(update={"comparisons": compared, "calibration": (), "confusions": {}, **wordless})
    timing = view.timing.model_copy(update={**gone, **first, "cost_usd_per_answer": 0.00012 if spoken else None})
    load = view.replay.warm.model_copy(update={"first_partial_ms": None, **first})
    safety = {"clips": 0, "hallucinated_words": 0, "clips_with_words": 0, "redaction_planted": 0, "checks": PLANTED}
    return dataclasses.replace(
        view,
        policy=view.policy.model_copy(update={"task": task}),
        score=score,
        timing=timing,
        replay=view.replay.model_copy(update={"warm": load, "cold_first_partial_ms": 311.0 if spoken else None}),
        safety=view.safety.model_copy(update=safety),
        timeline=None,
    )


@pytest.mark.parametrize("task", get_args(Task))
def test_a_report_has_the_sections_of_its_task(task: Task) -> None:
    page = render(of_task(task))
    sections = set(re.findall(r'<section id="([a-z]+)"', page))
    linked = set(re.findall(r'<a href="#([a-z]+)">', page))
    assert sections == linked
    assert ("errors" in sections) == (task in ("transcription", "synthesis", "dialogue"))
    assert ("streaming" in sections) == (task == "transcription")
    assert ("calibration" in sections) == (task in ("transcription", "classification", "dialogue"))
    assert {"slices", "speed", "safety", "staging", "canary", "rollback"} <= sections


@pytest.mark.parametrize("task", ["embedding", "classification"])
def test_a_family_without_words_is_told_nothing_of_words(task: Task) -> None:
    view = of_task(task)
    page = render(view).split("<main>")[1].split('<section id="canary">')[0]
    assert "WER" not in page
    assert "reference word" not in page
    assert "private strings" not in page
    assert "first partial" not in page
    assert scale(METRIC[task]).label in page
    assert reading.safety_row(view).parts[0] == (
        "clips without speech in which speech is found: 3 of 40 went wrong"  # what went wrong stands first
    )
    assert view.safety
    assert "words on" not in steps.artifact("score", view.safety)


@pytest.mark.parametrize("task", ["synthesis", "dialogue"])
def test_first_audio_and_starved_playback_stand_where_they_were_measured(task: Task) -> None:
    view = of_task(task)
    assert view.replay
    assert view.timing
    page = render(view)
    assert "first audio" in page
    assert "answers whose playback starves, %" in page
    assert "Playback would have starved in 2.5% of the answers." in page
    assert "first partial" not in page.split("<main>")[1].split('<section id="canary">')[0]
    parts = reading.speed_parts(view.timing, view.policy.serving)
    assert parts[:2] == ("first audio p95 " + parts[0].split()[3] + " ms", "playback starves in 2.5%")
    assert "first audio" in steps.artifact("stage", view.replay)
    assert "first audio" in steps.artifact("score", view.timing)


def test_a_safety_report_without_anything_planted_says_so() -> None:
    view = of_task("classification")
    assert view.safety
    empty = dataclasses.replace(view, safety=view.safety.model_copy(update={"checks": ()}))
    assert reading.safety_row(empty).parts == ("nothing was planted",)


def test_a_cascade_shows_what_its_router_did() -> None:
    view = examples.promoted()
    assert view.score
    counts = RouteCounts(
        utterances=200, sent_on=50, small_errors=30, small_words=600, large_errors=20, large_words=0, sure_and_wrong=24
    )
    rows = {"commands/overall": counts, "commands/noise=5db": counts.model_copy(update={"sure_and_wrong": 60})}
    routed = dataclasses.replace(view, score=view.score.model_copy(update={"routes": rows}))
    section = render(routed).split('<section id="routing">')[1].split("</section>")[0]
    cells = re.findall(r'<td class="n">([^<]*)</td>', section)
    assert cells[:6] == ["200", "25.0%", "5.0%", "none", "24 (12.0%)", "200"]
    assert cells[9] == "60 (30.0%)"
    assert '<section id="routing">' not in render(view)


def test_shares_of_wrong_probes_are_shown_in_per_cent() -> None:
    plan = examples.promoted().policy.canary
    wrong = CanaryMetric(kind="ratio", numerator="errors", denominator="words")
    plan = plan.model_copy(update={"metrics": {**plan.metrics, "wrong_clips": wrong}})
    assert canary_scale("wrong_clips", plan).label == "wrong clips"
    assert canary_scale("wrong_clips", plan).value(0.031) == "3.1%"


@pytest.mark.parametrize("task", get_args(Task))
def test_every_page_of_a_release_is_drawn_for_every_task(task: Task) -> None:
    view = of_task(task)
    assert view.family in terminal.release_summary(view)
    for step in steps.STEPS:
        assert steps.artifact(step, view).strip()


@pytest.mark.parametrize("name", sorted(get_args(MetricName)))
def test_a_metric_reads_on_pages_as_its_room_says(name: MetricName) -> None:
    """Pages know no metrics, so they have their own table; its units and its best value must be those of the metric."""
    metric, written = METRICS[name], scale(name)
    assert written.unit == metric.value_unit
    assert (written.best > 0) == (metric.better == "higher")
    if name != "brier":  # the Brier score is shown times 100 in reasons, and bare on pages
        assert written.factor == metric.scale
