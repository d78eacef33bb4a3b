"""Command intents: the same intent with the same slots, or not understood."""

from __future__ import annotations

import time

import pytest

from contracts.errors import Refused
from evalpacks.metrics import METRICS
from evalpacks.metrics.intents import MAX_CHARACTERS, Intents
from tests.evalpacks.metrics.evidence_samples import counted, make_evidence

PATTERNS = {
    "light": "turn (?P<state>on|off) the (?:(?P<room>kitchen|office) )?light",
    "call": "call (?P<who>\\w+)",
    "any": "turn .*",
}


@pytest.mark.parametrize(
    ("reference", "hypothesis", "counts"),
    [
        ("turn on the light", "turn on the light", (1, 1)),
        ("turn on the light", "turn off the light", (0, 1)),  # another slot
        ("turn on the kitchen light", "turn on the light", (0, 1)),  # a slot less
        ("call anna", "call anna", (1, 1)),
        ("call anna", "call anna please", (0, 1)),  # a part of the text is not the command
        ("call anna", "", (0, 1)),
        ("call anna", "turn on the light", (0, 1)),
        ("hello there", "hello there", (0, 0)),  # no command
        ("hello there", "call anna", (0, 0)),
        ("turn it up", "turn it down", (1, 1)),  # the pattern `any` has no slot
        ("call anna", "call " + "a" * MAX_CHARACTERS, (0, 1)),
    ],
)
def test_named_commands(reference: str, hypothesis: str, counts: tuple[int, int]) -> None:
    evidence = make_evidence([(reference, hypothesis)], intents=PATTERNS)
    assert counted(METRICS["intent_recall"].measure(evidence)) == [counts]


def test_the_order_of_patterns_means_nothing() -> None:
    backwards = dict(reversed(PATTERNS.items()))
    for text in ("turn on the light", "call ben", "turn", "nothing"):
        assert Intents(PATTERNS).meaning(text) == Intents(backwards).meaning(text)
    assert {intent for intent, _ in Intents(PATTERNS).meaning("turn on the light")} == {"any", "light"}


def test_wording_is_free_where_the_meaning_is_the_same() -> None:
    intents = {"stop": "(?:stop|halt)(?: now)?"}
    evidence = make_evidence([("stop", "halt now")], intents=intents)
    assert counted(METRICS["intent_recall"].measure(evidence)) == [(1, 1)]


def test_a_broken_pattern_is_named() -> None:
    with pytest.raises(Refused) as caught:
        Intents({"light": "turn (on", "call": "call"})
    assert str(caught.value) == (
        "a pattern of an intent is no regular expression\n"
        "  where: pack.yaml: intents.light\n"
        "  got: missing ), unterminated subpattern at position 5\n"
        "  expected: a Python regular expression; named groups are slots\n"
        "  next step: correct pack.yaml"
    )


def test_a_recogniser_that_babbles_does_not_keep_a_pattern_busy() -> None:
    intents = Intents({"slow": "(?:\\w+ ?)+!"})  # exponential in the length of a text that does not match
    began = time.perf_counter()
    assert not intents.meaning("a" * (MAX_CHARACTERS + 1))
    assert time.perf_counter() - began < 1.0
