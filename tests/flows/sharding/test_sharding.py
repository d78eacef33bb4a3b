"""Shards on the real harness: mapped tasks in threads, of a release that was killed while it scored."""

from __future__ import annotations

import pytest

from contracts.reports import CURVE, ScoreReport, StreamTimeline, TimingReport
from evalpacks.pack import load
from registry.documents import get_document
from tests.flows.release_project import FAMILY, context_of
from tests.flows.sharding.conftest import LEAST, Resumed
from tests.flows.sharding.score_project import TIMED, kept, planned

pytestmark = pytest.mark.slow


def test_after_the_kill_only_the_rest_is_heard(resumed: Resumed) -> None:
    assert LEAST <= resumed.kept < planned(resumed.root)
    assert len(resumed.runs) == planned(resumed.root) - resumed.kept
    assert {run["state_type"] for run in resumed.runs} == {"COMPLETED"}


def test_private_text_is_gone_when_the_step_is_in_the_ledger(resumed: Resumed) -> None:
    assert kept(resumed.root) == set()


def test_shards_are_task_runs_with_names_that_say_what_they_hear(resumed: Resumed) -> None:
    names = [run["name"] for run in resumed.runs]
    assert len(set(names)) == len(names)
    assert {tuple(name.split()[:2]) for name in names} == {("commands", "batch"), ("commands", "stream")}


def test_the_score_report_has_the_whole_pack_and_the_streamed_part(resumed: Resumed) -> None:
    report = get_document(context_of(resumed.root).store, ScoreReport, resumed.report)
    rows = {row.metric: row.candidate.denominator for row in report.comparisons}
    assert rows["wer"] == report.words["commands/overall"].reference_words
    assert rows["churn"] > 0


def test_the_timing_report_has_every_figure(resumed: Resumed) -> None:
    context = context_of(resumed.root)
    (event,) = [event for event in context.ledger(FAMILY).events() if event.step == "score"]
    timing = get_document(context.store, TimingReport, event.outputs["timing_report"])
    assert timing.utterances == timing.final_ms.n == TIMED
    assert timing.first_partial_ms is not None
    assert timing.first_stable_ms is not None
    assert timing.first_partial_ms.p50 <= timing.first_stable_ms.p50
    assert len(timing.final_ms.curve) == len(CURVE)
    assert timing.peak_memory_mb > 50
    envelope = context.settings.policy(FAMILY).envelope
    memory = timing.peak_memory_mb / 1000 * envelope.price_usd_per_gb_hour
    assert timing.cost_usd_per_audio_hour == pytest.approx(timing.rtf * envelope.price_usd_per_core_hour + memory)
    assert timing.stable_final_ms is None


def test_the_timeline_is_the_longest_utterance_as_it_was_shown(resumed: Resumed) -> None:
    context = context_of(resumed.root)
    pack = load(context.settings.pack("commands"))
    assert pack.meta.show_transcripts
    (event,) = [event for event in context.ledger(FAMILY).events() if event.step == "score"]
    digest = get_document(context.store, TimingReport, event.outputs["timing_report"]).timeline
    assert digest is not None
    timeline = get_document(context.store, StreamTimeline, digest)
    row = pack.utterances.set_index("utterance_id").loc[timeline.utterance_id]
    assert (timeline.reference, timeline.duration_s) == (row["text"], pack.utterances["duration_s"].max())
    assert [shown.final for shown in timeline.events] == [False] * (len(timeline.events) - 1) + [True]
    assert all(shown.shown_s >= shown.heard_s for shown in timeline.events)
    assert timeline.events[-1].heard_s == pytest.approx(timeline.duration_s, abs=0.01)
