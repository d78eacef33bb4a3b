"""Quality without labels: how much of traffic is heard exactly, told from its confidence and the packs' calibration.

On a pack it is known how often an utterance of a given confidence is heard exactly. Traffic has a share of utterances
in each such bin; the estimate is the sum of share times accuracy. The interval is what that knowledge is worth: for a
bin the exact binomial bounds (Clopper and Pearson), all bins together at 95% (Bonferroni), and the widest over packs,
since packs that disagree show how little calibration carries over; where no pack utterance had such a confidence,
anything from none to all is possible. It assumes that calibration on packs lies around that of traffic, which nobody
can see without labels: labelled probes can.

Boundary: pure. Source: Garg et al. 2022 and Guillory et al. 2021, accuracy from confidence; statistics U5.
Invariants: the bounds of a change hold accuracy by bin equal before and now: they bound the change of the mix alone; no
calibration or no confidence in traffic means no estimate.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from contracts.drift import QualityEstimate
from contracts.reports import Calibration
from monitoring.drift.signals import HISTOGRAMS

ALPHA = 0.05
Floats = npt.NDArray[np.float64]


def estimate(
    calibrations: Sequence[Calibration], now: npt.NDArray[np.float64], reference: npt.NDArray[np.float64]
) -> QualityEstimate | None:
    """The estimate from utterances by confidence bin, each shape (bins,), `reference` all 0 where there is none."""
    if not calibrations or not now.sum():
        return None
    middle, lower, upper, known = _accuracy(calibrations)
    share = now / now.sum()
    change: tuple[float | None, float | None, float | None] = (None, None, None)
    if reference.sum():
        moved = share - reference / reference.sum()
        change = (
            float(moved @ middle),
            float(np.where(moved > 0, moved * lower, moved * upper).sum()),
            float(np.where(moved > 0, moved * upper, moved * lower).sum()),
        )
    return QualityEstimate(
        estimate=float(share @ middle), lower=float(share @ lower), upper=float(min(share @ upper, 1.0)),
        change=change[0], change_lower=change[1], change_upper=change[2],
        unsupported=float(share[~known].sum()), requests=int(now.sum()),
    )  # fmt: skip


def why_unknown(calibrations: Sequence[Calibration], now: npt.NDArray[np.float64]) -> str:
    """Why `estimate` has nothing to say: quality is unknown then, which never passes; "" where it has."""
    if not calibrations:
        return "the release has no calibration, since its model gives no confidence"
    return "" if now.sum() else "no answer of the stable bundle in the last window has a confidence"


def _accuracy(calibrations: Sequence[Calibration]) -> tuple[Floats, Floats, Floats, npt.NDArray[np.bool_]]:
    """Accuracy by bin: over all packs together, its lowest and highest bound over packs, and whether a pack knows."""
    from scipy.stats import beta

    edges = np.array(HISTOGRAMS["confidence"].edges)
    bins = len(edges) - 1
    right, heard = (np.zeros((len(calibrations), bins)) for _ in range(2))
    for number, one in enumerate(calibrations):
        for part in one.bins:
            at = int(np.clip(np.searchsorted(edges, part.lower + 1e-9, side="right") - 1, 0, bins - 1))
            right[number, at] += round(part.accuracy * part.utterances)
            heard[number, at] += part.utterances
    known = heard.sum(axis=0) > 0
    level = ALPHA / (2 * max(int((heard > 0).sum()), 1))
    low = np.where(right > 0, beta.ppf(level, np.maximum(right, 1), heard - right + 1), 0.0)
    high = np.where(right < heard, beta.ppf(1 - level, right + 1, np.maximum(heard - right, 1)), 1.0)
    lower = np.where(known, np.where(heard > 0, low, 1.0).min(axis=0), 0.0)
    upper = np.where(known, np.where(heard > 0, high, 0.0).max(axis=0), 1.0)
    middle = np.where(known, right.sum(axis=0) / np.maximum(heard.sum(axis=0), 1), 0.5)
    return middle, lower, upper, known
