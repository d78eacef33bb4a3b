"""What a terminal shows at the end of a release and for the status of a family: whole texts."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.ledger_event import LedgerEvent
from pages.reading import commands, waive_line
from pages.terminal import release_summary, status
from pages.view import HistoryRow, ReleaseView, StatusView
from tests.pages import release_documents, release_examples

PROMOTED = """\
asr-commands v2  ->  canary passed, approved by r.manager (key 3f9ae12b...), promoted 14:02:03 UTC            4 min 12 s
  quality      PASS  WER 8.4% -> 6.1%  (-2.3 [-3.1, -1.5])
                     worst slice caribbean x clean  +0.4 [-2.0, +2.8], margin 3.0
  serving      PASS  first partial p95 213 ms (budget 900)   final p95 355 ms (budget 400)   RTF 0.041   peak 412 MB
                     0.031 USD/audio hour
  safety       PASS  words on 2 of 20 clips without speech   redaction leaked 0 of 12 private strings
  provenance   PASS  leakage: none found
  privacy      PASS  0 of 24 planted strings found
  rollback     PASS  rehearsed in 0.42 s, golden outputs equal (12 of 12)   target v1 126a07de492d
  canary       PASS  shadow promote (62 sessions)   cohort promote (94 sessions)   wide promote (238 sessions)
  policy       2 changes since the last release
  bundle       sha256 a5b37b2e0779   47.3 MB, 1.2 MB new   restore with: soundcheck restore a5b37b2e0779 --into DIR
  see          report .soundcheck/reports/asr-commands-v2.html   Prefect http://127.0.0.1:4200/runs/flow-run/5d0c
               MLflow http://127.0.0.1:5000/#/models/asr-commands/versions/2"""

STOPPED = """\
asr-commands v3  ->  stopped at gate, stable is unchanged                                                     1 min 02 s
  stopped by   WER on scottish x 20 dB of commands: FAIL, and 2 other comparisons with it
  by how much  20.9% -> 35.7%, +14.8 [+11.3, +18.3] points, margin 3.0
  on whom      accent=scottish&noise=20db: 44 speakers, 1,199 utterances
  what settles settled: the evidence is enough, more of it would not help
  do next      train a better candidate under a new version, then soundcheck release asr-commands --candidate DIR

  quality      FAIL  worst slice scottish x 20 dB  +14.8 [+11.3, +18.3], margin 3.0
                     WER 8.4% -> 6.1%  (-2.3 [-3.1, -1.5])
  serving      PASS  first partial p95 213 ms (budget 900)   final p95 355 ms (budget 400)   RTF 0.041   peak 412 MB
                     0.031 USD/audio hour
  safety       PASS  words on 2 of 20 clips without speech   redaction leaked 0 of 12 private strings
  not reached  privacy, rollback, canary
  see          report .soundcheck/reports/asr-commands-v2.html   Prefect http://127.0.0.1:4200/runs/flow-run/5d0c
               MLflow http://127.0.0.1:5000/#/models/asr-commands/versions/2"""

FALLEN = """\
asr-commands v9  ->  stopped at capture, stable is unchanged
  stopped by   capture: weights.pkl is a pickle
  do next      export safetensors

  not reached  quality, serving, safety, privacy, rollback, canary"""

STATUS = """\
asr-commands
  stable       v2 7c1d0a44e9f2
  canary       none
  warm         v1 b81e90c4d2aa
  review due   2027-02-18
  frozen       holidays; lift it with: soundcheck unfreeze asr-commands

  history, newest last
    2026-11-20 13:40:02 UTC  promote   v1  b81e90c4d2aa  by r.manager
    2026-11-20 14:02:31 UTC  promote   v2  7c1d0a44e9f2  by r.manager
    2026-11-20 14:05:00 UTC  rollback  v1  b81e90c4d2aa  by oncall

  1 of the ledger's views disagrees with it; the ledger is right
    - MLflow's alias stable points at v1"""


@pytest.mark.parametrize(
    ("name", "text"), [("promoted", PROMOTED), ("stopped", STOPPED), ("nothing", FALLEN)], ids=lambda one: one[:8]
)
def test_release_summary(name: str, text: str) -> None:
    assert release_summary(getattr(release_examples, name)(), width=120) == text


def family() -> StatusView:
    first, second = "b81e90c4d2aa" + "0" * 52, "7c1d0a44e9f2" + "0" * 52
    return StatusView(
        family="asr-commands",
        stable=("v2", second),
        warm=(("v1", first),),
        history=(
            HistoryRow(version="v1", digest=first, at="2026-11-20T13:40:02Z", kind="promote", actor="r.manager"),
            HistoryRow(version="v2", digest=second, at="2026-11-20T14:02:31Z", kind="promote", actor="r.manager"),
            HistoryRow(version="v1", digest=first, at="2026-11-20T15:05:00+01:00", kind="rollback", actor="oncall"),
        ),
        frozen="holidays",
        review_date="2027-02-18",
        differences=("MLflow's alias stable points at v1",),
    )


def test_status() -> None:
    assert status(family()) == STATUS


def test_status_says_how_stable_is_served_where_not_by_itself_alone() -> None:
    served = ("degraded: streams send finals alone", "cascade: b81e90c4d2aa answers from a confidence of 0.8 on")
    lines = status(dataclasses.replace(family(), served=served)).splitlines()
    assert [line for line in lines if line.startswith("  served")] == [
        "  served       degraded: streams send finals alone",
        "  served       cascade: b81e90c4d2aa answers from a confidence of 0.8 on",
    ]


def test_status_of_a_family_without_a_release() -> None:
    assert status(StatusView(family="new")).splitlines() == [
        "new",
        "  stable       none: nothing was promoted yet",
        "  canary       none",
        "  warm         none",
        "",
        "  ledger, pointer and mirror agree",
    ]


def test_waiting_names_the_whole_evidence_in_its_command(release: ReleaseView) -> None:
    assert release.evidence
    text = release_summary(dataclasses.replace(release, outcome="waiting", approvals=()), width=120)
    assert "asr-commands v2  ->  waits for approval" in text
    assert "what settles 1 approval of this evidence" in text
    assert f"--evidence {release.evidence.digest()}" in text
    assert "--decision promote" in text


def test_unfinished_release_says_how_it_goes_on(release: ReleaseView) -> None:
    cut = dataclasses.replace(release, outcome="waiting", evidence=None, approvals=(), events=release.events[:6])
    text = release_summary(cut, width=120)
    assert "asr-commands v2  ->  not finished, last step stage" in text
    assert "do next      soundcheck release asr-commands --candidate DIR goes on where it stopped" in text


def test_rejection_names_person_and_note(release: ReleaseView) -> None:
    approval = release.approvals[0].model_copy(update={"decision": "reject", "note": "not in this week", "mode": "ui"})
    text = release_summary(dataclasses.replace(release, outcome="rejected", approvals=(approval,)), width=120)
    assert "rejected by r.manager (unsigned, typed into the form), stable is unchanged" in text
    assert "what settles not in this week" in text


def test_hold_asks_again(release: ReleaseView) -> None:
    text = release_summary(dataclasses.replace(release, outcome="held", approvals=()), width=120)
    assert "held, no approval was given, stable is unchanged" in text
    assert "asks again, with the evidence kept" in text


def test_canary_stop_names_slice_amount_and_stage(release: ReleaseView) -> None:
    canary = release_documents.canary_report(str(release.bundle), worse=True)
    view = dataclasses.replace(release, outcome="stopped", stopped_at="canary", canary=canary, approvals=())
    lines = release_summary(view, width=160).splitlines()
    assert lines[1] == (
        "  stopped by   canary rollback in stage cohort: wer on accent=scottish is worse by 13.1 points, "
        "lower bound 8.1, margin 5.0"
    )
    assert lines[2] == "  by how much  WER 9.0% -> 22.1% on scottish (+13.1 [+8.1, +18.1], margin 5.0)"
    assert lines[3] == "  on whom      scottish: 94 canary sessions of stage cohort"


def test_stage_stop_names_the_check(release: ReleaseView) -> None:
    assert release.replay
    bad = release_examples.FAIL.model_copy(update={"reasons": ("2 of 12 golden outputs differ",)})
    checks = (release.replay.checks[0].model_copy(update={"verdict": bad}), *release.replay.checks[1:])
    replay = release.replay.model_copy(update={"checks": checks, "golden_equal": 10, "verdict": bad})
    view = dataclasses.replace(release, outcome="stopped", stopped_at="stage", replay=replay, approvals=())
    text = release_summary(view, width=120)
    assert "stopped by   golden outputs (R6.1): 2 of 12 golden outputs differ" in text
    assert "rollback     FAIL  rehearsed in 0.42 s, golden outputs differ (10 of 12)" in text


def test_serving_stop_gives_the_gates_sentences(stop: ReleaseView) -> None:
    assert stop.gate
    assert stop.score
    slow = release_examples.FAIL.model_copy(update={"reasons": ("final p95 512 ms is over its budget of 400 ms",)})
    gate = stop.gate.model_copy(update={"quality": release_documents.PASS, "serving": slow, "verdict": slow})
    text = release_summary(dataclasses.replace(stop, gate=gate), width=120)
    assert "stopped by   serving: final p95 512 ms is over its budget of 400 ms" in text
    assert "on whom      every user of the model" in text


def test_inconclusive_says_what_would_settle_it(stop: ReleaseView) -> None:
    assert stop.score
    assert stop.gate
    open_one = release_documents.comparison(8, "noise=10db", bad=False).model_copy(
        update={"verdict": release_examples.open_verdict("about 31 more speakers would settle it")}
    )
    score = stop.score.model_copy(update={"comparisons": (open_one,)})
    gate = stop.gate.model_copy(update={"quality": open_one.verdict, "verdict": open_one.verdict})
    text = release_summary(dataclasses.replace(stop, score=score, gate=gate), width=120)
    assert "what settles about 31 more speakers would settle it" in text
    assert "add speakers to the slices that are named" in text


def test_terminal_says_what_was_waived_what_it_costs_and_that_the_policy_changed() -> None:
    lines = release_summary(release_examples.rich(), width=120).splitlines()
    assert (
        "  quality      PASS  worst slice scottish, intent recall on commands  -1.7 [-3.1, -0.3], margin 2.0" in lines
    )
    assert (
        "  waived       intent recall on scottish of commands, by r.manager (key 3f9ae12b...): eighteen more speakers "
        "are being"
    ) in lines
    first = next(number for number, line in enumerate(lines) if line.startswith("  exchange"))
    assert lines[first : first + 6] == [
        "  exchange     cost 0.0017 -> 0.0011 USD/audio hour (35% less), peak memory 412 -> 388 MB (6% less), "
        "RTF 0.034 -> 0.021",
        "               (38% less)",
        "               margins of slices that are neither protected nor high-risk are 0.01 wider",
        "               commands/accent=scottish pays intent recall 1.7 points worse (protected)",
        "               and 2 more sentences in the release report",
        "  policy       2 changes since the last release",
    ]


def inconclusive_stop(*, waived: bool) -> ReleaseView:
    view = release_examples.rich()
    assert view.gate
    verdict = release_examples.open_verdict("about 18 more speakers would settle it")
    gate = view.gate.model_copy(update={"quality": verdict, "verdict": verdict, "waivers": ()})
    waivers = view.waivers if waived else ()
    return dataclasses.replace(view, outcome="stopped", stopped_at="gate", gate=gate, waivers=waivers)


def test_inconclusive_comparison_is_named_with_the_command_that_waives_it() -> None:
    view = inconclusive_stop(waived=False)
    assert "stopped by   intent recall on scottish of commands: INCONCLUSIVE" in release_summary(view)
    assert commands(view)[0] == (
        "accept intent recall on scottish of commands",
        "soundcheck waive asr-commands --key KEY --pack commands --slice accent=scottish --metric intent_recall "
        "--reason TEXT",
    )


def test_waived_comparison_is_not_what_stopped_a_release() -> None:
    view = inconclusive_stop(waived=True)
    assert "stopped by   intent recall" not in release_summary(view)
    assert not [one for one in commands(view) if one.line.startswith("soundcheck waive")]


@pytest.mark.parametrize(
    ("slice_name", "baseline", "written"),
    [
        ("accent=us&noise=5db", "stable", "--slice 'accent=us&noise=5db' --metric wer --reason TEXT"),
        ("overall", "parent", "--slice overall --metric wer --baseline parent --reason TEXT"),
    ],
)
def test_waiver_command_can_be_pasted(slice_name: str, baseline: str, written: str) -> None:
    one = release_documents.comparison(3, slice_name, bad=False).model_copy(update={"baseline": baseline})
    assert waive_line("f", one).endswith(written)


@settings(max_examples=60, deadline=None)
@given(width=st.integers(60, 200), which=st.sampled_from(["promoted", "stopped", "nothing", "first"]))
def test_no_line_is_wider_than_the_terminal_unless_one_word_is(width: int, which: str) -> None:
    for line in release_summary(getattr(release_examples, which)(), width=width).splitlines():
        assert len(line) <= width or len(line.split()) <= 3 or "soundcheck " in line


@settings(max_examples=60, deadline=None)
@given(st.text())
def test_no_control_character_of_a_document_reaches_the_terminal(text: str) -> None:
    event = LedgerEvent(
        family="f", sequence=0, previous="0" * 64, at=text, step="capture", outcome="fail", data={"reason": text}
    )
    view = dataclasses.replace(release_examples.nothing(), events=(event,), links={"report": text + "\x1b[2J"})
    shown = release_summary(view)
    assert all(character == "\n" or character.isprintable() or ord(character) >= 160 for character in shown)
