"""What drift detection is measured beside: PSI and Kolmogorov-Smirnov with fixed thresholds, on the same traffic.

Both compare the distribution of one window with that of the whole reference, stream by stream, and look at nothing
else: no season, no session, no correction for how many streams and days are looked at. PSI above 0.2 and p below
0.01 are the thresholds that most descriptions of them name. They see one value of each session, so that values are
independent.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd

from monitoring.drift.signals import HISTOGRAMS
from monitoring.drift.windows import NO_BIN

PSI_FROM = 0.2
KS_FROM = 1.628
"""Of the scaled distance: p = 0.01."""
NAMES = ("psi_fixed", "ks_fixed")

Alarms = Mapping[tuple[str, str], npt.NDArray[np.bool_]]
"""(signal, slice) -> whether each day alarms."""


def alarms(table: pd.DataFrame, reference: int, days: int, day_s: float, min_sessions: int) -> dict[str, Alarms]:
    """Rule -> alarms by stream: the binned distributions by both, the mixes of labels by PSI."""
    found: dict[str, dict[tuple[str, str], npt.NDArray[np.bool_]]] = {name: {} for name in NAMES}
    binned = table[table["bin"] != NO_BIN]
    for (name, piece), own in binned.groupby(["name", "slice"]):
        counts = np.zeros((days, len(HISTOGRAMS[str(name)].edges) - 1))
        counts[(own["window_s"] // day_s).astype(int), own["bin"].astype(int)] = own["n"]
        found["psi_fixed"][str(name), str(piece)] = _psi(counts, reference, min_sessions) > PSI_FROM
        found["ks_fixed"][str(name), str(piece)] = _ks(counts, reference, min_sessions) > KS_FROM
    mixes = table[table["name"].str.startswith("mix:")]
    for column, own in mixes.groupby(mixes["name"].str.partition("=")[0]):
        values, labels = pd.factorize(own["name"])
        counts = np.zeros((days, len(labels)))
        counts[(own["window_s"] // day_s).astype(int), values] = own["x"]
        found["psi_fixed"][str(column), "overall"] = _psi(counts, reference, min_sessions) > PSI_FROM
    return dict(found)


def _shares(counts: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    shares: npt.NDArray[np.float64] = counts / np.maximum(counts.sum(axis=-1, keepdims=True), 1)
    return shares


def _psi(counts: npt.NDArray[np.float64], reference: int, fewest: int) -> npt.NDArray[np.float64]:
    before = np.maximum(_shares(counts[:reference].sum(axis=0)), 1e-4)
    now = np.maximum(_shares(counts), 1e-4)
    index = ((now - before) * np.log(now / before)).sum(axis=1)
    return np.where(counts.sum(axis=1) >= fewest, index, 0.0)


def _ks(counts: npt.NDArray[np.float64], reference: int, fewest: int) -> npt.NDArray[np.float64]:
    before = np.cumsum(_shares(counts[:reference].sum(axis=0)))
    distance = np.abs(np.cumsum(_shares(counts), axis=1) - before).max(axis=1)
    n, m = counts.sum(axis=1), counts[:reference].sum()
    scaled = distance * np.sqrt(n * m / np.maximum(n + m, 1))
    return np.where(n >= fewest, scaled, 0.0)
