"""The drill-down of a report: errors of a slice by class, and which word was heard as which.

Boundary: pure; evidence in, parts of a ScoreReport out.
Invariants: `edit_classes` are counts and safe to show anywhere; `confusions` hold words that were said, so they are
for packs whose `show_transcripts` is true alone, and the caller looks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np

from contracts.reports import Confusion, EditClasses
from evalpacks.metrics.alignment import align
from evalpacks.metrics.entities import entity_errors
from evalpacks.metrics.metric import Evidence
from evalpacks.slices import Mask

SHORT_WORDS = 2
"""Utterances of up to so many reference words are short: they have no context that helps."""

CONFUSIONS = 20


def edit_classes(evidence: Evidence, masks: Mapping[str, Mask]) -> dict[str, EditClasses]:
    """The errors of each slice by class; `masks` are the utterances of each, (utterances,)."""
    edits = evidence.words
    short = np.where(edits.reference_words <= SHORT_WORDS, edits.errors, 0)
    errors = entity_errors(evidence)
    words = None if errors is None else np.array([one.words for one in errors])
    unheard = None if errors is None else np.array([one.unheard_words for one in errors])
    return {
        name: EditClasses(
            substitutions=int(edits.substitutions[mask].sum()),
            deletions=int(edits.deletions[mask].sum()),
            insertions=int(edits.insertions[mask].sum()),
            short=int(short[mask].sum()),
            entity=None if unheard is None else int(unheard[mask].sum()),
            entity_words=None if words is None else int(words[mask].sum()),
        )
        for name, mask in masks.items()
    }


def confusions(evidence: Evidence, *, top: int = CONFUSIONS) -> tuple[Confusion, ...]:
    """The most frequent pairs of a reference word and the word heard for it, ties in order of the words."""
    pairs: Counter[tuple[str, str]] = Counter()
    for place in np.flatnonzero(evidence.words.substitutions).tolist():
        said, heard = evidence.references[place].split(), evidence.hypotheses[place].split()
        pairs.update(
            (said[column.reference], heard[column.hypothesis])
            for column in align(said, heard)
            if column.reference is not None and column.hypothesis is not None and not column.equal
        )
    ordered = sorted(pairs.items(), key=lambda item: (-item[1], item[0]))
    return tuple(Confusion(reference=said, hypothesis=heard, count=count) for (said, heard), count in ordered[:top])
