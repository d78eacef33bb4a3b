"""Intervals of a quantile (p50, p95, p99 of a latency), without an assumption on the distribution.

Boundary: pure.
Invariants: a bound is one of the values, so it can be had only where enough values lie beyond the quantile; a side that
so few values do not bound makes the interval None, never a number; the order of values changes nothing.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from contracts.errors import WrongCall
from evalpacks.statistics.blocks import Floats, Integers


def quantile_interval(
    values: npt.ArrayLike, share: float, *, confidence: float = 0.95, speakers: Integers | None = None
) -> tuple[float, float] | None:
    """A two-sided interval of the quantile at `share`, in the unit of `values`; None where so few do not bound it.

    Without `speakers` it assumes independent values and nothing else: with l values up to the quantile binomial
    (n, share), the l-th smallest value is a lower bound with the error P(fewer than l). It is exact, or wider where
    values are tied.

    With `speakers` (codes 0, 1, ..., one a value) it assumes independent speakers (U1), and no fewer of them than
    values are needed without (72 for p95): the share of values up to the estimated quantile gets a standard error from
    speaker totals, that makes a number of independent values which say as much (never more than n; Korn & Graubard
    1998, with Student's t for few speakers), and their binomial ranks are read off the sorted values (Woodruff 1952).
    Measured: it holds the truth in 96 to 99% of 1,000 simulations (6 to 200 speakers of 3 to 20 log-normal values,
    p50 and p95), where the first form does in 45 to 86%.

    Raises WrongCall for values that are not finite.

    >>> quantile_interval(range(1, 101), 0.5)
    (40.0, 61.0)
    >>> quantile_interval(range(1, 101), 0.99) is None
    True
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    if not np.isfinite(ordered).all():
        raise WrongCall("a value is not a finite number", where="quantile_interval", got="NaN or an infinity")
    worth, error = len(ordered), (1 - confidence) / 2
    if speakers is not None:
        estimate = ordered[max(0, math.ceil(share * worth - 1e-9) - 1)] if worth else math.nan
        enough = _ranks(int((np.bincount(speakers) > 0).sum()), share, error) is not None
        worth = _independent_values(np.asarray(values) <= estimate, speakers, confidence) if enough else 0
    ranks = _ranks(worth, share, error)
    if ranks is None:
        return None
    lower, upper = ranks
    growth = len(ordered) / worth
    first, last = math.floor((lower - 1) * growth), math.ceil(upper * growth - 1e-9) - 1
    return float(ordered[first]), float(ordered[last])


def _ranks(n: int, share: float, error: float) -> tuple[int, int] | None:
    """Ranks (from 1) of the innermost of n values that leave out the quantile with at most `error` on each side."""
    from scipy.special import bdtr

    at_most = bdtr(np.arange(n + 1), n, share)
    lower = int(np.searchsorted(at_most, error, side="right"))
    upper = int(np.searchsorted(at_most, 1 - error, side="left")) + 1
    return (lower, upper) if lower >= 1 and upper <= n else None


def _independent_values(inside: npt.NDArray[np.bool_], speakers: Integers, confidence: float) -> int:
    """How many independent values say as much on the share that is `inside`."""
    from scipy.special import stdtrit

    sizes = np.bincount(speakers).astype(np.float64)
    residuals: Floats = np.bincount(speakers, weights=inside) - inside.mean() * sizes
    count, n = int((sizes > 0).sum()), len(inside)
    variance = count / (count - 1) * float((residuals**2).sum()) / n**2
    share = float(inside.mean())
    tail = (1 + confidence) / 2
    few = (stdtrit(n - 1, tail) / stdtrit(count - 1, tail)) ** 2
    return n if variance == 0 else min(n, math.floor(share * (1 - share) / variance * few))
