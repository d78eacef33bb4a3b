"""Sums of sessions by window and slice: all that drift detection ever sees of telemetry.

Boundary: pure; arrays of one batch of sessions in, tables of sums out; the caller reads rows and keeps tables.
Invariants: the unit is the session (U1): a cell holds how many there were and the sums, squares and products of their
numerators and denominators, so that the variance of a ratio is that of its linearisation; adding cells adds windows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from monitoring.drift.signals import HISTOGRAMS

OVERALL = "overall"
SUMS = ("n", "x", "w", "xx", "xw", "ww")
KEYS = ("window_s", "slice", "name", "bin")
NO_BIN = -1

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]


class Sessions(NamedTuple):
    """A batch of sessions: `window_s` (n,) start of each one's window, `labels` column -> (n,) values, `sums` signal ->
    ((n,) numerators, (n,) denominators); a session whose denominator is 0 does not count for that signal."""

    window_s: npt.NDArray[np.float64]
    labels: Mapping[str, npt.NDArray[np.object_]]
    sums: Mapping[str, tuple[Floats, Floats]]


class Values(NamedTuple):
    """Single values for histograms: `window_s` (n,), `labels` column -> (n,), `values` name -> (n,), NaN for none."""

    window_s: npt.NDArray[np.float64]
    labels: Mapping[str, npt.NDArray[np.object_]]
    values: Mapping[str, Floats]


def empty() -> pd.DataFrame:
    """A table without a cell."""
    kinds = {"window_s": float, "slice": str, "name": str, "bin": np.int64} | dict.fromkeys(SUMS, float)
    return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in kinds.items()})


def merged(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """One table with a row a cell: cells of the same window, slice and name are added."""
    kept = [table for table in tables if len(table)]
    if not kept:
        return empty()
    return pd.concat(kept).groupby(list(KEYS), sort=True, as_index=False)[list(SUMS)].sum()


def sums_of(sessions: Sessions, slices: Sequence[str], mixes: Sequence[str]) -> pd.DataFrame:
    """The cells of a batch: every signal on the whole and on each value of `slices`; on the whole, the mix of `mixes`.

    A mix `device=phone` has the session's requests with that label over all its requests (signal `requests`).
    """
    parts = []
    for code, names in _parts(sessions.window_s, sessions.labels, slices):
        for signal, (x, w) in sessions.sums.items():
            parts.append(_cells(signal, code, names, x, w))
    asked = sessions.sums["requests"][0]
    for column in mixes:
        if column in sessions.labels:
            parts.append(_mix_cells(column, sessions.window_s, sessions.labels[column], asked))
    return merged(parts)


def histograms_of(values: Values, slices: Sequence[str]) -> pd.DataFrame:
    """How many values fall into each bin of HISTOGRAMS, by window and slice."""
    placed = {name: HISTOGRAMS[name].places(np.nan_to_num(found)) for name, found in values.values.items()}
    known = {name: ~np.isnan(found) for name, found in values.values.items()}
    parts = []
    for code, names in _parts(values.window_s, values.labels, slices):
        for name, places in placed.items():
            bins = len(HISTOGRAMS[name].edges) - 1
            there = known[name] & (code >= 0)
            counts = np.bincount((code * bins + places)[there], minlength=len(names) * bins)
            cell, place = np.divmod(np.flatnonzero(counts), bins)
            parts.append(_table(names.iloc[cell], name, place, n=counts[counts > 0].astype(np.float64)))
    return merged(parts)


def _parts(
    window_s: npt.NDArray[np.float64], labels: Mapping[str, npt.NDArray[np.object_]], slices: Sequence[str]
) -> list[tuple[Codes, pd.DataFrame]]:
    """For the whole and for each slice column: the cell of each element (-1: none), and window and slice by cell."""
    columns = [(OVERALL, None), *((column, labels[column]) for column in slices if column in labels)]
    return [_coded(window_s, column, values) for column, values in columns]


def _coded(
    window_s: npt.NDArray[np.float64], column: str, values: npt.NDArray[np.object_] | None
) -> tuple[Codes, pd.DataFrame]:
    windows, at = np.unique(window_s, return_inverse=True)
    if values is None:
        return at.astype(np.int64), pd.DataFrame({"window_s": windows, "slice": OVERALL})
    codes, known = pd.factorize(values)
    cells = pd.DataFrame(
        {
            "window_s": np.repeat(windows, len(known)),
            "slice": np.tile(np.array([f"{column}={value}" for value in known], dtype=object), len(windows)),
        }
    )
    none = int(np.append(np.flatnonzero(known == "none"), -1)[0])
    return np.where((codes < 0) | (codes == none), -1, at * len(known) + codes).astype(np.int64), cells


def _cells(signal: str, code: Codes, names: pd.DataFrame, x: Floats, w: Floats) -> pd.DataFrame:
    counted = (code >= 0) & (w > 0)
    code, x, w = code[counted], x[counted], w[counted]
    n = np.bincount(code, minlength=len(names)).astype(np.float64)
    there = n > 0
    products = {"x": x, "w": w, "xx": x * x, "xw": x * w, "ww": w * w}
    sums = {name: _totals(code, column, len(names))[there] for name, column in products.items()}
    return _table(names[there], signal, NO_BIN, n=n[there], **sums)


def _totals(code: Codes, column: Floats, cells: int) -> Floats:
    totals: Floats = np.bincount(code, column, cells).astype(np.float64)
    return totals


def _mix_cells(
    column: str, window_s: npt.NDArray[np.float64], values: npt.NDArray[np.object_], asked: Floats
) -> pd.DataFrame:
    """A session has one value of a label: of every other value it has 0 of its requests."""
    code, names = _coded(window_s, OVERALL, None)
    labels, known = pd.factorize(values)
    parts = []
    for number, value in enumerate(known):
        own = np.where(labels == number, asked, 0.0)
        parts.append(_cells(f"mix:{column}={value}", code, names, own, asked))
    return pd.concat(parts) if parts else empty()


def _table(names: pd.DataFrame, signal: str, place: int | Codes, **sums: Floats) -> pd.DataFrame:
    keys = {
        "window_s": names["window_s"].to_numpy(),
        "slice": names["slice"].to_numpy(dtype=object),
        "name": np.full(len(names), signal, dtype=object),
        "bin": np.full(len(names), place) if isinstance(place, int) else place,
    }
    return pd.DataFrame(keys | {name: sums.get(name, np.zeros(len(names))) for name in SUMS}, copy=False)
