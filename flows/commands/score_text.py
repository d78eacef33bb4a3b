"""What `soundcheck score` prints for a person: the verdict and why, then a row for each slice.

Boundary: no I/O; the result of `score_transcripts` in, lines out.
Invariants: the verdict comes first; a number that does not exist is a dash, never a zero.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flows.commands.pack_text import columns

_COUNTS = {"substitutions": "S", "deletions": "D", "insertions": "I", "reference_words": "words"}


def score_lines(report: dict[str, Any]) -> Iterator[str]:
    """The lines of a result; differences stand in it where there is a baseline."""
    if report["verdict"] is not None:
        yield from _verdict_lines(report["verdict"])
    compared = bool(report["delta"])
    header = ["slice", "WER", *(["baseline", "difference", "bounds"] if compared else []), *_COUNTS.values()]
    rows = []
    for name, words in {"overall": report["overall"], **report["slices"]}.items():
        against = _against(words["wer"], report["delta"][name]["wer"]) if compared else []
        rows.append([name, _percent(words["wer"]), *against, *(f"{words[count]:,}" for count in _COUNTS)])
    yield from columns(header, rows)


def _verdict_lines(verdict: dict[str, Any]) -> Iterator[str]:
    """A pass says in one line what holds of every slice; anything else gives each reason."""
    if verdict["value"] == "pass":
        slices = len(verdict["reasons"])
        yield f"pass: no worse than the baseline within the margin, {slices} of {slices} slices"
    else:
        yield verdict["value"]
        yield from (f"  {reason}" for reason in verdict["reasons"])
    yield ""


def _against(rate: float | None, difference: dict[str, float | None]) -> list[str]:
    """The baseline's WER, the difference in points, and its simultaneous bounds."""
    estimate = difference["estimate"]
    baseline = None if rate is None or estimate is None else rate - estimate
    bounds = f"[{_points(difference['lower'])}, {_points(difference['upper'])}]"
    return [_percent(baseline), _points(estimate), bounds]


def _percent(rate: float | None) -> str:
    return "-" if rate is None else f"{rate:.2%}"


def _points(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:+.2f}"
