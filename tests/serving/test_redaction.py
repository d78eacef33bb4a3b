from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from serving.redaction import leaks, redact, redact_partial, redact_words

FILTERS = {"redact_digits_over": 5, "redact_emails": True}

TEXTS = st.lists(
    st.sampled_from(
        [
            "call",
            "me",
            "at",
            "dot",
            "com",
            "example",
            "jane",
            "five",
            "oh",
            "nine",
            "12",
            "4411",
            "7",
            "a@b.org",
            "+44",
            "(0)",
            "-",
        ]
    ),
    max_size=14,
).map(" ".join)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("call me on 0171 555 0199 please", "call me on [number] please"),
        ("my card is 4111 1111 1111 1111", "my card is [number]"),
        ("+44 (171) 555-0199", "[number]"),
        ("write to jane.roe@example.com today", "write to [email] today"),
        ("write to jane at example dot co dot uk", "write to [email]"),
        ("account 99887766 is mine", "account [number] is mine"),
        ("dial five five five oh one nine nine", "dial [number]"),
        ("set the timer to 12345 seconds", "set the timer to 12345 seconds"),
        ("meet me at noon", "meet me at noon"),
        ("turn on one lamp", "turn on one lamp"),
        ("99887766 5a@b.org", "[number] [email]"),
        ("", ""),
    ],
)
def test_what_is_taken_out(text: str, expected: str) -> None:
    assert redact(text, FILTERS) == expected
    assert leaks(redact(text, FILTERS), FILTERS) == 0


def test_rules_are_the_bundles_own() -> None:
    text = "call 12345678 or a@b.org"
    assert redact(text, {}) == text
    assert redact(text, {"redact_digits_over": None, "redact_emails": False}) == text
    assert redact(text, {"redact_digits_over": 5}) == "call [number] or [email]"
    assert leaks(text, FILTERS) == 2


@given(TEXTS)
def test_law_redacting_twice_changes_nothing_more(text: str) -> None:
    once = redact(text, FILTERS)
    assert redact(once, FILTERS) == once
    assert leaks(once, FILTERS) == 0


@given(TEXTS)
def test_law_words_and_text_are_redacted_alike(text: str) -> None:
    text = " ".join(text.replace("(0)", "0").split())
    words: list[list[Any]] = [[word, float(index), index + 1.0, 0.5] for index, word in enumerate(text.split())]
    kept = redact_words(words, FILTERS)
    assert " ".join(word[0] for word in kept) == redact(text, FILTERS)
    assert all(first[2] <= second[1] for first, second in pairwise(kept))


@example("five five 4411 +44 4411")  # what may still grow ends within a run
@given(TEXTS)
def test_law_committed_words_stay_when_more_is_heard(text: str) -> None:
    words = text.split()
    shown: list[str] = []
    for heard in range(len(words) + 1):
        partial, committed = redact_partial(" ".join(words[:heard]), heard, FILTERS)
        assert partial.split()[:committed][: len(shown)] == shown
        shown = partial.split()[:committed]
    assert redact(" ".join(words), FILTERS).split()[: len(shown)] == shown


def test_a_masked_word_spans_its_words() -> None:
    words = [["five", 0.0, 0.5, 0.9], *[["one", 0.5 + i / 2, 1 + i / 2, 0.9] for i in range(6)], ["end", 4.0, 4.5, 0.8]]
    assert redact_words(words, FILTERS) == [["[number]", 0.0, 3.5, None], ["end", 4.0, 4.5, 0.8]]
