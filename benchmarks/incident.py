"""How long a packet takes: a million telemetry rows on disk, a bundle that was promoted when the window began.

    python -m benchmarks.incident [--json] [--quick]

Boundary: writes Parquet segments as `telemetry tidy` leaves them into a temporary folder, and calls the operation.
The clock runs over reading, finding, the ledger event and the three files; making the rows and loading the models
stand outside it. The packet that must be fast is the first one, without fixtures played; with them it is timed beside.
The releases behind both bundles are those of the tests (tests/operations/trained_family.py); without trained candidates
the tests' engine stands in for the models, which cannot be played, and the settings say so.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks import frame
from contracts.digest import Digest
from contracts.telemetry import TelemetryRow
from operations.context import Context
from operations.incident import open_incident
from serving.telemetry import segments

REPOSITORY = Path(__file__).resolve().parents[1]

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


def rows(start: int, size: int, begin_s: float, step_s: float, family: str, bundles: Sequence[Digest]) -> Any:
    """An Arrow table of requests; in the window, the last fifth, phones are slow and the second bundle answers."""
    import pyarrow

    random = np.random.default_rng(start)
    number = np.arange(start, start + size)
    session = number // PER_SESSION
    at = begin_s + number * step_s
    phone, late = session % len(LABELS["device"]) == 0, at > begin_s + SPAN_S - WINDOW_S
    latency = random.lognormal(5, 0.4, size) * np.where(phone & late, 3, 1)
    said: dict[str, Any] = {
        "timestamp": at, "request_id": [f"{one:032x}" for one in number],
        "session_id": [f"{one:032x}" for one in session], "latency_ms": latency,
        "queue_ms": random.exponential(5, size), "infer_ms": latency * 0.7, "preprocess_ms": random.random(size) * 5,
        "postprocess_ms": random.random(size), "partial_words": random.integers(0, 9, size),
        "unstable_words": random.integers(0, 2, size), "confidence": random.beta(9, 1, size),
        "status": np.where(random.random(size) < 0.001, 503, 200), "audio_s": random.random(size) * 4 + 1,
        "cost_usd": random.random(size) * 1e-5, "bundle": np.array(bundles)[late.astype(int)],
        "speech_s": random.random(size) * 3, "level_dbfs": np.round(random.normal(-24, 4, size), 1), **{
            name: np.array(values)[(session // place + session) % len(values)]
            for place, (name, values) in enumerate(LABELS.items(), start=3)
        },
    }  # fmt: skip
    said["device"] = np.array(LABELS["device"])[session % len(LABELS["device"])]
    fixed = {"family": family, "arm": "stable", "route_version": 1}
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


def installation(root: Path, count: int, *, trained: bool) -> Context:
    """A family whose `v2` was promoted when the window began, with `count` rows of telemetry that end now."""
    from tests.operations.tiny_family import TinyFamily
    from tests.operations.trained_family import TrainedFamily

    now = datetime.now(UTC)
    made = TrainedFamily(root) if trained else TinyFamily(root)
    context = made.context
    context.now = lambda: now - timedelta(seconds=WINDOW_S)
    for version in ("v1", "v2"):
        if isinstance(made, TrainedFamily):
            made.release(version)
        else:
            made.promote(version, version)
    context.now = lambda: now
    family, bundles = context.settings.families[0], list(made.bundles.values())
    for start in range(0, count, SEGMENT):
        size = min(SEGMENT, count - start)
        table = rows(start, size, now.timestamp() - SPAN_S, SPAN_S / count, family, bundles)
        newest_ms = int(table["timestamp"][-1].as_py() * 1000) + 1
        folder = made.home / "telemetry" / segments.rows_of(family) / f"date={now:%Y-%m-%d}"
        segments.write(folder, table, newest_ms=newest_ms, whole_hour=True)
    return context


def measure(progress: frame.Progress) -> frame.Result:
    """Seconds from the call to the packet on disk, in this process, over trained bundles where there are some."""
    trained = (REPOSITORY / "candidates" / "asr-commands" / "v2" / "candidate.yaml").is_file()
    return _measure(progress, ROWS, trained=trained)


def quick(progress: frame.Progress) -> frame.Result:
    """The same on little data and the tests' engine."""
    return _measure(progress, 20_000, trained=False)


def _measure(progress: frame.Progress, count: int, *, trained: bool) -> frame.Result:
    with tempfile.TemporaryDirectory(prefix="incident-") as folder:
        context = installation(Path(folder) / "project", count, trained=trained)
        progress(f"{count:,} rows are on disk")
        _timed(context, with_replay=trained)  # the first imports pandas and pyarrow, and loads the models
        made = []
        for _ in range(frame.MIN_RUNS):
            made.append(_timed(context, with_replay=False))
            progress(f"packet in {made[-1].wall_s:.2f} s, {made[-1].processor_s:.2f} s of processor time")
        played = [_timed(context, with_replay=True).wall_s for _ in range(frame.MIN_RUNS)] if trained else []
    figures = {
        "packet_s": frame.median_of((one.wall_s for one in made), "s", "lower", must=MUST_S),
        "packet_processor_s": frame.median_of((one.processor_s for one in made), "s", "lower"),
        "rows_per_s": frame.median_of((count / one.wall_s for one in made), "rows/s", "higher"),
        "planted_slice_found": frame.Figure(float(all(one.found for one in made)), "yes", "higher", must=1),
    }
    if played:
        figures["packet_with_replay_s"] = frame.median_of(played, "s", "lower", must=MUST_S)
    models = "trained" if trained else "the tests' engine"
    sizes = {"rows": count, "sessions": count // PER_SESSION, "window_s": WINDOW_S, "labels": len(LABELS)}
    return frame.Result(settings={"models": models, **sizes}, figures=figures)


class Timed(NamedTuple):
    """Seconds that a packet took, by the clock and of all threads of this process; whether it has the slow slice."""

    wall_s: float
    processor_s: float
    found: bool


def _timed(context: Context, *, with_replay: bool) -> Timed:
    began, spent = time.perf_counter(), time.process_time()
    opened = open_incident(context, context.settings.families[0], since_s=WINDOW_S, with_replay=with_replay)
    wall_s, processor_s = time.perf_counter() - began, time.process_time() - spent
    assert (opened.incident.replay is not None) == with_replay
    found = any(one.confirmed and one.slice == "device=phone" for one in opened.incident.regressions)
    return Timed(wall_s, processor_s, found)


if __name__ == "__main__":
    frame.main(measure, quick=quick)
