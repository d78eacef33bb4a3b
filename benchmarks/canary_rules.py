"""Three rules on the same simulated canary: the product's judge, fixed thresholds, Mann-Whitney on minute buckets.

Boundary: arrays in, when each stopped out; the product's part is monitoring's own evidence and stop rule.
Invariants: all three see the same sessions; the two others look every ten minutes at all that came so far, which is
kinder to them than looking all the time.
Sources: fixed thresholds as in the lab "Canary Promotion Gate" (WER 2% and unit cost 15% relative, p95 75 ms; it has
none for churn, which is read as WER's); Mann-Whitney at 98% confidence, as automated canary analyses use it.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from benchmarks.canary_traffic import METRICS, MINUTES, SLICES, Canary, Floats
from monitoring.canary import added, crossing_s
from monitoring.evidence import Comparison, Path, Units, no_units, rule_of

ALPHA = 0.05
MIN_SESSIONS = 30
CAPS = {"utterances": 7.0, "words": 91.0}
LOOKS = range(10, MINUTES + 1, 10)
"""Minutes at which the two other rules look."""
CONFIDENCE_Z = 2.3263
"""Two-sided 98%."""
OVERALL = SLICES


class Stop(NamedTuple):
    """When (s; infinite: never) and on which slice (SLICES: the whole)."""

    at_s: float
    slice: int


class Judged(NamedTuple):
    """What the product's judge said: the first stop, and when the last pair was settled (infinite: never)."""

    stop: Stop
    settled_s: float
    settled: float
    """The share of pairs that were settled at the end."""


NEVER = Stop(math.inf, -1)


def product(canary: Canary) -> Judged:
    """The sequential judge, all slices and the whole, every metric, looked at after every session."""
    paths: dict[int, list[Path]] = {}
    settled_s, opened = [], []
    for name, metric in METRICS.items():
        rule = rule_of(metric, CAPS, baseline=True)
        for place in (*range(SLICES), OVERALL):
            compared = Comparison(rule, min_sessions=MIN_SESSIONS, fine_at=1 / ALPHA)
            arms = [_units(canary, name, place, arm) for arm in (1, 0)]
            paths.setdefault(place, []).append(compared.enter(arms[0], arms[1], (no_units(), no_units())))
            opened.append(compared.opened_s)
            settled_s.append(math.inf if compared.fine_s is None else compared.fine_s)
    stops = []
    for place, of_slice in paths.items():
        at_s = crossing_s(added(of_slice), np.sort(opened), ALPHA)
        stops += [Stop(at_s, place)] if at_s is not None else []
    return Judged(min(stops, default=NEVER), max(settled_s), float(np.isfinite(settled_s).mean()))


def _units(canary: Canary, name: str, place: int, arm: int) -> Units:
    part = slice(None) if place == OVERALL else slice(place, place + 1)
    columns = [table[part, arm].ravel() for table in (canary.closed_s, canary.n[name], canary.d[name])]
    order = np.argsort(columns[0], kind="stable")
    return Units(*(column[order] for column in columns))


def fixed_thresholds(canary: Canary) -> Stop:
    """The first look at which any slice is over a threshold."""
    for minute in LOOKS:
        seen = canary.closed_s < 60 * minute
        over = np.zeros(SLICES, dtype=bool)
        for name, allowed in (("wer", 0.02), ("churn", 0.02), ("cost", 0.15)):
            rate = (canary.n[name] * seen).sum(axis=2) / (canary.d[name] * seen).sum(axis=2)
            over |= rate[:, 1] / rate[:, 0] - 1 > allowed
        p95 = np.nanquantile(np.where(seen[..., None], canary.latency_ms, np.nan).reshape(SLICES, 2, -1), 0.95, axis=2)
        over |= p95[:, 1] - p95[:, 0] > 75
        if over.any():
            return Stop(60.0 * minute, int(over.argmax()))
    return NEVER


def mann_whitney(canary: Canary) -> Stop:
    """The first look at which any metric of any slice has larger minutes on the canary, at 98% confidence."""
    buckets = np.stack([_minutes(canary, name) for name in METRICS])
    for minute in LOOKS:
        z = _rank_z(buckets[:, :, 1, :minute], buckets[:, :, 0, :minute])
        worse = (z > CONFIDENCE_Z).any(axis=0)
        if worse.any():
            return Stop(60.0 * minute, int(worse.argmax()))
    return NEVER


def _minutes(canary: Canary, name: str) -> Floats:
    """The metric of each minute, (slices, arms, minutes); latency by its mean, which has less noise than its p95."""
    place = (canary.closed_s / 60).astype(int).clip(0, MINUTES - 1)
    row = np.arange(SLICES * 2).reshape(SLICES, 2, 1) * MINUTES + place

    def summed(value: Floats) -> Floats:
        return np.bincount(row.ravel(), value.ravel(), SLICES * 2 * MINUTES).astype(float).reshape(SLICES, 2, MINUTES)

    if name == "latency_ms":
        total, count = np.nansum(canary.latency_ms, axis=3), np.isfinite(canary.latency_ms).sum(axis=3).astype(float)
    else:
        total, count = canary.n[name], canary.d[name]
    return summed(total) / np.maximum(summed(count), 1e-12)


def _rank_z(first: Floats, second: Floats) -> Floats:
    """The normal score of Mann and Whitney's U, over the last axis; above 0 where `first` is larger."""
    from scipy.stats import rankdata

    m, n = first.shape[-1], second.shape[-1]
    ranks = rankdata(np.concatenate([first, second], axis=-1), axis=-1)[..., :m].sum(axis=-1)
    mean, spread = m * (m + n + 1) / 2, math.sqrt(m * n * (m + n + 1) / 12)
    z: Floats = (ranks - mean) / spread
    return z
