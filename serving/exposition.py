"""`GET /metrics`: what is counted as it happens, and what is asked at the scrape: workers, tables, canaries, telemetry.

Boundary: asks the workers over their sockets, reads HOME/run/canary/FAMILY.json.
Invariants: a worker that does not answer delays a scrape by at most ASK_S; what is no longer served is no longer shown;
a scrape answers whatever is wrong with what it asks about.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from contracts.digest import short
from contracts.errors import SoundcheckError
from contracts.live import PROGRESS, CanaryProgress
from serving.calls import Desk
from serving.metrics import PREFIX
from serving.pool import Worker
from serving.router import Family
from serving.telemetry import Recorder
from serving.tracing import Tracer

log = logging.getLogger(__name__)

ASK_S = 1.0
_MEGABYTE = 1e6


class _Telemetry:
    """What recorder and tracer count themselves, read when it is asked for."""

    def __init__(self, recorder: Recorder, tracer: Tracer | None) -> None:
        self._recorder = recorder
        self._tracer = tracer

    def collect(self) -> Iterable[Metric]:
        """Rows written, lost and waiting; spans made, and those a collector took."""
        recorder, tracer = self._recorder, self._tracer
        made, sent = (tracer.made, tracer.sent) if tracer else (0, 0)
        yield CounterMetricFamily(f"{PREFIX}spans_made", "Spans of traces.", value=made)
        yield CounterMetricFamily(f"{PREFIX}spans_sent", "Spans that the collector took.", value=sent)
        yield CounterMetricFamily(f"{PREFIX}telemetry_written", "Rows written.", value=recorder.written)
        yield CounterMetricFamily(f"{PREFIX}telemetry_dropped", "Rows lost.", value=recorder.dropped)
        yield GaugeMetricFamily(f"{PREFIX}telemetry_waiting", "Rows not written yet.", value=recorder.waiting)


class Exposition:
    """What `/metrics` of one gateway answers with."""

    def __init__(self, desk: Desk, home: Path) -> None:
        self._desk = desk
        self._progress = home / PROGRESS
        desk.metrics.registry.register(_Telemetry(desk.recorder, desk.tracer))

    async def render(self) -> bytes:
        """The text exposition, as of now."""
        families = list(self._desk.families.values())
        workers = [(family.name, worker) for family in families for worker in family.pool.workers()]
        progress = await asyncio.to_thread(self._read, [family.name for family in families])
        said = await asyncio.gather(*(ask(worker) for _, worker in workers))
        metrics = self._desk.metrics
        for gauge in metrics.asked:
            gauge.clear()
        for (name, worker), statistics in zip(workers, said, strict=True):
            self._worker(name, worker, statistics)
        for family in families:
            self._table(family, progress[family.name])
        return metrics.render()

    def _worker(self, family: str, worker: Worker, said: dict[str, float]) -> None:
        metrics, bundle = self._desk.metrics, short(worker.digest)
        metrics.worker_ready.labels(family, bundle).set(worker.state == "ready")
        metrics.worker_restarts.labels(family, bundle)
        metrics.privacy.labels(family, bundle)
        if said:
            metrics.worker_waiting.labels(family, bundle, "interactive").set(said["waiting"])
            metrics.worker_waiting.labels(family, bundle, "batch").set(said["batch_waiting"])
            metrics.worker_streams.labels(family, bundle).set(said["streams"])
            metrics.worker_load.labels(family, bundle).set(said["load"])
            metrics.worker_memory.labels(family, bundle).set(said["peak_memory_mb"] * _MEGABYTE)

    def _table(self, family: Family, progress: CanaryProgress | None) -> None:
        metrics, table = self._desk.metrics, family.table
        if table is None:
            return
        if table.canary is not None:
            bundle = short(table.canary.bundle)
            metrics.canary_weight.labels(family.name, bundle, table.canary.stage).set(table.canary.weight)
            looked_s = _epoch_s(progress.looked_at) if progress else 0.0
            metrics.canary_looked.labels(family.name).set(max(looked_s, _epoch_s(table.moved_at)))
            metrics.canary_settled.labels(family.name).set(progress is not None and progress.settled(table.canary))
        if table.degradation is not None:
            metrics.degraded.labels(family.name, table.degradation.mode).set(1)

    def _read(self, families: Iterable[str]) -> dict[str, CanaryProgress | None]:
        return {family: read_progress(self._progress, family) for family in families}


def read_progress(folder: Path, family: str) -> CanaryProgress | None:
    """What a family's canary told at its last look; None where there is nothing that can be read."""
    path = folder / f"{family}.json"
    try:
        return CanaryProgress.parse(path.read_bytes(), where=path.name)
    except FileNotFoundError:
        return None
    except (OSError, SoundcheckError) as error:
        log.warning("%s: the canary's progress could not be read: %s", family, type(error).__name__)
        return None


async def ask(worker: Worker) -> dict[str, float]:
    """Queue and memory figures of a worker, {} where it does not answer within ASK_S."""
    try:
        async with asyncio.timeout(ASK_S):
            return await worker.statistics()
    except TimeoutError:
        return {}


def _epoch_s(timestamp: str) -> float:
    return datetime.fromisoformat(timestamp).timestamp() if timestamp else 0.0
