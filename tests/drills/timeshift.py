"""Telemetry of a drill, moved in time: what a gateway wrote in seconds, laid over the hours or days of a story.

This is the drills' one liberty: drift compares weeks and an incident compares hours. Every row is of a request that a
client sent and a worker heard; none is copied, dropped or changed but in its timestamp, and the rows of a session keep
their distances. The times of events follow those of their requests.

Boundary: reads and writes segments below HOME/telemetry, through serving.telemetry.segments.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pyarrow

from serving.telemetry import segments
from serving.telemetry.segments import EVENT_COLUMNS, ROW_COLUMNS, events_of, rows_of

SETTLES_S = 20.0
"""How long rows may take from an answer to the disk, and events from their client."""


class Recorded(NamedTuple):
    """Rows of a family in time order, and what clients told about them; columns as in a segment."""

    rows: pd.DataFrame
    events: pd.DataFrame

    @property
    def sessions(self) -> int:
        """How many sessions there are."""
        return int(self.rows["session_id"].nunique())


class Compared(NamedTuple):
    """What an incident compares."""

    baseline: Recorded
    window: Recorded


def by_turns(rounds: int, baseline: Callable[[int], Recorded], window: Callable[[int], Recorded]) -> Compared:
    """Both played by turns, each called with the number of its round.

    So what else the machine does is beside both alike, and no pace that changed looks like a finding.
    """
    pairs = [(baseline(number), window(number)) for number in range(rounds)]
    return Compared(*(_joined(parts) for parts in zip(*pairs, strict=True)))


def _joined(parts: Sequence[Recorded]) -> Recorded:
    rows, events = (pd.concat(tables, ignore_index=True) for tables in zip(*parts, strict=True))
    return Recorded(rows, events)


def take(root: Path, family: str, *, rows: int, events: int) -> Recorded:
    """Everything that lies below `root`, once so many rows and events are there; it is taken away.

    Raises AssertionError where they do not come within SETTLES_S.
    """
    ends = time.monotonic() + SETTLES_S
    while True:
        found = Recorded(_load(root, rows_of(family), ROW_COLUMNS), _load(root, events_of(family), EVENT_COLUMNS))
        if len(found.rows) >= rows and len(found.events) >= events:
            break
        assert time.monotonic() < ends, f"{len(found.rows)} of {rows} rows, {len(found.events)} of {events} events"
        time.sleep(0.2)
    for folder in (rows_of(family), events_of(family)):
        for segment in segments.listed(root / folder):
            segment.path.unlink()
    return found


def _load(root: Path, folder: str, columns: tuple[str, ...]) -> pd.DataFrame:
    table: pd.DataFrame = segments.load(root, [folder], columns=columns).to_pandas()
    return table.sort_values("timestamp", kind="stable", ignore_index=True)


def spread(recorded: Recorded, *, since_s: float, until_s: float) -> Recorded:
    """The sessions in the order they began, evenly over [since_s, until_s), seconds since the epoch."""
    sessions = recorded.rows.groupby("session_id", sort=False)["timestamp"]
    began = sessions.transform("min")
    place = sessions.ngroup() / max(recorded.sessions, 1)
    return _moved(recorded, since_s + place * (until_s - since_s) - began)


def lay(recorded: Recorded, *, at_s: float) -> Recorded:
    """The whole as it was, its first row at `at_s`."""
    shift = at_s - float(recorded.rows["timestamp"].min())
    return _moved(recorded, pd.Series(shift, index=recorded.rows.index))


def _moved(recorded: Recorded, shift: pd.Series[float]) -> Recorded:
    rows = recorded.rows.assign(timestamp=recorded.rows["timestamp"] + shift)
    by_request = pd.Series(shift.to_numpy(), index=recorded.rows["request_id"]).groupby(level=0).first()
    told = recorded.events["timestamp"] + recorded.events["request_id"].map(by_request).astype(float)
    return Recorded(rows, recorded.events.assign(timestamp=told))


def put(root: Path, family: str, recorded: Recorded) -> None:
    """Write them as a gateway leaves them: one segment a day."""
    for folder, table, columns in (
        (rows_of(family), recorded.rows, ROW_COLUMNS), (events_of(family), recorded.events, EVENT_COLUMNS),
    ):  # fmt: skip
        days = table["timestamp"] // 86_400
        for day, part in table.groupby(days):
            date = datetime.fromtimestamp(float(day) * 86_400, UTC).strftime("%Y-%m-%d")
            arrow = pyarrow.Table.from_pandas(part, schema=segments.schema(columns), preserve_index=False)
            newest_ms = int(part["timestamp"].max() * 1000) + 1
            segments.write(root / folder / f"date={date}", arrow, newest_ms=newest_ms, whole_hour=True)
