"""Telemetry on disk for drift detection: segments of an hour, as gateways leave them, with a season and no text.

The rows satisfy contracts/telemetry.py. Sessions have one to five requests, a device, a language and a tenant; weekends
are quieter and longer; clients correct some answers (events). `harm` changes the rows of one device from a day on.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow

from serving.telemetry import segments

DAY_S = 86_400.0
DEVICES = np.array(["phone", "desktop", "headset", "car"])
LANGUAGES = np.array(["en", "cy", "gd"])
TENANTS = np.array(["acme", "internal", "northern"])
CORRECTED = 0.04
WEEKEND = 0.6
"""Of a working day's rows, how many a day of the weekend has."""
MEAN_DAY = (5 + 2 * WEEKEND) / 7


def write(
    root: Path, family: str, bundle: str, *, start_s: float, days: int, rows_a_day: int, seed: int,
    harm: Mapping[str, float] | None = None, harmed: str = "headset", harm_from: int = 10**9, segment_h: int = 1,
) -> int:  # fmt: skip
    """Write whole days from `start_s` (midnight UTC); the number of rows. `harm` adds to columns of a device.

    A segment holds `segment_h` hours, as a divisor of a day.
    """
    generator = np.random.default_rng(seed)
    written = 0
    for day in range(days):
        wanted = rows_a_day * (WEEKEND if day % 7 >= 5 else 1.0) / 3
        data = _rows(generator, int(generator.poisson(wanted)), day)
        if harm and day >= harm_from:
            own = data["device"] == harmed
            for column, added in harm.items():
                data[column] = np.where(own, data[column] + added, data[column])
            data["confidence"], data["clipped"] = (np.clip(data[name], 0, 1) for name in ("confidence", "clipped"))
        data["timestamp"] = start_s + day * DAY_S + data["timestamp"]
        written += _write_day(root, family, bundle, data, segment_h, generator)
    return written


def _rows(generator: np.random.Generator, sessions: int, day: int) -> dict[str, Any]:
    requests = 1 + generator.poisson(2.0, sessions)
    at = np.repeat(np.arange(sessions), requests)
    n, weekend = len(at), float(day % 7 >= 5)
    begins = np.sort(generator.random(sessions)) * (DAY_S - 600)
    own = generator.standard_normal((4, sessions))[:, at]
    audio = np.clip(2.5 + 0.3 * weekend + 0.8 * own[0] + generator.standard_normal(n), 0.3, 30.0)
    device = generator.choice(4, sessions, p=(0.5, 0.2, 0.2, 0.1))[at]
    return {
        "timestamp": begins[at] + generator.random(n) * 500,
        "session": at,
        "device": DEVICES[device],
        "language": LANGUAGES[generator.choice(3, sessions, p=(0.9, 0.07, 0.03))[at]],
        "tenant": TENANTS[generator.choice(3, sessions, p=(0.6, 0.25, 0.15))[at]],
        "audio_s": audio,
        "speech_s": audio * np.clip(0.65 + 0.1 * own[1] + 0.05 * generator.standard_normal(n), 0.05, 1.0),
        "segments": 1 + generator.poisson(0.4 * audio / 2.5),
        "level_dbfs": -24 + 3 * own[2] + 3 * generator.standard_normal(n),
        "snr_db": 22 - 6 * (device == 3) + 4 * own[3] + 4 * generator.standard_normal(n),
        "clipped": np.where(generator.random(n) < 0.02, 0.01, 0.0),
        "confidence": np.clip(0.88 + 0.04 * own[1] + 0.07 * generator.standard_normal(n), 0.0, 1.0),
        "latency_ms": 80 + generator.exponential(40, n),
    }


def _write_day(
    root: Path, family: str, bundle: str, data: dict[str, Any], segment_h: int, generator: np.random.Generator
) -> int:
    n = len(data["timestamp"])
    ids = _ids(n)
    sessions = pyarrow.array(_ids(int(data["session"].max()) + 1)).take(pyarrow.array(data["session"]))
    constant = {
        "family": family, "bundle": bundle, "arm": "stable", "route_version": 1, "mode": "http", "codec": "none",
        "probe": "no", "priority": "interactive", "degraded": "no", "cascade": "none", "status": 200, "error_code": "",
        "worker_died": 0, "retries": 0, "sent_rate_hz": 16_000, "preprocess_ms": 1.0, "queue_ms": 2.0, "infer_ms": 30.0,
        "postprocess_ms": 0.5, "batch": 1, "partial_words": 0, "unstable_words": 0, "cost_usd": 1e-6,
        "privacy_errors": 0,
    }  # fmt: skip
    schema = segments.schema(segments.ROW_COLUMNS)
    columns: dict[str, Any] = {"request_id": pyarrow.array(ids), "session_id": sessions}
    for field in schema:
        if field.name in constant:
            columns[field.name] = pyarrow.repeat(pyarrow.scalar(constant[field.name], field.type), n)
        elif field.name in data:
            columns[field.name] = pyarrow.array(data[field.name], field.type)
        elif field.name not in columns:
            columns[field.name] = pyarrow.nulls(n, field.type)
    table = pyarrow.table({name: columns[name] for name in schema.names}, schema=schema)
    date = datetime.fromtimestamp(float(data["timestamp"].min()), UTC).strftime("%Y-%m-%d")
    lasts_s = 3600 * segment_h
    segment = (data["timestamp"] // lasts_s).astype(np.int64)
    for number in np.unique(segment):
        part = table.filter(pyarrow.array(segment == number))
        folder = root / segments.rows_of(family) / f"date={date}"
        segments.write(folder, part, newest_ms=(int(number) + 1) * lasts_s * 1000, whole_hour=True)
    _write_events(root, family, ids, data["timestamp"], date, generator)
    return n


def _write_events(
    root: Path, family: str, ids: list[str], timestamps: Any, date: str, generator: np.random.Generator
) -> None:
    told = np.flatnonzero(generator.random(len(ids)) < CORRECTED)
    names = segments.columns_of(segments.events_of(family))
    own = {
        "timestamp": timestamps[told] + 20.0,
        "request_id": [ids[at] for at in told],
        "kind": ["correction"] * len(told),
    }
    schema = segments.schema(names)
    table = pyarrow.table(
        {field.name: pyarrow.array(own[field.name], field.type) if field.name in own
         else pyarrow.nulls(len(told), field.type) for field in schema},
        schema=schema,
    )  # fmt: skip
    newest_ms = int((timestamps.max() + 60) * 1000)
    segments.write(root / segments.events_of(family) / f"date={date}", table, newest_ms=newest_ms, whole_hour=True)


def _ids(count: int) -> list[str]:
    digits = os.urandom(16 * count).hex()
    return [digits[32 * at : 32 * (at + 1)] for at in range(count)]
