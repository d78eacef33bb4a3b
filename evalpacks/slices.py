"""Named slices of a pack: `overall`, `column=value`, `column=value&column=value`.

Boundary: pure; a table and names in, masks out.
Invariants: a slice that names a column the table does not have is a wrong call, one that selects nothing is an empty
mask (its verdict is Inconclusive, R4.2); the values of one column part the table, so counts add up over them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from contracts.errors import WrongCall

if TYPE_CHECKING:
    import pandas as pd

OVERALL = "overall"

Mask = npt.NDArray[np.bool_]
"""Which utterances are in a slice, shape (utterances,)."""


def parse(name: str) -> dict[str, str]:
    """Column -> value of a slice name, empty for `overall`; raises WrongCall for a malformed name.

    >>> parse("accent=us&noise=5db")
    {'accent': 'us', 'noise': '5db'}
    """
    if name == OVERALL:
        return {}
    terms: dict[str, str] = {}
    for term in name.split("&"):
        column, equals, value = term.partition("=")
        if not column or not equals or not value or column in terms:
            raise WrongCall(
                "a slice name is malformed", got=repr(name), expected="overall or column=value&column=value"
            )
        terms[column] = value
    return terms


def slice_masks(utterances: pd.DataFrame, names: Iterable[str]) -> dict[str, Mask]:
    """Name -> mask, shape (utterances,); raises WrongCall for a malformed name or a column that is not there."""
    columns: dict[str, npt.NDArray[np.object_]] = {}
    masks: dict[str, Mask] = {}
    for name in names:
        mask = np.ones(len(utterances), dtype=np.bool_)
        for column, value in parse(name).items():
            if column not in columns:
                columns[column] = _labels(utterances, column)
            mask &= columns[column] == value
        masks[name] = mask
    return masks


def slice_names(utterances: pd.DataFrame, columns: Sequence[str]) -> list[str]:
    """Every slice of every column, sorted by value; `a&b` is a column of its own: each combination that occurs.

    Missing values belong to no slice.
    """
    names: list[str] = []
    for column in columns:
        parts = column.split("&")
        labels = [_labels(utterances, part) for part in parts]
        values = [sorted({label for label in found if isinstance(label, str)}) for found in labels]
        for combination in product(*values):
            mask = np.logical_and.reduce([found == value for found, value in zip(labels, combination, strict=True)])
            if mask.any():
                names.append("&".join(f"{part}={value}" for part, value in zip(parts, combination, strict=True)))
    return names


def _labels(utterances: pd.DataFrame, column: str) -> npt.NDArray[np.object_]:
    if column not in utterances.columns:
        raise WrongCall(
            "a slice names a column that is not there", got=repr(column), expected=_listed(map(str, utterances.columns))
        )
    return utterances[column].to_numpy(dtype=object)


def _listed(columns: Iterable[str]) -> str:
    return "one of " + ", ".join(sorted(columns))
