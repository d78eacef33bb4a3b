"""Redaction: what the API takes out of every answer before it leaves.

Boundary: pure; text in, text out. Source: coverage rows 3 and 30, release-algorithm R4.8 and R6.6.
Invariants: `redact(redact(text)) == redact(text)`; text without private runs is returned unchanged; the words that a
partial calls committed stay the same when more is heard.

The rules are a bundle's `safety_filters.json`:
    redact_digits_over   int or null: a run of more digits than this becomes `[number]`; digits may be written or
                         spoken ("five", "oh"), and separated by spaces, dots, dashes or brackets; null: off
    redact_emails        bool, true unless it says otherwise: `a@b.org`, "a at b dot org", "a at b.org" become `[email]`
An empty rule set (no file) redacts nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

Filters = Mapping[str, Any]

NUMBER = "[number]"
EMAIL = "[email]"

_SPOKEN = r"\b(?:zero|oh|one|two|three|four|five|six|seven|eight|nine)\b"
_DIGIT = rf"(?:\d|{_SPOKEN})"
_GAP = r"[\s.,()/-]{0,3}"
_OPEN_GAP = re.compile(_GAP)
_RUN = re.compile(rf"\+?{_DIGIT}(?:{_GAP}{_DIGIT})*", re.IGNORECASE)
_ONE = re.compile(_DIGIT, re.IGNORECASE)
_NAME = r"[\w.+-]+"
_EMAIL = re.compile(
    rf"{_NAME}@[\w-]+(?:\.[\w-]+)+|\b{_NAME} at [\w-]+(?:(?: dot |\.)[a-z][\w-]+)+\b",
    re.IGNORECASE,
)
_OPEN_EMAIL = re.compile(r"\S+(?:\s+at(?:\s+\S+(?:\s+dot(?:\s+\S+)?)*)?)?$", re.IGNORECASE)

Span = tuple[int, int, str]


def _spans(text: str, filters: Filters) -> list[Span]:
    """Where private runs stand, in order, and what takes their place."""
    if not filters:
        return []
    spans: list[Span] = []
    if filters.get("redact_emails", True):
        spans += [(match.start(), match.end(), EMAIL) for match in _EMAIL.finditer(text)]
    limit = filters.get("redact_digits_over")
    if limit is not None:
        edges = [0, *(edge for start, end, _ in spans for edge in (start, end)), len(text)]
        for begin, end in zip(edges[::2], edges[1::2], strict=True):
            for match in _RUN.finditer(text, begin, end):
                if len(_ONE.findall(match.group())) > int(limit):
                    spans.append((match.start(), match.end(), NUMBER))
    return sorted(spans)


def redact(text: str, filters: Filters) -> str:
    """The text with every private run replaced."""
    for start, end, mask in reversed(_spans(text, filters)):
        text = text[:start] + mask + text[end:]
    return text


def leaks(text: str, filters: Filters) -> int:
    """How many private runs, by these filters, stand in a text that is about to leave."""
    return len(_spans(text, filters))


def redact_words(words: Sequence[Sequence[Any]], filters: Filters) -> list[list[Any]]:
    """Timed words ([word, start, end, confidence]) with each private run merged into one masked word."""
    spans = _spans(" ".join(word[0] for word in words), filters)
    if not spans:
        return [list(word) for word in words]
    kept: list[list[Any]] = []
    masked: Span | None = None
    position = 0
    for word in words:
        begin, end = position, position + len(word[0])
        position = end + 1
        span = next((span for span in spans if span[0] < end and begin < span[1]), None)
        if span is None:
            kept.append(list(word))
        elif span == masked:
            kept[-1][2] = word[2]
        else:
            kept.append([span[2], word[1], word[2], None])
        masked = span
    return kept


def redact_partial(text: str, committed: int, filters: Filters) -> tuple[str, int]:
    """A partial and its committed words, redacted: what may still grow into a private run is not committed yet."""
    if not filters:
        return text, committed
    prefix = " ".join(text.split()[:committed])
    if filters.get("redact_digits_over") is not None:
        runs = list(_RUN.finditer(prefix))
        if runs and _OPEN_GAP.fullmatch(prefix, runs[-1].end()):
            prefix = prefix[: runs[-1].start()]
    if filters.get("redact_emails", True):
        prefix = _OPEN_EMAIL.sub("", prefix.rstrip())
    # What is cut off may have ended within a private run: half of a run does not count as the words that it hides.
    cut = next((start for start, end, _ in _spans(text, filters) if start < len(prefix) < end), len(prefix))
    return redact(text, filters), len(redact(prefix[:cut], filters).split())
