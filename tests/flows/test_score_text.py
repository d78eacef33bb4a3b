"""What `soundcheck score` prints for a person."""

from __future__ import annotations

from typing import Any

import pytest

from flows.commands.score_text import score_lines

WORDS = {"wer": 0.25, "substitutions": 1200, "deletions": 30, "insertions": 20, "reference_words": 5000}
SILENT = {"wer": None, "substitutions": 0, "deletions": 0, "insertions": 7, "reference_words": 0}
ALONE: dict[str, Any] = {"overall": WORDS, "slices": {"accent=us": SILENT}, "delta": {}, "verdict": None}
COMPARED: dict[str, Any] = ALONE | {
    "delta": {
        "overall": {"wer": {"estimate": 0.05, "lower": 0.041, "upper": 0.0625}},
        "accent=us": {"wer": {"estimate": None, "lower": None, "upper": None}},
    },
    "verdict": {"value": "fail", "reasons": ["overall: WER 20.0% -> 25.0%: worse"]},
}


def test_without_a_baseline_there_is_no_verdict_and_no_difference() -> None:
    assert list(score_lines(ALONE)) == [
        "  slice         WER      S   D   I  words",
        "  overall    25.00%  1,200  30  20  5,000",
        "  accent=us       -      0   0   7      0",
    ]


def test_with_a_baseline_the_verdict_comes_first_and_differences_are_in_points() -> None:
    assert list(score_lines(COMPARED)) == [
        "fail",
        "  overall: WER 20.0% -> 25.0%: worse",
        "",
        "  slice         WER  baseline  difference          bounds      S   D   I  words",
        "  overall    25.00%    20.00%       +5.00  [+4.10, +6.25]  1,200  30  20  5,000",
        "  accent=us       -         -           -          [-, -]      0   0   7      0",
    ]


@pytest.mark.parametrize("value", ["inconclusive", "fail"])
def test_what_is_no_pass_gives_every_reason(value: str) -> None:
    lines = list(score_lines(COMPARED | {"verdict": {"value": value, "reasons": ["one", "two"]}}))
    assert lines[:4] == [value, "  one", "  two", ""]


def test_a_pass_is_one_line() -> None:
    lines = list(score_lines(COMPARED | {"verdict": {"value": "pass", "reasons": ["one", "two"]}}))
    assert lines[:2] == ["pass: no worse than the baseline within the margin, 2 of 2 slices", ""]
