"""Distributions of latencies, and the real-time factor.

Boundary: pure; measured values in, figures out.
Invariants: a quantile has its interval, or says that so few values have none (U7); NaN is not a latency and must be
taken out by the caller, who knows what it means.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from contracts.reports import CURVE, Quantiles
from evalpacks.metrics.metric import Floats


def quantiles(values: npt.ArrayLike) -> Quantiles:
    """p50, p95, p99, maximum and curve of values (n,), n at least 1, in their own unit."""
    array: Floats = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0 or not np.isfinite(array).all():
        raise ValueError(f"quantiles are of finite values (n,), not {array.shape}")
    p50, p95, p99, maximum = (float(np.quantile(array, share)) for share in (0.5, 0.95, 0.99, 1.0))
    curve = tuple(float(value) for value in np.quantile(array, CURVE))
    return Quantiles(n=array.size, p50=p50, p95=p95, p99=p99, maximum=maximum, curve=curve)


def real_time_factor(compute_s: npt.ArrayLike, audio_s: npt.ArrayLike) -> float:
    """Seconds of compute a second of audio, over all utterances: a ratio of sums (U2)."""
    return float(np.sum(compute_s) / np.sum(audio_s))
