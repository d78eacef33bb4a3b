"""Which word was heard as which: an alignment with its path, for what counts alone cannot say.

Boundary: pure.
Invariants: of all alignments with the fewest edits one with the fewest substitutions (U3), so its counts equal
metrics.words; which of those is fixed: common first and last words are aligned, then, from the end, a pair goes before
a deletion and a deletion before an insertion.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

_EDIT = 1 << 32
"""Cost of an edit against that of a substitution: one number orders alignments as U3 asks."""


class Column(NamedTuple):
    """One column of an alignment: places of a reference and a hypothesis word, None where there is none."""

    reference: int | None
    hypothesis: int | None
    equal: bool


def align(reference: Sequence[str], hypothesis: Sequence[str]) -> list[Column]:
    """The columns of the alignment of two lists of words, in order.

    >>> [(place, other) for place, other, _ in align("turn the light on".split(), "turn light off".split())]
    [(0, 0), (1, None), (2, 1), (3, 2)]
    """
    shorter = min(len(reference), len(hypothesis))
    first = last = 0
    while first < shorter and reference[first] == hypothesis[first]:
        first += 1
    while last < shorter - first and reference[-1 - last] == hypothesis[-1 - last]:
        last += 1
    middle = _middle(reference[first : len(reference) - last], hypothesis[first : len(hypothesis) - last])
    shifted = [
        Column(None if one is None else one + first, None if other is None else other + first, equal)
        for one, other, equal in middle
    ]
    beginning = [Column(place, place, True) for place in range(first)]
    end = [Column(len(reference) - back, len(hypothesis) - back, True) for back in range(last, 0, -1)]
    return beginning + shifted + end


def _middle(reference: Sequence[str], hypothesis: Sequence[str]) -> list[Column]:
    costs = _costs(reference, hypothesis)
    columns = []
    row, place = len(reference), len(hypothesis)
    while row or place:
        cost = costs[row][place]
        equal = bool(row and place) and reference[row - 1] == hypothesis[place - 1]
        if row and place and cost == costs[row - 1][place - 1] + (0 if equal else _EDIT + 1):
            row, place = row - 1, place - 1
            columns.append(Column(row, place, equal))
        elif row and cost == costs[row - 1][place] + _EDIT:
            row -= 1
            columns.append(Column(row, None, False))
        else:
            place -= 1
            columns.append(Column(None, place, False))
    return columns[::-1]


def _costs(reference: Sequence[str], hypothesis: Sequence[str]) -> list[list[int]]:
    """Least cost of every pair of beginnings, (reference words + 1, hypothesis words + 1)."""
    rows = [[place * _EDIT for place in range(len(hypothesis) + 1)]]
    for word in reference:
        above = rows[-1]
        row = [above[0] + _EDIT]
        for place, other in enumerate(hypothesis):
            pair = above[place] + (0 if word == other else _EDIT + 1)
            row.append(min(pair, above[place + 1] + _EDIT, row[place] + _EDIT))
        rows.append(row)
    return rows
