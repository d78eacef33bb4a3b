"""Is work waiting? Minutes in which the queue grew and the tail was slow, and minutes of which nothing is known.

Boundary: pure. Source: coverage 38 (lab 1 of the serving runbook).
Method: telemetry has how long each request waited, not how many waited; by Little's law the mean number in the queue is
the time waited in a minute over the minute.
Invariants: overload is a joint signal: a long queue that answers in time, or slow answers without a queue, are none; a
saturated minute stays saturated until the queue is back where it was or the tail is fast; growth is never measured
across minutes that are missing, and a missing minute is said, it is not a healthy one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from contracts.incident import SaturatedMinute, Saturation
from monitoring.incident.tallies import Table, column

MINUTE_S = 60.0


class Minute(NamedTuple):
    """One minute of traffic: when it began (s), mean requests in the queue, p95 of latency (ms), and how much of the
    queue was batch work."""

    minute_s: float
    depth: float
    p95_ms: float
    batch_depth: float = 0.0


def detect(
    minutes: Sequence[Minute], *, growth_threshold: float, p95_threshold_ms: float, watched: int | None = None
) -> Saturation:
    """Find the minutes in which work waited.

    Args:
        minutes: in time order, those that have traffic.
        watched: how many minutes there should be; None: from the first to the last.
    """
    alerts: list[SaturatedMinute] = []
    waited = batch = 0.0
    previous: Minute | None = None
    calm: float | None = None  # depth before the growth, while the queue has not drained
    for point in minutes:
        gap = previous is None or point.minute_s - previous.minute_s > 1.5 * MINUTE_S
        growth = 0.0 if gap or previous is None else point.depth - previous.depth
        slow = point.p95_ms >= p95_threshold_ms
        if gap or not slow or (calm is not None and point.depth < calm + growth_threshold):
            calm = None
        if slow and growth >= growth_threshold and previous is not None and calm is None:
            calm = previous.depth
        if calm is not None:
            waited, batch = waited + point.depth, batch + point.batch_depth
            alerts.append(
                SaturatedMinute(minute_s=point.minute_s, depth=point.depth, growth=growth, p95_ms=point.p95_ms)
            )
        previous = point
    if watched is None:
        watched = round((minutes[-1].minute_s - minutes[0].minute_s) / MINUTE_S) + 1 if minutes else 0
    return Saturation(
        minutes=tuple(alerts), watched=watched, missing=max(watched - len(minutes), 0),
        growth_threshold=growth_threshold, p95_threshold_ms=p95_threshold_ms,
        batch_share=batch / waited if waited else 0.0,
    )  # fmt: skip


def minutes_of(table: Table, *, since_s: float, until_s: float) -> tuple[list[Minute], int]:
    """The minutes of the window that have traffic, and how many there should be."""
    now = table.now()
    times = column(table.rows, "timestamp")[now]
    waited = np.nan_to_num(column(table.rows, "queue_ms")[now])
    latency = column(table.rows, "latency_ms")[now]
    place = np.floor((times - since_s) / MINUTE_S).astype(np.int64)
    batch = waited * (table.rows["priority"] == "batch").to_numpy(dtype=bool)[now]
    order = np.argsort(place, kind="stable")
    place, waited, latency, batch = place[order], waited[order], latency[order], batch[order]
    edges = np.flatnonzero(np.diff(place)) + 1
    minutes = [
        Minute(since_s + MINUTE_S * int(part[0]), _depth(wait), _p95(slow), _depth(held))
        for part, wait, slow, held in zip(
            *(np.split(values, edges) for values in (place, waited, latency, batch)), strict=True
        )
        if len(part)
    ]
    return minutes, max(int(np.ceil((until_s - since_s) / MINUTE_S)), 0)


def _depth(waited_ms: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
    return float(waited_ms.sum()) / 1000 / MINUTE_S


def _p95(latency: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
    known = latency[~np.isnan(latency)]
    return float(np.quantile(known, 0.95)) if len(known) else 0.0
