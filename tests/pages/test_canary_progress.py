"""The artifact of a running canary."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from contracts.live import CanaryProgress
from pages.canary_progress import markdown
from pages.stops import stop_of
from tests.pages import release_examples
from tests.pages.release_documents import canary_report, evidence_rows, looks, name_of


def progress(**changed: Any) -> CanaryProgress:
    fields: dict[str, Any] = {
        "family": "asr-commands", "release": name_of("release"), "version": "v2", "bundle": name_of("bundle"),
        "stable": name_of("stable"), "stage": "cohort", "stages": ("shadow", "cohort", "wide"), "weight": 0.5,
        "started_at": "2026-11-20T13:58:04Z", "looked_at": "2026-11-20T13:58:24Z", "deadline_s": 600.0, "alpha": 0.05,
        "decision": "continue", "reasons": ("accent=us wer: 12 canary sessions of 30 needed",),
        "evidence": evidence_rows(96, "undecided"), "looks": looks(96, bad=False),
    }  # fmt: skip
    return CanaryProgress.model_validate(fields | changed)


def test_it_says_the_decision_the_allocation_and_how_long() -> None:
    lines = markdown(progress(), live="http://127.0.0.1:8080").splitlines()
    assert lines[0] == "**? GOES ON** canary v2 in stage cohort (2 of 3): it answers 50% of the cohort's sessions"
    assert lines[2].startswith("20.0 s of 10 min 00 s, looked at 2026-11-20 13:58:24 UTC; bundle `")
    assert "- accent=us wer: 12 canary sessions of 30 needed" in lines
    assert lines[-1] == "[Live page of the gateway, with the pictures](http://127.0.0.1:8080)"


def test_each_pair_has_its_line_over_time_and_what_is_worse_stands_first() -> None:
    shown = markdown(progress(decision="rollback", evidence=evidence_rows(96, "worse"), looks=looks(96, bad=True)))
    assert shown.startswith("**\u2717 ROLLBACK**")
    rows = [line for line in shown.splitlines() if line.startswith("| ") and "| WER |" in line]
    assert rows[0].startswith("| scottish | WER | 9.0% | 22.1% |")
    assert "\u2581" in rows[0]
    assert "\u2588" in rows[0]
    assert len(rows) == 6


def test_before_the_first_evidence_there_is_no_table_and_no_time() -> None:
    shown = markdown(progress(evidence=(), looks=(), reasons=("no telemetry yet",)))
    assert "|" not in shown
    assert "0.00 s of 10 min 00 s" in shown


def test_a_reason_cannot_open_a_tag() -> None:
    assert "<b>" not in markdown(progress(reasons=("<b>wer</b>",)))


def test_a_partial_rollback_says_which_slice_although_later_stages_held() -> None:
    release = release_examples.promoted()
    report = canary_report(str(release.bundle))
    shadow, cohort, wide = report.stages
    partial = cohort.model_copy(update={"decision": "partial_rollback", "evidence": evidence_rows(96, "worse")})
    stopped = report.model_copy(update={"stages": (shadow, partial, wide), "decision": "partial_rollback"})
    stop = stop_of(replace(release, canary=stopped, outcome="stopped", stopped_at="canary"))
    assert stop.what.startswith("canary partial rollback in stage cohort: ")
    assert stop.whom == "scottish: 94 canary sessions of stage cohort"
