"""What stopped a release, in one line: what spoke against it, and nothing that spoke for it."""

from __future__ import annotations

from dataclasses import replace

from contracts.verdict import Value, Verdict
from pages.stops import stop_of
from pages.view import ReleaseView
from tests.pages import release_examples

LATE = "first audio p95 1284 ms, budget 600 ms: over"
SMALL = "peak memory 301 MB, budget 600 MB: within"
OPEN = "tts-prompts/domain=abbreviation: CER 15.3% -> 17.6%, margin 8.0: undecided"


def stopped(**verdicts: Verdict) -> ReleaseView:
    view = release_examples.promoted()
    assert view.gate is not None
    value = max(verdicts.values(), key=lambda verdict: verdict.value.severity)
    gate = view.gate.model_copy(update={**verdicts, "verdict": value})
    return replace(view, gate=gate, outcome="stopped", stopped_at="gate")


def test_what_is_within_its_budget_stopped_nothing() -> None:
    late = Verdict(value=Value.FAIL, reasons=(LATE, SMALL))
    passed = Verdict(value=Value.PASS, reasons=(SMALL,))
    stop = stop_of(stopped(serving=late, quality=passed, safety=passed))
    assert stop.what == f"serving: {LATE}"


def test_what_is_undecided_did_not_stop_what_failed() -> None:
    late = Verdict(value=Value.FAIL, reasons=(LATE,))
    undecided = Verdict(value=Value.INCONCLUSIVE, reasons=(OPEN,))
    passed = Verdict(value=Value.PASS, reasons=(SMALL,))
    assert stop_of(stopped(serving=late, quality=undecided, safety=passed)).what == f"serving: {LATE}"
