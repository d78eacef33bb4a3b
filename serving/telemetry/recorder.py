"""Rows and events from the gateway into segments, written behind the back of the request.

Boundary: a thread of its own writes below ROOT; the rows are contracts.telemetry.TelemetryRow, validated there.
Invariants: `record` never blocks and never raises; rows that cannot be written now (a full disk) wait for the next try,
at most MAX_WAITING_ROWS of them: what comes above that is dropped and counted; no column can hold text.
"""

from __future__ import annotations

import importlib
import logging
import threading
import time
from collections import OrderedDict, deque
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from contracts.telemetry import ClientEvent, TelemetryRow
from serving.telemetry import segments
from serving.telemetry.segments import UNKNOWN_FAMILY, events_of, is_events, rows_of

log = logging.getLogger(__name__)

FLUSH_S = 1.0
FLUSH_ROWS = 200
LONGEST_PAUSE_S = 30.0
"""Between two tries while segments cannot be written."""
MAX_WAITING_ROWS = 20_000
REMEMBERED_REQUESTS = 100_000


class Recorder:
    """Takes rows and events from the gateway and writes them from a thread of its own."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._rows: deque[tuple[str, dict[str, Any]]] = deque()
        self._families: OrderedDict[str, str] = OrderedDict()
        self._wake = threading.Event()
        self._closing = False
        self._pause_s = FLUSH_S
        self._refused = 0
        self._lost = 0
        self.written = 0
        self._thread = threading.Thread(target=self._run, name="telemetry", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Rows and events that no segment will have."""
        return self._refused + self._lost

    @property
    def waiting(self) -> int:
        """Rows and events that are not written yet."""
        return len(self._rows)

    def record(self, row: dict[str, Any]) -> None:
        """Take one request's row (fields of TelemetryRow)."""
        self._families[row["request_id"]] = row["family"]
        if len(self._families) > REMEMBERED_REQUESTS:
            self._families.popitem(last=False)
        self._take(rows_of(row["family"]), row)

    def event(self, event: ClientEvent, timestamp: float) -> str:
        """Take what a client told about a request, at `timestamp` (seconds since the epoch); the request's family."""
        family = self._families.get(event.request_id, UNKNOWN_FAMILY)
        row: dict[str, Any] = event.model_dump(exclude={"labels"})
        row |= {"timestamp": timestamp, **{str(name): value for name, value in event.labels.items()}}
        self._take(events_of(family), row)
        return family

    def close(self) -> None:
        """Write what is waiting, then stop; what cannot be written is dropped."""
        self._closing = True
        self._wake.set()
        self._thread.join(timeout=10)

    def _take(self, folder: str, row: dict[str, Any]) -> None:
        if len(self._rows) >= MAX_WAITING_ROWS:
            self._refused += 1
            return
        self._rows.append((folder, row))
        if len(self._rows) >= FLUSH_ROWS and self._pause_s <= FLUSH_S:
            self._wake.set()

    def _run(self) -> None:
        # Imported here, before the first row: it takes a second, and the first requests would wait for it. pyarrow
        # imports pandas by itself for its first table.
        for name in ("pyarrow.parquet", "pandas"):
            importlib.import_module(name)
        while not self._closing:
            self._wake.wait(self._pause_s)
            self._wake.clear()
            self._flush()
        self._flush()
        self._lost += len(self._rows)
        self._rows.clear()

    def _flush(self) -> None:
        folders: dict[str, list[dict[str, Any]]] = {}
        for _ in range(len(self._rows)):
            folder, row = self._rows.popleft()
            if not is_events(folder) and not _valid(row):
                self._lost += 1
                continue
            folders.setdefault(folder, []).append(row)
        failed = [(folder, rows) for folder, rows in folders.items() if not self._written(folder, rows)]
        for folder, rows in failed:
            self._rows.extendleft((folder, row) for row in reversed(rows))
        self._pause_s = min(self._pause_s * 2, LONGEST_PAUSE_S) if failed else FLUSH_S

    def _written(self, folder: str, rows: list[dict[str, Any]]) -> bool:
        """Whether these rows are settled; False: try them again."""
        try:
            self._write(folder, rows)
        except OSError as error:
            # A full or missing disk must not take the gateway with it: the rows wait, and the loss is counted.
            log.error("telemetry of %d rows was not written: %s", len(rows), error.strerror or type(error).__name__)
            return False
        except Exception as error:
            log.error("telemetry of %d rows was not written: %s", len(rows), type(error).__name__)
            self._lost += len(rows)
            return True
        self.written += len(rows)
        return True

    def _write(self, folder: str, rows: list[dict[str, Any]]) -> None:
        import pyarrow

        columns = segments.columns_of(folder)
        # After the newest row, whatever the clock has done since: readers skip segments by this time (fault 64).
        newest_s = max(time.time(), *(row["timestamp"] for row in rows))
        date = datetime.fromtimestamp(newest_s, UTC).strftime("%Y-%m-%d")
        data = {column: [row.get(column) for row in rows] for column in columns}
        table = pyarrow.table(data, schema=segments.schema(columns))
        segments.write(self._root / folder / f"date={date}", table, newest_ms=int(newest_s * 1000) + 1)


def _valid(row: dict[str, Any]) -> bool:
    try:
        row.update(TelemetryRow.model_validate(row).model_dump())
    except ValidationError as error:
        fields = sorted({str(part["loc"][0]) for part in error.errors(include_input=False) if part["loc"]})
        log.error("a telemetry row does not satisfy its contract in %s", ", ".join(fields))
        return False
    return True
