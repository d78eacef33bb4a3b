"""A family with two promoted bundles and telemetry on disk, to be hurt by a test."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow

from contracts.digest import Digest
from contracts.telemetry import TelemetryRow
from serving.telemetry import segments
from tests.operations.gated_releases import FAMILY
from tests.operations.tiny_family import TinyFamily

SINCE_S = 1800.0
REQUESTS = 3000
"""Of the baseline and the window together: 600 s of the window's requests are a fifth."""
Harm = Callable[[dict[str, Any]], Mapping[str, Any]]
"""What is different about a request of the window, given its row."""


class IncidentWorld:
    """`v1` was stable, `v2` is; two hours and a half of traffic, five requests a session."""

    def __init__(self, root: Path, *, new: bool) -> None:
        self.family = TinyFamily(root / "project")
        self.context = self.family.context
        self.home = self.family.home
        if new:
            self.now_s = datetime.now(UTC).timestamp() + 60
            self.family.promote("v1", "one")
        self.family.promote("v2", "two") if new else self.family.promote("v1", "one")
        self.stable = self.family.bundles["v2" if new else "v1"]
        self.before: Digest = self.family.bundles["v1"]
        if not new:
            self.now_s = datetime.now(UTC).timestamp() + 60
        self.context.now = lambda: datetime.fromtimestamp(self.now_s, UTC)

    def traffic(self, harm: Harm = lambda _row: {}, *, requests: int = REQUESTS, seed: int = 7, **more: Any) -> None:
        """Write rows: `harm` changes those of the window, `more` all."""
        random = np.random.default_rng(seed)
        rows = []
        for number in range(requests):
            at = self.now_s - 9000 + 9000 * number / requests
            late = at >= self.now_s - SINCE_S
            session = number // 5
            latency = float(random.lognormal(5, 0.3))
            row: dict[str, Any] = {
                "timestamp": at, "request_id": f"{number:032x}", "session_id": f"{session:032x}", "family": FAMILY,
                "bundle": self.stable if late else self.before, "arm": "stable", "route_version": 2, "mode": "http",
                "device": ("phone", "web", "car", "tv")[session % 4], "language": "en", "status": 200, "audio_s": 2.0,
                "latency_ms": latency, "queue_ms": float(random.exponential(4)), "infer_ms": latency * 0.6,
                "preprocess_ms": 5.0, "postprocess_ms": 2.0, "partial_words": 5,
                "unstable_words": int(random.random() < 0.05), "confidence": 0.9, "cost_usd": 1e-5, **more,
            }  # fmt: skip
            rows.append(row | dict(harm(row)) if late else row)
        self.put(rows)

    def put(self, rows: list[dict[str, Any]]) -> None:
        """Write rows as they are, also those that a recorder would refuse."""
        columns = segments.ROW_COLUMNS
        defaults = {name: field.get_default() for name, field in TelemetryRow.model_fields.items()}
        data = {name: [row.get(name, defaults[name]) for row in rows] for name in columns}
        table = pyarrow.table(data, schema=segments.schema(columns))
        folder = self.home / "telemetry" / segments.rows_of(FAMILY) / "date=2026-01-01"
        segments.write(folder, table, newest_ms=int(max(row["timestamp"] for row in rows) * 1000) + 1)
