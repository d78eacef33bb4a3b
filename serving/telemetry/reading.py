"""Telemetry as a table: rows of a time range, joined with what clients told about the same requests.

Boundary: reads segments; source: release-algorithm R7.8.
Invariants: a row and an event count once; an event joins the answer that the user got, a shadow copy has none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from contracts.telemetry import PROBE_LABELS, TelemetryRow
from serving.telemetry import segments
from serving.telemetry.segments import EVENT_COLUMNS, ROW_COLUMNS, UNKNOWN_FAMILY, events_of, rows_of

if TYPE_CHECKING:
    import pandas

EVENT_COUNTS = {
    "correction": "corrections",
    "underrun": "underruns",
    "interruption": "interruptions",
    "abandonment": "abandonments",
    "cancellation": "cancellations",
    "support_ticket": "support_tickets",
}
"""Kinds of client events, and the column of `read` that counts each."""
REQUESTS = "requests"
"""A column that is 1 in each row: the denominator of rates a request."""
COLUMNS = (*ROW_COLUMNS, REQUESTS, *EVENT_COUNTS.values())
"""What `read` answers with."""

_PROBED = ("errors", "words", *PROBE_LABELS)
_JOINED = ("request_id", "arm")


def read(
    root: Path,
    family: str,
    since_s: float = 0.0,
    until_s: float | None = None,
    columns: Sequence[str] | None = None,
) -> pandas.DataFrame:
    """A family's rows in [since_s, until_s) (seconds since the epoch), in time order, joined with its events.

    Columns are COLUMNS, or those of them that are named. The newest probe event of a request fills `errors` and
    `words` of the answer the user got (a shadow copy has no reference count of its own) and the probe labels of both;
    other events are counted where the user got the answer. Events count whenever they came. No telemetry: no rows.
    Raises Corrupt for a broken segment: telemetry that is missing may not look like telemetry that is fine.
    """
    wanted = tuple(columns) if columns is not None else COLUMNS
    told = set(wanted) & {*_PROBED, *EVENT_COUNTS.values()}
    stored = dict.fromkeys(("timestamp", *(name for name in wanted if name in ROW_COLUMNS), *(_JOINED if told else ())))
    table = segments.load(root, [rows_of(family)], since_s=since_s, until_s=until_s, columns=tuple(stored))
    rows: pandas.DataFrame = segments.with_defaults(table).sort_by("timestamp").to_pandas()
    if told:
        rows = _with_events(rows, _events(root, family, since_s))
    if REQUESTS in wanted:
        rows[REQUESTS] = 1
    return rows[list(wanted)]


def _events(root: Path, family: str, since_s: float) -> pandas.DataFrame:
    table = segments.load(root, [events_of(family), events_of(UNKNOWN_FAMILY)], since_s=since_s, columns=EVENT_COLUMNS)
    events: pandas.DataFrame = table.to_pandas()
    # While events move from `unknown` to their family they may stand in both for a moment.
    return events.sort_values("timestamp").drop_duplicates(["timestamp", "request_id", "kind"])


def _with_events(rows: pandas.DataFrame, events: pandas.DataFrame) -> pandas.DataFrame:
    """Columns of client events on rows that have `request_id` and `arm`."""
    shadow = rows["arm"] == "shadow"
    probes = events[events["kind"] == "probe"].drop_duplicates("request_id", keep="last").set_index("request_id")
    for name in _PROBED:
        rows[name] = rows["request_id"].map(probes[name])
    rows.loc[shadow, ["errors", "words"]] = float("nan")
    counts = events.groupby(["kind", "request_id"]).size()
    for kind, name in EVENT_COUNTS.items():
        if kind in counts.index.get_level_values("kind"):
            rows[name] = rows["request_id"].map(counts[kind]).where(~shadow).fillna(0).astype("int64")
        else:
            rows[name] = 0
    return rows


def contract_columns(model: type[BaseModel] = TelemetryRow) -> Mapping[str, str]:
    """Each column and its type in a segment, for documentation and tests."""
    found: dict[str, Any] = {field.name: str(field.type) for field in segments.schema(model.model_fields)}
    return found
