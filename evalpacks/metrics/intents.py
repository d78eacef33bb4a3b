"""Command intent recall: was the command understood, its slots included.

Boundary: pure; the pattern table of a pack (PackMeta.intents) and normalised texts in, counts per utterance out.
Invariants: a text means what all patterns say that match the whole of it, so that their order is nothing; an
utterance counts where its reference means something, and is right where the hypothesis means the same; a text longer
than `MAX_CHARACTERS` means nothing, so a recogniser that babbles costs no more than a long command does. A pattern that
is exponential in a command's length (a repetition of a repetition) is a fault of the pack, which nothing here bounds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from contracts.errors import Refused
from evalpacks.metrics.metric import Counts, Evidence, Metric

MAX_CHARACTERS = 400
"""Longer texts are no commands."""

Meaning = frozenset[tuple[str, tuple[tuple[str, str], ...]]]
"""(intent, its slots as (name, text) in order of names) of every pattern that matches."""


class Intents:
    """A compiled pattern table; raises Refused for a pattern that is no regular expression."""

    def __init__(self, patterns: Mapping[str, str]) -> None:
        self._patterns = {intent: _compiled(intent, pattern) for intent, pattern in patterns.items()}
        self._known: dict[str, Meaning] = {}

    def meaning(self, text: str) -> Meaning:
        """What a normalised text means, empty where it is no command.

        >>> sorted(Intents({"light": "turn (?P<state>on|off) the light"}).meaning("turn on the light"))
        [('light', (('state', 'on'),))]
        """
        if text not in self._known:
            self._known[text] = frozenset(self._readings(text) if len(text) <= MAX_CHARACTERS else ())
        return self._known[text]

    def _readings(self, text: str) -> list[tuple[str, tuple[tuple[str, str], ...]]]:
        matches = [(intent, pattern.fullmatch(text)) for intent, pattern in self._patterns.items()]
        return [
            (intent, tuple(sorted((name, words) for name, words in match.groupdict().items() if words is not None)))
            for intent, match in matches
            if match is not None
        ]


def _compiled(intent: str, pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise Refused(
            "a pattern of an intent is no regular expression",
            where=f"pack.yaml: intents.{intent}",
            got=str(error),
            expected="a Python regular expression; named groups are slots",
            next_step="correct pack.yaml",
        ) from None


def _measure(evidence: Evidence) -> Counts | None:
    if not evidence.intents:
        return None
    intents = Intents(evidence.intents)
    wanted = [intents.meaning(text) for text in evidence.references]
    heard = [intents.meaning(text) for text in evidence.hypotheses]
    asked = np.array([bool(meaning) for meaning in wanted], dtype=np.float64)
    right = np.array([a == b for a, b in zip(wanted, heard, strict=True)], dtype=np.float64)
    return Counts(asked * right, asked)


INTENT_RECALL = Metric("intent_recall", "intent recall", "higher", _measure, 100.0, "%", " points", "commands")
