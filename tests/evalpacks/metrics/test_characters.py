"""Character errors: what a character is, and the counts of U3 over them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalpacks.metrics import METRICS
from evalpacks.metrics.characters import character_edits
from evalpacks.metrics.words import edit_counts
from tests.evalpacks.metrics.evidence_samples import counted, make_evidence

Text = st.text("ab ", max_size=8)


@pytest.mark.parametrize(
    ("reference", "hypothesis", "edits"),
    [
        ("", "", (0, 0, 0, 0)),
        ("light", "light", (0, 0, 0, 5)),
        ("light", "lights", (0, 0, 1, 5)),
        ("light", "night", (1, 0, 0, 5)),
        ("ice cream", "icecream", (0, 1, 0, 9)),  # the space is a character
        ("a b", "b a", (2, 0, 0, 3)),
        ("  a   b ", "a b", (0, 0, 0, 3)),  # outer and repeated spaces are none
        ("caf\u00e9", "cafe", (1, 0, 0, 4)),  # a composed letter is one code point
        ("\u0915\u093f", "\u0915", (0, 1, 0, 2)),  # a vowel sign is one of its own
        ("\u4f60\u597d", "\u4f60", (0, 1, 0, 2)),
        ("", "ab", (0, 0, 2, 0)),
    ],
)
def test_named_pairs(reference: str, hypothesis: str, edits: tuple[int, int, int, int]) -> None:
    counts = character_edits([reference], [hypothesis])
    assert tuple(int(count[0]) for count in counts) == edits


def test_the_rate_is_over_characters_of_the_references() -> None:
    evidence = make_evidence([("turn on", "turn in"), ("stop", "")])
    assert counted(METRICS["cer"].measure(evidence)) == [(1, 7), (4, 4)]


@given(reference=Text, hypothesis=Text)
@settings(deadline=None)
def test_a_hypothesis_that_is_no_longer_has_at_most_as_many_errors_as_characters(
    reference: str, hypothesis: str
) -> None:
    longer, shorter = sorted((reference, hypothesis), key=lambda text: len(" ".join(text.split())), reverse=True)
    edits = character_edits([longer], [shorter])
    assert edits.errors[0] <= edits.reference_words[0]


@given(reference=Text, hypothesis=Text)
@settings(deadline=None)
def test_characters_in_error_are_at_least_words_in_error(reference: str, hypothesis: str) -> None:
    """Each word edit changes a character at least: no text is nearer in words than in characters."""
    words = edit_counts([reference], [hypothesis])
    characters = character_edits([reference], [hypothesis])
    assert (words.errors[0] == 0) == (characters.errors[0] == 0)
    assert words.errors[0] <= 2 * characters.errors[0]  # one space less joins two words: two word edits
