"""The last half hour of traffic, in memory: what the live page draws and how fast each error budget burns.

Boundary: no I/O; fed by serving/calls.py on the gateway's loop, read from any thread. Source: coverage row 47; Google's
Site Reliability Workbook, chapter 5 (several windows, several burn rates); DDSketch (Masson et al. 2019) for quantiles.
Invariants: memory is bounded by MAX_CELLS, MAX_MINUTES and REMEMBERED whatever clients send; time is the monotonic
clock, set to the wall clock once, so that a clock that is put back neither loses nor doubles traffic (fault 64); a
quantile is within ERROR of a value that was measured; no text is kept, and of requests only their ids and labels.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from contracts.digest import Digest
from contracts.live import BudgetCounts, Burn, CountedWindow, Window
from contracts.reports import Quantiles
from serving.objectives import PERIOD_S, SPANS_S, Objective, Objectives, burn, failed, judged

BUCKET_S = 10
SPAN_S = 1800
"""How long windows are kept, in seconds."""
SLICED_BY = ("tenant", "device", "language", "codec")
OVERALL = "overall"
ERROR = 0.02
"""Relative error of a quantile."""

MAX_CELLS = 20_000
"""Cells (bucket x bundle x arm x slice) that are kept; above it only `overall` gets new ones."""
MAX_MINUTES = 50_000
"""Counts (minute x slice) of the objectives that are kept; above it only `overall` gets new ones."""
REMEMBERED = 20_000
"""Answered requests that a client's event can still be counted for."""

Arm = Literal["stable", "canary", "shadow"]

_GROWTH = math.log((1 + ERROR) / (1 - ERROR))
_SMALLEST_MS = 0.01
_EVENTS = {
    "correction": "corrections",
    "interruption": "interruptions",
    "underrun": "underruns",
    "abandonment": "abandonments",
}


class Sketch:
    """A histogram with bins that grow by a constant factor: quantiles within ERROR, and the exact maximum."""

    __slots__ = ("bins", "maximum", "n")

    def __init__(self) -> None:
        self.n = 0
        self.maximum = 0.0
        self.bins: dict[int, int] = {}

    def add(self, value: float) -> None:
        """Count one value (milliseconds, 0 or more)."""
        index = math.ceil(math.log(max(value, _SMALLEST_MS) / _SMALLEST_MS) / _GROWTH)
        self.bins[index] = self.bins.get(index, 0) + 1
        self.n += 1
        self.maximum = max(self.maximum, value)

    def merge(self, other: Sketch) -> None:
        """Count all values of another one."""
        for index, count in other.bins.items():
            self.bins[index] = self.bins.get(index, 0) + count
        self.n += other.n
        self.maximum = max(self.maximum, other.maximum)

    def quantile(self, share: float) -> float:
        """The value that `share` of all values do not exceed."""
        rank, seen = max(math.ceil(share * self.n), 1), 0
        for index in sorted(self.bins):
            seen += self.bins[index]
            if seen >= rank:
                return min(_SMALLEST_MS * math.exp(_GROWTH * index) * (1 - ERROR), self.maximum)
        raise ValueError("nothing was counted")

    def quantiles(self) -> Quantiles | None:
        """p50, p95, p99 and the maximum; None where nothing was counted."""
        if not self.n:
            return None
        p50, p95, p99 = (self.quantile(share) for share in (0.5, 0.95, 0.99))
        return Quantiles(n=self.n, p50=p50, p95=p95, p99=p99, maximum=self.maximum)


_SUMS = (
    "requests", "failures", "partial_words", "unstable_words", "privacy_errors", "cost_usd", "audio_s",
    *_EVENTS.values(),
)  # fmt: skip
_SKETCHES = ("latency_ms", "first_partial_ms", "first_audio_ms", "queue_ms")


@dataclass(slots=True)
class Cell:
    """What happened to one bundle, arm and slice in one bucket."""

    requests: int = 0
    failures: int = 0
    partial_words: int = 0
    unstable_words: int = 0
    privacy_errors: int = 0
    cost_usd: float = 0.0
    audio_s: float = 0.0
    corrections: int = 0
    interruptions: int = 0
    underruns: int = 0
    abandonments: int = 0
    latency_ms: Sketch = field(default_factory=Sketch)
    first_partial_ms: Sketch = field(default_factory=Sketch)
    first_audio_ms: Sketch = field(default_factory=Sketch)
    queue_ms: Sketch = field(default_factory=Sketch)

    def add(self, row: Mapping[str, Any]) -> None:
        """Count one telemetry row."""
        self.requests += 1
        self.failures += failed(row)
        self.partial_words += row["partial_words"]
        self.unstable_words += row["unstable_words"]
        self.privacy_errors += row["privacy_errors"]
        self.cost_usd += row["cost_usd"]
        self.audio_s += row["audio_s"]
        if row["status"] == 200:
            self.latency_ms.add(row["latency_ms"])
            self.queue_ms.add(row["queue_ms"])
        for name in ("first_partial_ms", "first_audio_ms"):
            if row[name] is not None:
                getattr(self, name).add(row[name])

    def merge(self, other: Cell) -> None:
        """Count all of another cell."""
        for name in _SUMS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in _SKETCHES:
            getattr(self, name).merge(getattr(other, name))


def slices_of(row: Mapping[str, Any]) -> tuple[str, ...]:
    """The slices a request belongs to, `overall` first."""
    return (OVERALL, *(f"{name}={row[name]}" for name in SLICED_BY if row.get(name, "none") != "none"))


class Place(NamedTuple):
    """Whose cell."""

    bundle: Digest
    arm: Arm
    slice: str


class _Counts:
    """Requests that count for each objective, and those of them that are bad."""

    __slots__ = ("asked", "bad")

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.bad: Counter[str] = Counter()

    def add(self, found: Mapping[Objective, bool]) -> None:
        """Count one request."""
        for objective, bad in found.items():
            self.asked[objective] += 1
            self.bad[objective] += bad

    def merge(self, other: _Counts) -> None:
        """Count all of another minute."""
        self.asked.update(other.asked)
        self.bad.update(other.bad)


def _anchored() -> Callable[[], float]:
    """Seconds since the epoch that never go back."""
    offset = time.time() - time.monotonic()
    return lambda: time.monotonic() + offset


class Windows:
    """Counts of the last half hour by bucket, and of the objectives by minute for PERIOD_S."""

    def __init__(
        self, objectives: Mapping[str, Objectives] | None = None, clock: Callable[[], float] | None = None
    ) -> None:
        self.promised = dict(objectives or {})
        self._clock = clock or _anchored()
        self._lock = threading.Lock()
        self._buckets: OrderedDict[int, dict[tuple[str, Place], Cell]] = OrderedDict()
        self._cells = 0
        self._minutes: OrderedDict[int, dict[tuple[str, str], _Counts]] = OrderedDict()
        self._counts = 0
        self._answered: OrderedDict[str, tuple[str, tuple[Place, ...]]] = OrderedDict()

    # ---- what happens -------------------------------------------------------------------------------------------
    def record(self, row: Mapping[str, Any]) -> None:
        """Count one request (the fields of a TelemetryRow)."""
        family = row["family"]
        places = tuple(Place(row["bundle"], row["arm"], name) for name in slices_of(row))
        with self._lock:
            now_s = self._clock()
            self._forget(now_s)
            for place in places:
                if (cell := self._cell(now_s, family, place)) is not None:
                    cell.add(row)
            if row["arm"] == "shadow":
                return
            found = judged(row, self.objectives(family))
            for place in places:
                if (counts := self._minute(now_s, family, place.slice)) is not None:
                    counts.add(found)
            self._answered[row["request_id"]] = (family, places)
            if len(self._answered) > REMEMBERED:
                self._answered.popitem(last=False)

    def event(self, request_id: str, kind: str) -> None:
        """Count what a client told about a request that was answered here."""
        if kind not in _EVENTS:
            return
        with self._lock:
            now_s = self._clock()
            family, places = self._answered.get(request_id, ("", ()))
            for place in places:
                if (cell := self._cell(now_s, family, place)) is not None:
                    setattr(cell, _EVENTS[kind], getattr(cell, _EVENTS[kind]) + 1)

    def _cell(self, now_s: float, family: str, place: Place) -> Cell | None:
        bucket = self._buckets.setdefault(int(now_s // BUCKET_S), {})
        cell = bucket.get((family, place))
        if cell is None and (self._cells < MAX_CELLS or place.slice == OVERALL):
            cell = bucket[family, place] = Cell()
            self._cells += 1
        return cell

    def _minute(self, now_s: float, family: str, name: str) -> _Counts | None:
        minute = self._minutes.setdefault(int(now_s // 60), {})
        counts = minute.get((family, name))
        if counts is None and (self._counts < MAX_MINUTES or name == OVERALL):
            counts = minute[family, name] = _Counts()
            self._counts += 1
        return counts

    def _forget(self, now_s: float) -> None:
        while self._buckets and next(iter(self._buckets)) <= (now_s - SPAN_S) // BUCKET_S:
            self._cells -= len(self._buckets.popitem(last=False)[1])
        while self._minutes and next(iter(self._minutes)) <= (now_s - PERIOD_S) // 60:
            self._counts -= len(self._minutes.popitem(last=False)[1])

    # ---- what is said -------------------------------------------------------------------------------------------
    def objectives(self, family: str) -> Objectives:
        """What the family promises; availability alone where nothing was said."""
        return self.promised.get(family, Objectives())

    def now(self, family: str, *, span_s: int = 60) -> tuple[Window, ...]:
        """The last `span_s` seconds, one window a bundle, arm and slice."""
        return self._windows(family, span_s=span_s, step_s=span_s, slices=None)

    def series(
        self, family: str, *, span_s: int = SPAN_S, step_s: int = BUCKET_S, slices: Iterable[str] | None = None
    ) -> tuple[Window, ...]:
        """Windows of `step_s` (a multiple of BUCKET_S), oldest first, of all slices or those named.

        A step without traffic has no window. All slices of half an hour can be many: the live page names the busiest.
        """
        return self._windows(family, span_s=span_s, step_s=step_s, slices=None if slices is None else set(slices))

    def busiest(self, family: str, *, limit: int) -> tuple[str, ...]:
        """`overall`, then the slices with the most requests."""
        requests: dict[str, int] = {}
        with self._lock:
            for bucket in self._buckets.values():
                for (owner, place), cell in bucket.items():
                    if owner == family and place.arm != "shadow":
                        requests[place.slice] = requests.get(place.slice, 0) + cell.requests
        ordered = sorted(requests, key=lambda name: (name != OVERALL, -requests[name], name))
        return tuple(ordered[:limit])

    def _windows(self, family: str, *, span_s: int, step_s: int, slices: set[str] | None) -> tuple[Window, ...]:
        wide = max(step_s // BUCKET_S, 1)
        merged: dict[tuple[int, Place], Cell] = {}

        def merge(number: int, bucket: Mapping[tuple[str, Place], Cell]) -> None:
            for (owner, place), cell in bucket.items():
                if owner == family and (slices is None or place.slice in slices):
                    merged.setdefault(((number - first) // wide, place), Cell()).merge(cell)

        with self._lock:
            last = int(self._clock() // BUCKET_S)
            first = last + 1 - max(span_s // BUCKET_S, 1)
            # Only the last bucket still changes: the others are added up without making requests wait.
            merge(last, self._buckets.get(last, {}))
            over = [(number, bucket) for number, bucket in self._buckets.items() if first <= number < last]
        for number, bucket in over:
            merge(number, bucket)
        return tuple(
            _window(cell, place, since_s=(first + step * wide) * BUCKET_S, span_s=wide * BUCKET_S)
            for (step, place), cell in sorted(merged.items(), key=lambda item: item[0])
        )

    def counts(self, family: str) -> tuple[BudgetCounts, ...]:
        """What the burn rates of every slice are made of; of `overall` always."""
        promised = self.objectives(family).budgets()
        return tuple(
            BudgetCounts(
                objective=objective,
                slice=name,
                windows=tuple(
                    CountedWindow(span_s=span_s, asked=asked, bad=bad)
                    for span_s, (asked, bad) in _counted(spans, objective).items()
                ),
            )
            for name, spans in self._sums(family).items()
            for objective in promised
        )

    def burns(self, family: str) -> tuple[Burn, ...]:
        """How fast each budget burns here: of `overall` always, of a slice where somebody has to be called."""
        promised = self.objectives(family)
        burns = [
            burn(objective, name, _counted(spans, objective), allowed)
            for name, spans in self._sums(family).items()
            for objective, allowed in promised.budgets().items()
        ]
        return tuple(one for one in burns if one.slice == OVERALL or one.action != "none")

    def _sums(self, family: str) -> dict[str, dict[int, _Counts]]:
        """The counts of each slice by window in seconds; `overall` first, then by name."""
        with self._lock:
            minute_now = int(self._clock() // 60)
            minutes = [(number, dict(minute)) for number, minute in self._minutes.items()]
        sums: dict[str, dict[int, _Counts]] = {OVERALL: {}}
        for number, minute in minutes:
            for (owner, name), counts in minute.items():
                if owner == family:
                    for span_s in SPANS_S:
                        if number > minute_now - span_s // 60:
                            sums.setdefault(name, {}).setdefault(span_s, _Counts()).merge(counts)
        return {name: sums[name] for name in sorted(sums, key=lambda name: (name != OVERALL, name))}


def _counted(spans: Mapping[int, _Counts], objective: Objective) -> dict[int, tuple[int, int]]:
    return {span_s: (counts.asked[objective], counts.bad[objective]) for span_s, counts in spans.items()}


def _window(cell: Cell, place: Place, *, since_s: float, span_s: float) -> Window:
    return Window(
        since_s=since_s,
        until_s=since_s + span_s,
        bundle=place.bundle,
        arm=place.arm,
        slice=place.slice,
        **{name: getattr(cell, name).quantiles() for name in _SKETCHES},
        **{name: getattr(cell, name) for name in _SUMS},
    )
