"""What a labelled probe of a family of embeddings came to: was its speaker found.

Boundary: reads the indexes of the family; each is read once.
Invariants: a vector is searched in its own space and in no other; where that space has no index, or the recording is
one that enrolled its speaker, the probe says nothing, and a canary without evidence holds (R7.3).
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from contracts.errors import NotFound
from operations.context import Context
from operations.migration.planning import indexes
from registry import vector_index

if TYPE_CHECKING:
    from serving.asking import Asked
    from serving.traffic import CountProbe, Utterance

BEST = 5
"""A speaker is found who is among so many."""


def speakers_not_found(context: Context, family: str) -> CountProbe:
    """Counts (1, 1) for a probe whose speaker is not among the BEST of its space's index, else (0, 1)."""
    from evalpacks.metrics.embedding import PROBE

    @cache
    def index(space: str) -> vector_index.VectorIndex | None:
        try:
            return vector_index.read(indexes(context, family), space)
        except NotFound:
            return None

    def count(utterance: Utterance, asked: Asked) -> tuple[int, int] | None:
        space, vector = asked.answer.label, np.array(asked.answer.vector, dtype=np.float32)
        known = index(space)
        if known is None or utterance.row["role"] != PROBE:
            return None
        found = {match.key for match in known.search(vector, space=space, count=BEST)}
        return int(utterance.row["speaker"] not in found), 1

    return count
