"""Scale on paper and by simulation: 100 gateways, 1,000 workers, a billion requests a day, 10,000 bundles.

Boundary: runs the product's own code on small pieces (Parquet segments, a ledger in memory, the router's look at a
pointer) and counts bytes and store calls; multiplies by what SIZE says; simulates what cannot be run here.
Invariants: everything but the figures of `timed` is counted, or simulated from a seed, and the same on every machine;
docs/scale.md quotes it, and a test holds the page to that. Prices are S3's list prices (standard, us-east-1).
"""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import frame
from benchmarks.frame import Better, Figure
from benchmarks.scale_simulations import Host, StoreLatency, fewest_hosts, fleet, hosts_needed, propagation
from contracts.routing import RouteTable, pointer_name
from contracts.telemetry import TelemetryRow
from registry.ledger import Ledger
from registry.release_state import KEPT_RELEASES
from registry.snapshots import EVERY
from registry.store.memory import MemoryStore

AT = "2026-11-20T14:02:31Z"
DAY_S = 86_400
USD_PER_GET = 0.4 / 1e6
USD_PER_PUT = 5.0 / 1e6
USD_PER_GB_MONTH = 0.023
STEPS = ("capture", "register", "score", "gate", "package", "stage", "canary", "approve", "promote", "drift")
"""The events of a release that is counted."""
JUDGED = (
    "timestamp", "session_id", "arm", "bundle", "route_version", "status", "latency_ms", "first_partial_ms",
    "partial_words", "unstable_words", "privacy_errors", "cost_usd", "errors", "words", "device", "language",
)  # fmt: skip
"""Columns that a judge of four metrics on two labels needs."""
POLLS_S = (0.2, 1.0, 5.0)


@dataclass(frozen=True)
class Size:
    """The installation that is asked about."""

    gateways: int = 100
    families: int = 50
    families_a_gateway: int = 5
    bundles: int = 10_000
    requests_a_day: float = 1e9
    peak: float = 2.5
    infer_s: float = 0.02
    busy: float = 0.7
    canary: float = 0.1
    stage_s: float = 7200.0
    retention_days: int = 30
    moves: int = 4_000
    seed: int = 7


SIZE = Size()


def measure(progress: frame.Progress) -> frame.Result:
    """All figures."""
    figures = counted(SIZE)
    progress("clock")
    figures |= timed()
    settings = {
        **asdict(SIZE),
        "store_latency": asdict(StoreLatency()),
        "host": Host()._asdict(),
        "judged": len(JUDGED),
    }
    return frame.Result(settings, figures)


def counted(size: Size) -> dict[str, Figure]:
    """The figures that are the same on every machine."""
    found = _polling(size) | _telemetry(size) | _propagation(size) | _ledger(size) | _placement(size)
    return {name: Figure(value, unit, better) for name, (value, unit, better) in found.items()}


Found = dict[str, tuple[float, str, Better]]


# ---- what polls what ------------------------------------------------------------------------------------------------
def _polling(size: Size) -> Found:
    calls, table_bytes = _look_calls()
    found: Found = {
        "reads_a_look": (calls, "reads", "lower"),
        "route_table_bytes": (table_bytes, "bytes", "lower"),
    }
    for poll_s in POLLS_S:
        rate = size.gateways * size.families_a_gateway * calls / poll_s
        found[f"pointer_reads_per_s_poll_{poll_s:g}s"] = (rate, "1/s", "lower")
        found[f"pointer_usd_a_day_poll_{poll_s:g}s"] = (rate * DAY_S * USD_PER_GET, "USD", "lower")
    every = size.gateways * size.families * calls / POLLS_S[0]
    found["pointer_usd_a_day_if_all_follow_all"] = (every * DAY_S * USD_PER_GET, "USD", "lower")
    unchanged = size.gateways * size.families_a_gateway / POLLS_S[0] * table_bytes * DAY_S / 1e9
    found["pointer_gb_a_day_saved_by_conditional_reads"] = (unchanged, "GB", "higher")
    return found


def _look_calls() -> tuple[int, int]:
    """Store calls of a look at a pointer that has not moved, and the bytes of a route table."""
    from serving.metrics import Metrics
    from serving.process import WorkerSettings
    from serving.router import Family

    async def fetch(_: str) -> Any:
        raise AssertionError("no bundle is routed")

    async def look_twice() -> int:
        family = Family("asr", fetch, WorkerSettings(sockets=Path()), Metrics(), lambda: None)
        await family.look(store)
        before = store.calls
        await family.look(store)
        return store.calls - before

    store = MemoryStore()
    digests = [hashlib.sha256(b"%d" % number).hexdigest() for number in range(3)]
    full = _table(digests[0]).model_copy(update={"warm": tuple(digests[1:])})
    store.swap(pointer_name("asr"), _table(None).canonical(), expected=None)
    return asyncio.run(look_twice()), len(full.canonical())


def _table(stable: str | None) -> RouteTable:
    return RouteTable(
        family="asr", version=1, stable=stable, ledger_sequence=0, ledger_head="0" * 64, moved_at=AT, actor="r.manager",
        reason="release v2: approved by r.manager",
    )  # fmt: skip


# ---- telemetry ------------------------------------------------------------------------------------------------------
def _telemetry(size: Size) -> Found:
    from pyarrow import parquet

    with tempfile.TemporaryDirectory(prefix="soundcheck-scale-") as folder:
        part = _segment(Path(folder), rows=200, whole_hour=False)
        hour = _segment(Path(folder), rows=20_000, whole_hour=True)
        part_bytes, hour_bytes = part.stat().st_size / 200, hour.stat().st_size / 20_000
        group = parquet.ParquetFile(hour).metadata.row_group(0)
        columns = [group.column(number) for number in range(group.num_columns)]
        judged = sum(one.total_compressed_size for one in columns if one.path_in_schema in JUDGED) / 20_000
    kept_gb = size.requests_a_day * hour_bytes * size.retention_days / 1e9
    flushes = size.gateways * size.families_a_gateway * DAY_S
    per_family_s = size.requests_a_day / size.families / DAY_S
    rows = per_family_s * size.stage_s
    sampled = 2 * size.canary * rows
    return {
        "row_bytes_as_flushed": (part_bytes, "bytes", "lower"),
        "row_bytes_in_hour_files": (hour_bytes, "bytes", "lower"),
        "telemetry_gb_a_day": (size.requests_a_day * hour_bytes / 1e9, "GB", "lower"),
        "telemetry_tb_kept": (kept_gb / 1e3, "TB", "lower"),
        "telemetry_usd_a_month_kept": (kept_gb * USD_PER_GB_MONTH, "USD", "lower"),
        "flushed_files_a_day": (flushes, "files", "lower"),
        "flushed_usd_a_day_if_on_s3": (flushes * USD_PER_PUT, "USD", "lower"),
        "hour_files_a_day": (size.gateways * size.families_a_gateway * 24, "files", "lower"),
        "family_requests_per_s": (per_family_s, "1/s", "higher"),
        "judged_row_bytes": (judged, "bytes", "lower"),
        "stage_rows": (rows, "rows", "lower"),
        "stage_gb": (rows * judged / 1e9, "GB", "lower"),
        "stage_rows_equal_arms": (sampled, "rows", "lower"),
        "stage_mb_equal_arms": (sampled * judged / 1e6, "MB", "lower"),
        "new_rows_a_look": (2 * size.canary * per_family_s, "rows", "lower"),
    }


def _segment(folder: Path, *, rows: int, whole_hour: bool) -> Path:
    """A segment as the recorder writes it, of rows as a busy family has them."""
    from serving.telemetry import segments

    return segments.write(folder, _rows(rows), newest_ms=1_795_183_351_000, whole_hour=whole_hour)


@cache
def _rows(count: int) -> Any:
    import pyarrow

    from serving.telemetry import segments

    columns = segments.ROW_COLUMNS
    made = [_row(np.random.default_rng([SIZE.seed, number]), number) for number in range(count)]
    data = {column: [row[column] for row in made] for column in columns}
    return pyarrow.table(data, schema=segments.schema(columns))


def _row(random: np.random.Generator, number: int) -> dict[str, Any]:
    stream = number % 3 == 0
    infer_ms = float(random.lognormal(3.0, 0.5))
    words = int(random.poisson(8)) if stream else 0
    return TelemetryRow(
        timestamp=1_795_183_351.0 + number * 0.18 + float(random.random()) * 0.1,
        request_id=random.bytes(16).hex(), session_id=hashlib.md5(b"%d" % (number // 4)).hexdigest(),  # noqa: S324
        family="asr-commands", bundle=hashlib.sha256(b"%d" % (number % 10 == 0)).hexdigest(),
        arm="canary" if number % 10 == 0 else "stable", route_version=42, mode="stream" if stream else "http",
        tenant=f"tenant-{int(random.zipf(1.6)) % 40}", device=("phone", "web", "kiosk")[number % 3],
        language=("en-us", "en-gb", "es")[int(random.integers(3))], codec=("opus", "pcm16")[number % 2],
        status=200 if random.random() < 0.998 else 503, audio_s=round(float(random.gamma(4, 0.7)), 3),
        sent_rate_hz=16_000, speech_s=round(float(random.gamma(3, 0.7)), 2), segments=1 + number % 2,
        level_dbfs=round(float(random.normal(-24, 4)), 2), snr_db=round(float(random.normal(18, 6)), 2), clipped=0.0,
        latency_ms=infer_ms * 1.3 + 4, first_partial_ms=infer_ms if stream else None,
        preprocess_ms=float(random.lognormal(0, 0.3)), queue_ms=float(random.exponential(5)), infer_ms=infer_ms,
        postprocess_ms=float(random.lognormal(-2, 0.3)), batch=1 + int(random.poisson(1)), partial_words=4 * words,
        unstable_words=int(random.binomial(4 * words, 0.06)), confidence=round(float(random.beta(12, 2)), 4),
        cost_usd=infer_ms * 1.1e-8,
    ).model_dump()  # fmt: skip


# ---- a pointer change -----------------------------------------------------------------------------------------------
def _propagation(size: Size) -> Found:
    found: Found = {}
    for poll_s in POLLS_S:
        random = np.random.default_rng([size.seed, round(poll_s * 1000)])
        reach = propagation(
            gateways=size.gateways, poll_s=poll_s, moves=size.moves, latency=StoreLatency(), random=random
        )
        name = f"poll_{poll_s:g}s"
        found[f"reach_one_p50_s_{name}"] = (float(np.quantile(reach.each_s, 0.5)), "s", "lower")
        found[f"reach_all_p50_s_{name}"] = (float(np.quantile(reach.last_s, 0.5)), "s", "lower")
        found[f"reach_all_p99_s_{name}"] = (float(np.quantile(reach.last_s, 0.99)), "s", "lower")
    return found


# ---- the ledger -----------------------------------------------------------------------------------------------------
def _ledger(size: Size) -> Found:
    a_family = size.bundles // size.families
    store = MemoryStore()
    events = write_releases(store, a_family)
    calls = store.calls / events
    small = _snapshot_bytes(store)
    full = KEPT_RELEASES + 24  # from here on a release that comes pushes the steps of another out of the state
    write_releases(store, full - a_family, first=a_family)
    middle = _snapshot_bytes(store)
    write_releases(store, 40, first=full)
    each = (_snapshot_bytes(store) - middle) / 40
    ledger = Ledger(store, "asr")
    while (ledger.state().sequence + 1) % EVERY != EVERY - 1:  # the most that can stand after a snapshot
        ledger.append("note", "complete", at=AT)
    before, cold = store.calls, Ledger(store, "asr")
    cold.state()
    first = store.calls - before
    cold.state()
    return {
        "ledger_events": (size.bundles * len(STEPS), "events", "lower"),
        "calls_an_append": (calls, "calls", "lower"),
        "calls_cold_at_most": (first, "calls", "lower"),
        "calls_warm": (store.calls - before - first, "calls", "lower"),
        "cold_at_most_s_at_20ms_a_read": (first * StoreLatency().median_s, "s", "lower"),
        "snapshot_kb_a_family": (small / 1e3, "kB", "lower"),
        "snapshot_bytes_each_further_bundle": (each, "bytes", "lower"),
        "snapshot_mb_all_bundles_in_one_family": (
            (middle + each * (size.bundles - full)) / 1e6, "MB", "lower",
        ),
    }  # fmt: skip


def write_releases(store: MemoryStore, count: int, *, first: int = 0) -> int:
    """Append the events of `count` releases to the family `asr`; how many events."""
    ledger = Ledger(store, "asr")
    for number in range(first, first + count):
        bundle = hashlib.sha256(b"%d" % number).hexdigest()
        for step in STEPS:
            moved = step == "promote"
            ledger.append(
                step, "complete", at=AT, release=bundle,
                outputs={"bundle": bundle, "route_table": bundle} if moved or step == "package" else {"report": bundle},
                data={"version": f"v{number}", "actor": "r.manager", "reason": "release"} if moved else {},
            )  # fmt: skip
    return count * len(STEPS)


def _snapshot_bytes(store: MemoryStore) -> int:
    return len(store.objects[max(key for key in store.objects if key.startswith("snapshots/"))])


# ---- placement ------------------------------------------------------------------------------------------------------
def _placement(size: Size) -> Found:
    random = np.random.default_rng([size.seed, 1])
    peak = size.requests_a_day / DAY_S * size.peak
    made = fleet(
        families=size.families, peak_per_s=peak, infer_s=size.infer_s, busy=size.busy, canary=size.canary, random=random
    )
    host = Host()
    needed, fewest = hosts_needed(made.workers, host), fewest_hosts(made.workers, host)
    memory = np.mean([worker.memory_gb for worker in made.warm])
    return {
        "peak_requests_per_s": (peak, "1/s", "higher"),
        "workers": (len(made.workers), "processes", "lower"),
        "workers_stable": (len(made.stable), "processes", "lower"),
        "workers_canary": (len(made.canary), "processes", "lower"),
        "workers_warm": (len(made.warm), "processes", "lower"),
        "hosts": (needed, "hosts", "lower"),
        "hosts_at_least": (fewest, "hosts", "lower"),
        "hosts_if_every_bundle_were_warm": (float(np.ceil(size.bundles * memory / host.memory_gb)), "hosts", "lower"),
    }


# ---- what depends on the machine ------------------------------------------------------------------------------------
def timed() -> dict[str, Figure]:
    """How fast a look reads telemetry, and how long a cold look at a family's ledger computes."""
    from serving.telemetry import read

    with tempfile.TemporaryDirectory(prefix="soundcheck-scale-") as folder:
        root = Path(folder)
        for _ in range(10):
            _segment(root / "family=asr-commands" / "date=2026-11-20", rows=20_000, whole_hour=True)
        rates = [200_000 / frame.seconds_of(lambda: read(root, "asr-commands", 0.0, columns=JUDGED)) for _ in range(6)]
    store = MemoryStore()
    write_releases(store, SIZE.bundles // SIZE.families)
    reads = [_seconds_cold(store) for _ in range(6)]
    return {
        "telemetry_rows_per_s": frame.median_of(rates[1:], "rows/s", "higher"),
        "ledger_cold_read_s": frame.median_of(reads[1:], "s", "lower"),
    }


def _seconds_cold(store: MemoryStore) -> float:
    began = time.perf_counter()
    Ledger(store, "asr").state()
    return time.perf_counter() - began


def rows(figures: Mapping[str, Figure]) -> list[str]:
    """The figures as docs/scale.md has them."""
    return [f"| `{name}` | {_written(figure.value)} | {figure.unit} |" for name, figure in figures.items()]


def _written(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


if __name__ == "__main__":
    frame.main(measure)
