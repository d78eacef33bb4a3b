"""Telemetry: one row a request into Parquet segments, written behind the back of the request.

Boundary: writes below `HOME/telemetry` alone; the rows are contracts.telemetry.TelemetryRow, validated in the writing
thread. Source: release-algorithm R7.8.
Invariants: `Recorder.record` never blocks and never raises (a full queue drops the row and counts it); a segment is
complete or absent (temporary file, then rename); what labelled probes say afterwards is a table of its own, joined by
`read`, so that no segment is ever rewritten; no column can hold text.

Layout:
    HOME/telemetry/family=F/date=YYYY-MM-DD/part-MILLISECONDS-PID-N.parquet
    HOME/telemetry/events/family=F/date=YYYY-MM-DD/part-MILLISECONDS-PID-N.parquet
MILLISECONDS is the time a segment was flushed at: every row in it is older, so readers skip by name.
"""

from __future__ import annotations

import importlib
import logging
import os
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from contracts.telemetry import PROBE_LABELS, ClientEvent, TelemetryRow

if TYPE_CHECKING:
    import pandas

log = logging.getLogger(__name__)

FLUSH_S = 1.0
FLUSH_ROWS = 200
MAX_WAITING_ROWS = 20_000
REMEMBERED_REQUESTS = 100_000
UNKNOWN_FAMILY = "unknown"
"""Where events go whose request another gateway answered; `read` looks there too."""

_INTEGERS = (
    "route_version", "status", "partial_words", "unstable_words", "privacy_errors", "shadow_edits", "shadow_words",
    "errors", "words",
)  # fmt: skip
_FLOATS = (
    "timestamp", "audio_s", "latency_ms", "first_partial_ms", "queue_ms", "infer_ms", "confidence", "cost_usd",
)  # fmt: skip

EVENT_COLUMNS = ("timestamp", "request_id", "kind", "errors", "words", *PROBE_LABELS)


def _schema(columns: Iterable[str]) -> Any:
    import pyarrow

    def kind(name: str) -> Any:
        if name in _INTEGERS:
            return pyarrow.int64()
        return pyarrow.float64() if name in _FLOATS else pyarrow.string()

    return pyarrow.schema([(name, kind(name)) for name in columns])


class Recorder:
    """Takes rows and events from the gateway and writes them from a thread of its own."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._rows: deque[tuple[str, dict[str, Any]]] = deque()
        self._families: OrderedDict[str, str] = OrderedDict()
        self._wake = threading.Event()
        self._closing = False
        self._segment = 0
        self.dropped = 0
        self.written = 0
        self._thread = threading.Thread(target=self._run, name="telemetry", daemon=True)
        self._thread.start()

    def record(self, row: dict[str, Any]) -> None:
        """Take one request's row (fields of TelemetryRow)."""
        self._families[row["request_id"]] = row["family"]
        if len(self._families) > REMEMBERED_REQUESTS:
            self._families.popitem(last=False)
        self._take(f"family={row['family']}", row)

    def event(self, event: ClientEvent, timestamp: float) -> None:
        """Take what a client told about a request; `timestamp` in seconds since the epoch."""
        family = self._families.get(event.request_id, UNKNOWN_FAMILY)
        row: dict[str, Any] = event.model_dump(exclude={"labels"})
        row |= {"timestamp": timestamp, **{str(name): value for name, value in event.labels.items()}}
        self._take(f"events/family={family}", row)

    def close(self) -> None:
        """Write what is waiting, then stop."""
        self._closing = True
        self._wake.set()
        self._thread.join(timeout=10)

    def _take(self, table: str, row: dict[str, Any]) -> None:
        if len(self._rows) >= MAX_WAITING_ROWS:
            self.dropped += 1
            return
        self._rows.append((table, row))
        if len(self._rows) >= FLUSH_ROWS:
            self._wake.set()

    def _run(self) -> None:
        # Imported here, before the first row: it takes a second, and the first rows would wait for it.
        importlib.import_module("pyarrow.parquet")
        while not self._closing:
            self._wake.wait(FLUSH_S)
            self._wake.clear()
            self._flush()
        self._flush()

    def _flush(self) -> None:
        tables: dict[str, list[dict[str, Any]]] = {}
        for _ in range(len(self._rows)):
            table, row = self._rows.popleft()
            if not table.startswith("events/") and not _valid(row):
                self.dropped += 1
                continue
            tables.setdefault(table, []).append(row)
        for table, rows in tables.items():
            try:
                self._write(table, rows)
                self.written += len(rows)
            except Exception as error:
                # A full or missing disk must not take the gateway with it; the loss is counted and shown.
                self.dropped += len(rows)
                log.error("telemetry of %d rows was not written: %s", len(rows), type(error).__name__)

    def _write(self, table: str, rows: list[dict[str, Any]]) -> None:
        import pyarrow
        from pyarrow import parquet

        columns = EVENT_COLUMNS if table.startswith("events/") else tuple(TelemetryRow.model_fields)
        now_s = time.time()
        folder = self._root / table / f"date={datetime.fromtimestamp(now_s, UTC):%Y-%m-%d}"
        folder.mkdir(parents=True, exist_ok=True)
        self._segment += 1
        name = f"part-{int(now_s * 1000) + 1:013d}-{os.getpid()}-{self._segment}.parquet"
        temporary = folder / f".{name}.tmp"
        data = {column: [row.get(column) for row in rows] for column in columns}
        parquet.write_table(pyarrow.table(data, schema=_schema(columns)), temporary)
        temporary.rename(folder / name)


def _valid(row: dict[str, Any]) -> bool:
    try:
        row.update(TelemetryRow.model_validate(row).model_dump())
    except ValidationError as error:
        fields = sorted({str(part["loc"][0]) for part in error.errors(include_input=False) if part["loc"]})
        log.error("a telemetry row does not satisfy its contract in %s", ", ".join(fields))
        return False
    return True


def _segments(folder: Path, since_s: float) -> list[Path]:
    """Segments that may hold rows at or after `since_s`, oldest first."""
    parts = (part for part in folder.glob("date=*/part-*.parquet"))
    return sorted(part for part in parts if int(part.name.split("-")[1]) >= since_s * 1000)


def _table(folders: Iterable[Path], columns: tuple[str, ...], since_s: float) -> pandas.DataFrame:
    import pyarrow
    from pyarrow import parquet

    schema = _schema(columns)
    tables = [schema.empty_table()]
    for folder in folders:
        tables += [parquet.read_table(part, schema=schema, partitioning=None) for part in _segments(folder, since_s)]
    frame: pandas.DataFrame = pyarrow.concat_tables(tables).to_pandas()
    return frame[frame["timestamp"] >= since_s]


def read(root: Path, family: str, since_s: float = 0.0) -> pandas.DataFrame:
    """A family's rows since `since_s` (seconds since the epoch), in time order, joined with its probe events.

    Columns are those of TelemetryRow. The newest probe event of a request fills `errors` and `words` of the answer the
    user got (a shadow copy has no reference count of its own) and the probe labels of both. No telemetry: no rows.
    """
    columns = tuple(TelemetryRow.model_fields)
    rows = _table([root / f"family={family}"], columns, since_s)
    event_folders = [root / "events" / f"family={name}" for name in (family, UNKNOWN_FAMILY)]
    events = _table(event_folders, EVENT_COLUMNS, since_s)
    probes = events[events["kind"] == "probe"].sort_values("timestamp").drop_duplicates("request_id", keep="last")
    joined = rows.drop(columns=["errors", "words", *PROBE_LABELS]).merge(
        probes[["request_id", "errors", "words", *PROBE_LABELS]], on="request_id", how="left"
    )
    joined.loc[joined["arm"] == "shadow", ["errors", "words"]] = float("nan")
    ordered: pandas.DataFrame = joined.sort_values("timestamp", kind="stable").reset_index(drop=True)[list(columns)]
    return ordered


def contract_columns(model: type[BaseModel] = TelemetryRow) -> Mapping[str, str]:
    """Each column and its type in a segment, for documentation and tests."""
    return {field.name: str(field.type) for field in _schema(model.model_fields)}
