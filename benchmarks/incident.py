"""How long a packet takes: a million telemetry rows on disk, `soundcheck incident open` without its replay of audio.

Boundary: writes Parquet segments as `telemetry tidy` leaves them into a temporary folder, and calls the operation.
The clock runs over reading, finding, the ledger event and the three files; making the rows stands outside it.
"""

from __future__ import annotations

import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import frame
from contracts.telemetry import TelemetryRow
from operations.context import Context
from operations.incident import open_incident
from operations.settings import Settings, find_settings
from serving.telemetry import segments

ROWS = 1_000_000
PER_SESSION = 4
SPAN_S = 9000.0
WINDOW_S = 1800.0
SEGMENT = 100_000
LABELS = {
    "device": ("phone", "web", "car", "tv", "tablet"),
    "language": ("en", "de", "fr", "es"),
    "tenant": tuple(f"tenant-{number}" for number in range(20)),
    "codec": ("opus", "g722", "pcm"),
    "mode": ("http", "stream"),
}
MUST_S = 10.0


def rows(start: int, size: int, begin_s: float, step_s: float, family: str) -> Any:
    """An Arrow table of requests; the last fifth of phones is slow."""
    import pyarrow

    random = np.random.default_rng(start)
    number = np.arange(start, start + size)
    session = number // PER_SESSION
    at = begin_s + number * step_s
    phone = session % len(LABELS["device"]) == 0
    latency = random.lognormal(5, 0.4, size) * np.where(phone & (at > begin_s + SPAN_S - WINDOW_S), 3, 1)
    said: dict[str, Any] = {
        "timestamp": at, "request_id": [f"{one:032x}" for one in number],
        "session_id": [f"{one:032x}" for one in session], "latency_ms": latency,
        "queue_ms": random.exponential(5, size), "infer_ms": latency * 0.7, "preprocess_ms": random.random(size) * 5,
        "postprocess_ms": random.random(size), "partial_words": random.integers(0, 9, size),
        "unstable_words": random.integers(0, 2, size), "confidence": random.beta(9, 1, size),
        "status": np.where(random.random(size) < 0.001, 503, 200), "audio_s": random.random(size) * 4 + 1,
        "cost_usd": random.random(size) * 1e-5, **{
            name: np.array(values)[(session // place + session) % len(values)]
            for place, (name, values) in enumerate(LABELS.items(), start=3)
        },
    }  # fmt: skip
    said["device"] = np.array(LABELS["device"])[session % len(LABELS["device"])]
    fixed = {"family": family, "bundle": "ab" * 32, "arm": "stable", "route_version": 1}
    defaults = {name: field.get_default() for name, field in TelemetryRow.model_fields.items()} | fixed
    schema = segments.schema(segments.ROW_COLUMNS)
    columns = [
        pyarrow.array(said[field.name], type=field.type)
        if field.name in said
        else pyarrow.repeat(pyarrow.scalar(_default(defaults, field.name), type=field.type), size)
        for field in schema
    ]
    return pyarrow.Table.from_arrays(columns, schema=schema)


def _default(defaults: dict[str, Any], name: str) -> Any:
    value = defaults[name]
    return value if isinstance(value, str | int | float) else None


def installation(root: Path, count: int) -> Context:
    """A home folder with `count` rows of telemetry that end now."""
    from registry.store import open_store

    settings = Settings(find_settings().root, root)
    now = datetime.now(UTC)
    family = settings.families[0]
    for start in range(0, count, SEGMENT):
        size = min(SEGMENT, count - start)
        table = rows(start, size, now.timestamp() - SPAN_S, SPAN_S / count, family)
        newest_ms = int(table["timestamp"][-1].as_py() * 1000) + 1
        folder = root / "telemetry" / segments.rows_of(family) / f"date={now:%Y-%m-%d}"
        segments.write(folder, table, newest_ms=newest_ms, whole_hour=True)
    return Context(settings, open_store("file://store", root), lambda: now)


def measure(progress: frame.Progress, count: int = ROWS) -> frame.Result:
    """Seconds from the call to the packet on disk, in this process."""
    with tempfile.TemporaryDirectory(prefix="incident-") as folder:
        context = installation(Path(folder), count)
        family = context.settings.families[0]
        progress(f"{count:,} rows are on disk")
        seconds, found = [], 0
        for turn in range(frame.MIN_RUNS + 1):
            began = time.perf_counter()
            opened = open_incident(context, family, since_s=WINDOW_S, with_replay=False)
            taken = time.perf_counter() - began
            found = sum(one.confirmed and one.slice == "device=phone" for one in opened.incident.regressions)
            if turn:  # the first imports pandas and pyarrow
                seconds.append(taken)
            progress(f"packet in {taken:.2f} s")
    return frame.Result(
        settings={"rows": count, "sessions": count // PER_SESSION, "window_s": WINDOW_S, "labels": len(LABELS)},
        figures={
            "packet_s": frame.median_of(seconds, "s", "lower", must=MUST_S),
            "rows_per_s": frame.median_of((count / one for one in seconds), "rows/s", "higher"),
            "planted_slice_found": frame.Figure(float(found > 0), "yes", "higher", must=1),
        },
    )


def quick(progress: frame.Progress) -> frame.Result:
    """The same on little data."""
    return measure(progress, 20_000)


if __name__ == "__main__":
    frame.main(measure, quick=quick)
