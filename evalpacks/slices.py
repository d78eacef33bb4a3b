"""Named slices of a pack: `overall`, `column=value`, `column=value&column=value`.

Boundary: pure; a table and names in, masks out.
Invariants: a slice that names a column the table does not have is a wrong call, one that selects nothing is an empty
mask (its verdict is Inconclusive, R4.2); the values of one column part the table, so counts add up over them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from contracts.errors import WrongCall

if TYPE_CHECKING:
    import pandas as pd

OVERALL = "overall"

_NOWHERE = -2
"""No code; -1 is that of a missing value."""

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
    columns: dict[str, _Labels] = {}
    masks: dict[str, Mask] = {}
    for name in names:
        mask = np.ones(len(utterances), dtype=np.bool_)
        for column, value in parse(name).items():
            if column not in columns:
                columns[column] = _labels(utterances, column)
            mask &= columns[column].mask(value)
        masks[name] = mask
    return masks


def slice_names(utterances: pd.DataFrame, columns: Sequence[str]) -> list[str]:
    """Every slice of every column, sorted by value; `a&b` is a column of its own: each combination that occurs.

    Missing values belong to no slice.
    """
    names: list[str] = []
    for column in columns:
        parts = column.split("&")
        _refuse_unknown(utterances, parts)
        rows = utterances[parts].drop_duplicates().itertuples(index=False, name=None)
        for values in sorted(row for row in rows if all(isinstance(value, str) for value in row)):
            names.append("&".join(f"{part}={value}" for part, value in zip(parts, values, strict=True)))
    return names


def slice_sums(masks: Mapping[str, Mask], counts: Sequence[npt.NDArray[np.int64]]) -> dict[str, list[int]]:
    """Name -> the sum of each of `counts` (utterances,) over the slice; exact below 2**53."""
    table = np.array(counts, dtype=np.float64)  # in floating point all sums of a slice are one fast product
    return {name: [int(total) for total in table @ mask] for name, mask in masks.items()}


class _Labels(NamedTuple):
    """A column as codes (utterances,) into its values; comparing numbers is many times faster than comparing texts."""

    codes: npt.NDArray[np.intp]
    values: list[object]

    def mask(self, value: str) -> Mask:
        wanted = self.values.index(value) if value in self.values else _NOWHERE
        mask: Mask = self.codes == wanted
        return mask


def _labels(utterances: pd.DataFrame, column: str) -> _Labels:
    import pandas as pd

    _refuse_unknown(utterances, [column])
    codes, values = pd.factorize(utterances[column])
    return _Labels(codes, list(values))


def _refuse_unknown(utterances: pd.DataFrame, columns: Iterable[str]) -> None:
    for column in columns:
        if column not in utterances.columns:
            known = "one of " + ", ".join(sorted(map(str, utterances.columns)))
            raise WrongCall("a slice names a column that is not there", got=repr(column), expected=known)
