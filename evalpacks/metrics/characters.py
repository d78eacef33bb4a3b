"""Character errors: the edits of WER over characters instead of words.

Boundary: pure; normalised texts in, counts per utterance out.
Invariants: a character is a Unicode code point of the normalised text; one space between two words is a character, so
that "icecream" for "ice cream" is one error; outer and repeated spaces are none.
Source: the character error rate of ICDAR and CHiME scoring, aligned as U3 says.
"""

from __future__ import annotations

import numpy as np

from evalpacks.metrics.metric import Counts, Evidence, Metric
from evalpacks.metrics.words import WordEdits, edit_counts

_SPACE = "\ue000"
"""Stands for a space among characters that are parted by spaces: a private code point, which no normaliser yields."""


def character_edits(references: list[str], hypotheses: list[str]) -> WordEdits:
    """S, D, I and N of each pair of normalised texts, in characters.

    >>> character_edits(["ice cream"], ["icecreams"]).errors.tolist()
    [2]
    """
    return edit_counts([_spelled(text) for text in references], [_spelled(text) for text in hypotheses])


def _spelled(text: str) -> str:
    return " ".join(_SPACE.join(text.split()))


def _measure(evidence: Evidence) -> Counts:
    edits = character_edits(evidence.references, evidence.hypotheses)
    return Counts(edits.errors.astype(np.float64), edits.reference_words.astype(np.float64))


CER = Metric("cer", "CER", "lower", _measure, 100.0, "%", " points", "reference characters")
