"""Rows of telemetry into closed sessions, each entering once.

Boundary: pure; tables in, arrays out.
Invariants: a session is closed when it has been silent for the gap, or has as many requests as the plan's cap; what it
says after that is not counted; the order of closing is by time, then by name: the order of rows does not matter.
Source: statistics U1 (the unit is the session), house.md `judge`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from contracts.policy import CanaryMetric
from monitoring.evidence import Floats, Units

if TYPE_CHECKING:
    import pandas as pd

Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]
FAILED_STATUS = 500
"""Requests with this status or above count as over every latency budget."""


class Closed(NamedTuple):
    """Rows of sessions that have closed: `unit` is the session's place in the order of closing, (rows,)."""

    rows: pd.DataFrame
    unit: Integers
    closed_s: Floats
    """Of each unit, (units,)."""
    canary: Booleans
    """Whether the row is of the canary, (rows,)."""


class Sessions:
    """Holds the rows of open sessions, and the names of those that have entered."""

    def __init__(self, *, gap_s: float, most_requests: float) -> None:
        self._gap_s = gap_s
        self._most = most_requests
        self._waiting: list[pd.DataFrame] = []
        self._entered: set[object] = set()

    def feed(self, rows: pd.DataFrame) -> None:
        """Take rows (columns timestamp, session_id, arm `stable` or `canary`, and whatever is judged)."""
        if len(rows):
            self._waiting.append(rows)

    def close(self, now_s: float) -> Closed | None:
        """The sessions that have closed by now and had not before."""
        import pandas as pd

        if not self._waiting:
            return None
        rows = self._waiting[0] if len(self._waiting) == 1 else pd.concat(self._waiting, ignore_index=True)
        if self._entered:
            # Asked one by one: an index of all that ever entered would be built at each look.
            rows = rows[np.array([name not in self._entered for name in rows["session_id"]], dtype=bool)]
        codes, names = pd.factorize(rows["session_id"], sort=True)
        times = rows["timestamp"].to_numpy(dtype=np.float64)
        order = np.lexsort((times, codes))
        codes, times = codes[order], times[order]
        seen = times <= now_s
        canary = (rows["arm"] == "canary").to_numpy()[order]
        kept, closed_s = self._closing(codes, times, canary, seen, len(names))
        closed = closed_s <= now_s
        self._entered.update(names[closed])
        self._waiting = [rows[~closed[codes[np.argsort(order)]]]]
        if not closed.any():
            return None
        place = np.full(len(names), -1)
        entering = np.flatnonzero(closed)
        entering = entering[np.argsort(closed_s[entering], kind="stable")]
        place[entering] = np.arange(len(entering))
        taken = kept & closed[codes]
        found = Closed(rows.iloc[order[taken]], place[codes[taken]], closed_s[entering], canary[taken])
        return _heard_by_both(found)

    def _closing(
        self, codes: Integers, times: Floats, canary: Booleans, seen: Booleans, sessions: int
    ) -> tuple[Booleans, Floats]:
        """Which rows count, and when each session closes; rows are sorted by session and time."""
        first = np.append(True, codes[1:] != codes[:-1])[: len(codes)]
        paused = np.append(False, np.diff(times) > self._gap_s)[: len(codes)] & ~first
        breaks = np.cumsum(paused)
        begin = np.flatnonzero(first)
        kept = seen & (breaks == breaks[begin][codes])
        capped = np.zeros(sessions, dtype=bool)
        for arm in (canary, ~canary):
            counted = np.cumsum(kept & arm)
            number = counted - (counted - (kept & arm))[begin][codes]  # of the session's rows of this arm, from 1
            capped[codes[kept & arm & (number >= self._most)]] = True
            kept &= ~(arm & (number > self._most))
        last = np.full(sessions, np.inf)
        spoken = np.flatnonzero(kept)
        last[codes[spoken]] = times[spoken]  # the latest of each session is written last
        return kept, last + np.where(capped, 0.0, self._gap_s)


def _heard_by_both(closed: Closed) -> Closed:
    """Of sessions that both arms heard, the requests that both answered (shadow copies may be dropped)."""
    rows, unit, closed_s, canary = closed
    both = np.zeros(len(closed_s), dtype=int)
    np.bitwise_or.at(both, unit, np.where(canary, 2, 1))
    if "request_id" not in rows.columns or not (both == 3).any():
        return closed
    requests = rows["request_id"]
    common = requests.isin(requests[canary]).to_numpy() & requests.isin(requests[~canary]).to_numpy()
    has_common = np.zeros(len(closed_s), dtype=bool)
    has_common[unit[common]] = True
    kept = common | ~has_common[unit]
    return Closed(rows[kept], unit[kept], closed_s, canary[kept])


def values(rows: pd.DataFrame, name: str, metric: CanaryMetric) -> tuple[Floats, Floats]:
    """Numerator and denominator of each row, NaN where the row says nothing of the metric; each (rows,)."""
    if metric.kind == "ratio":
        n, d = (
            rows[column].to_numpy(dtype=np.float64, na_value=np.nan)
            for column in (metric.numerator, metric.denominator)
        )
        known = np.isfinite(n) & np.isfinite(d) & (n >= 0) & (d >= 0)
        return np.where(known, n, np.nan), np.where(known, d, np.nan)
    budget = metric.budget if metric.budget is not None else np.inf
    value = rows[metric.column or name].to_numpy(dtype=np.float64, na_value=np.nan)
    over = value > budget if metric.better == "lower" else value < budget
    failed = np.zeros(len(rows), dtype=bool)
    if "status" in rows.columns:
        failed = rows["status"].to_numpy(dtype=np.float64, na_value=np.nan) >= FAILED_STATUS
    known = np.isfinite(value) | failed
    return np.where(known, (over | failed).astype(np.float64), np.nan), np.where(known, 1.0, np.nan)


class Entry(NamedTuple):
    """What entered of one slice: sessions of one arm alone, and of both (of the canary, of stable)."""

    slice: str
    canary: Units
    stable: Units
    shared: tuple[Units, Units]


def entries(closed: Closed, name: str, metric: CanaryMetric, columns: tuple[str, ...]) -> Iterator[Entry]:
    """The closed sessions on the whole and on each slice of these columns, in the order of closing."""
    import pandas as pd

    n, d = values(closed.rows, name, metric)
    for column in ("", *columns):
        if not column:
            labels, names = np.zeros(len(n), dtype=np.int64), ["overall"]
        elif column in closed.rows.columns:
            codes, found = pd.factorize(closed.rows[column].astype(object).to_numpy(), sort=False)
            labels, names = codes.astype(np.int64), [f"{column}={value}" for value in found]
        else:
            continue
        yield from _by_slice(closed, labels, names, n, d)


def _by_slice(closed: Closed, labels: Integers, names: list[str], n: Floats, d: Floats) -> Iterator[Entry]:
    units = len(closed.closed_s)
    known = np.isfinite(n) & (labels >= 0)
    key = (labels[known] * units + closed.unit[known]) * 2 + closed.canary[known]
    keys, inverse = np.unique(key, return_inverse=True)
    n, d = (np.bincount(inverse, row[known], len(keys)).astype(np.float64) for row in (n, d))
    spoke = d > 0  # without a denominator there is no rate (U2)
    keys, n, d = keys[spoke], n[spoke], d[spoke]
    unit, canary = keys // 2 % units, keys % 2 == 1
    in_both = np.zeros(len(keys), dtype=bool)
    same = keys[1:] // 2 == keys[:-1] // 2
    in_both[1:] |= same
    in_both[:-1] |= same

    def taken(part: slice, of_canary: bool, shared: bool) -> Units:
        chosen = (canary[part] == of_canary) & (in_both[part] == shared)
        return Units(closed.closed_s[unit[part][chosen]], n[part][chosen], d[part][chosen])

    bounds = np.searchsorted(keys // (2 * units), np.arange(len(names) + 1))
    for name, start, end in zip(names, bounds[:-1], bounds[1:], strict=True):
        if start < end:
            part = slice(start, end)
            shared = taken(part, True, True), taken(part, False, True)
            yield Entry(name, taken(part, True, False), taken(part, False, False), shared)
