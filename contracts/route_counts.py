"""What a cascade's router did on a slice: a part of the score report.

Boundary: no I/O. Source: coverage row 23.
Invariants: counts, never rates (R3.1).
"""

from __future__ import annotations

from pydantic import NonNegativeInt

from contracts.document import Part


class RouteCounts(Part):
    """What the router of a cascade did on a slice.

    Attributes:
        sent_on: utterances that the large model answered.
        small_errors, small_words, large_errors, large_words: word errors of the answers of each model, of so many
            reference words.
        sure_and_wrong: utterances that the small model answered, and not without an error.
    """

    utterances: NonNegativeInt
    sent_on: NonNegativeInt
    small_errors: NonNegativeInt
    small_words: NonNegativeInt
    large_errors: NonNegativeInt
    large_words: NonNegativeInt
    sure_and_wrong: NonNegativeInt
