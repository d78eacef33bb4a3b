"""A linear map of old vectors into a new space, and what it costs.

Boundary: pure; vectors in, a matrix and counts out.
Invariants: the map is fitted on some speakers and measured on others, against all voiceprints of the new space.
Method: ridge regression of new on old vectors, both of length 1; the penalty is RIDGE times the mean variance of a
component, so that it has no unit. Source: backward-compatible embeddings by a learned transformation, as in Chen et al.
2019, "R3 Adversarial Network for Cross Model Face Recognition", here its linear form.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from contracts.migration import RecallCount

Vectors = npt.NDArray[np.float32]

RIDGE = 0.1


def fit(old: Vectors, new: Vectors) -> Vectors:
    """The matrix (new dimension, old dimension) that takes old vectors (pairs, dimension) nearest to the new ones."""
    gram = old.astype(np.float64).T @ old
    penalty = RIDGE * np.trace(gram) / len(gram)
    solved = np.linalg.solve(gram + penalty * np.eye(len(gram)), old.astype(np.float64).T @ new)
    matrix: Vectors = solved.T.astype(np.float32)
    return matrix


def mapped(matrix: Vectors, vectors: Vectors) -> Vectors:
    """Vectors (count, old dimension) in the new space, of length 1."""
    there = vectors @ matrix.T
    unit: Vectors = (there / np.linalg.norm(there, axis=1, keepdims=True)).astype(np.float32)
    return unit


def recall(found: Sequence[str | None], wanted: Sequence[str]) -> RecallCount:
    """How many probes found their own speaker first."""
    return RecallCount(found=sum(a == b for a, b in zip(found, wanted, strict=True)), probes=len(wanted))
