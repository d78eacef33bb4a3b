"""Distributions of latencies, and the real-time factor.

Boundary: pure; measured values in, figures out.
Invariants: a quantile has its interval, or None where so few values do not bound it; NaN is not a latency and is left
out by the caller, who knows what it means. Source of the intervals: evalpacks.statistics.quantiles.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from contracts.errors import WrongCall
from contracts.reports import CURVE, Quantiles
from evalpacks.metrics.metric import Floats
from evalpacks.statistics.quantiles import quantile_interval


def quantiles(values: npt.ArrayLike, *, speakers: npt.NDArray[np.int64] | None = None) -> Quantiles:
    """p50, p95, p99 with 95% intervals, maximum and curve of values (n,), n at least 1, in their own unit.

    The intervals take the values for independent, or with `speakers` (codes 0, 1, ..., one a value) the speakers (U1).
    Quantiles between two values are interpolated. Raises WrongCall for no values, and for values that are not finite.
    """
    array: Floats = np.asarray(values, dtype=np.float64)
    if array.size == 0 or not np.isfinite(array).all():
        raise WrongCall(
            "quantiles are of finite values, at least one",
            where="quantiles",
            got=f"{array.size} values, {int((~np.isfinite(array)).sum())} of them not finite",
            next_step="leave out what was not measured, or say that there is no figure",
        )
    p50, p95, p99 = (float(np.quantile(array, share)) for share in (0.5, 0.95, 0.99))
    p50_interval, p95_interval, p99_interval = (
        quantile_interval(array, share, speakers=speakers) for share in (0.5, 0.95, 0.99)
    )
    return Quantiles(
        n=array.size,
        p50=p50,
        p95=p95,
        p99=p99,
        maximum=float(array.max()),
        p50_interval=p50_interval,
        p95_interval=p95_interval,
        p99_interval=p99_interval,
        curve=tuple(float(value) for value in np.quantile(array, CURVE)),
    )


def real_time_factor(compute_s: npt.ArrayLike, audio_s: npt.ArrayLike) -> float:
    """Seconds of compute a second of audio, over all utterances: a ratio of sums (U2).

    >>> real_time_factor([0.5, 0.5], [1.0, 9.0])
    0.1
    """
    return float(np.sum(compute_s) / np.sum(audio_s))
