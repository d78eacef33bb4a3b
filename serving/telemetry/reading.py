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
    told = [name for name in (*_PROBED, *EVENT_COUNTS.values()) if name in wanted]
    stored = dict.fromkeys(("timestamp", *(name for name in wanted if name in ROW_COLUMNS), *(_JOINED if told else ())))
    table = segments.load(root, [rows_of(family)], since_s=since_s, until_s=until_s, columns=tuple(stored))
    table = _in_order(segments.with_defaults(table))
    if told:
        table = _with_events(table, _events(root, family, since_s), told)
    if REQUESTS in wanted:
        table = table.append_column(REQUESTS, [[1] * table.num_rows])
    rows: pandas.DataFrame = table.select(list(wanted)).to_pandas()
    return rows


def _in_order(table: Any) -> Any:
    """By time; segments that were written one after the other mostly are already."""
    times = table["timestamp"].to_numpy()
    return table if (times[1:] >= times[:-1]).all() else table.sort_by("timestamp")


def _events(root: Path, family: str, since_s: float) -> Any:
    """An Arrow table with one row a request that something was told about: what its newest probe said, and counts."""
    import pyarrow

    folders = [events_of(family), events_of(UNKNOWN_FAMILY)]
    events: pandas.DataFrame = segments.load(root, folders, since_s=since_s, columns=EVENT_COLUMNS).to_pandas()
    # While events move from `unknown` to their family they may stand in both for a moment.
    events = events.sort_values("timestamp").drop_duplicates(["timestamp", "request_id", "kind"])
    probes = events[events["kind"] == "probe"].drop_duplicates("request_id", keep="last").set_index("request_id")
    found = events[["request_id"]].drop_duplicates().set_index("request_id").join(probes[list(_PROBED)])
    for kind, name in EVENT_COUNTS.items():
        found[name] = events.loc[events["kind"] == kind, "request_id"].value_counts()
    fields = [*segments.schema(("request_id", *_PROBED)), *((name, pyarrow.int64()) for name in EVENT_COUNTS.values())]
    return pyarrow.Table.from_pandas(found.reset_index(), schema=pyarrow.schema(fields), preserve_index=False)


def _with_events(table: Any, events: Any, names: Sequence[str]) -> Any:
    """The table (with `request_id` and `arm`) with these columns of the events of its requests."""
    import pyarrow.compute as pc

    place = pc.index_in(table["request_id"], value_set=events["request_id"].combine_chunks())
    answered = pc.not_equal(table["arm"], "shadow")
    for name in names:
        column = events[name].take(place)
        if name not in PROBE_LABELS:
            column = pc.if_else(answered, column, None)
        if name in EVENT_COUNTS.values():
            column = pc.fill_null(column, 0)
        at = table.schema.get_field_index(name)
        table = table.append_column(name, column) if at < 0 else table.set_column(at, name, column)
    return table


def contract_columns(model: type[BaseModel] = TelemetryRow) -> Mapping[str, str]:
    """Each column and its type in a segment, for documentation and tests."""
    found: dict[str, Any] = {field.name: str(field.type) for field in segments.schema(model.model_fields)}
    return found
