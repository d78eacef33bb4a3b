"""What lies on disk: names, columns and the life of a telemetry segment (a Parquet file).

    ROOT/family=F/date=YYYY-MM-DD/part-MILLISECONDS-TOKEN.parquet      rows, as they were flushed
    ROOT/family=F/date=YYYY-MM-DD/hour-MILLISECONDS-TOKEN.parquet      the same rows, an hour in one file
    ROOT/events/family=F/date=...                                      what clients told afterwards, in the same way

MILLISECONDS is not before any row in the segment, so readers skip by name. An hour file names in its metadata the
segments that it stands for; they are deleted after it is there, and count no more from the moment that it is there.

Boundary: reads and writes below ROOT alone.
Invariants: a segment is complete or absent (temporary file, synced, renamed) and never changes; columns come from the
contract; a column that a segment does not have yet reads as its default.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, get_args

from pydantic.fields import FieldInfo

from contracts.errors import Corrupt, DependencyFailed
from contracts.telemetry import PROBE_LABELS, ClientEvent, TelemetryRow
from serving.telemetry import kept

UNKNOWN_FAMILY = "unknown"
"""Where events go whose request another gateway answered, until `keeping.tidy` finds its family."""
ROW_COLUMNS = tuple(TelemetryRow.model_fields)
EVENT_COLUMNS = ("timestamp", "request_id", "kind", "errors", "words", *PROBE_LABELS)

_REPLACES = b"soundcheck.replaces"
_TRIES = 20


def rows_of(family: str) -> str:
    """The folder of a family's rows, below the root."""
    return f"family={family}"


def events_of(family: str) -> str:
    """The folder of a family's events, below the root."""
    return f"events/family={family}"


def is_events(folder: str) -> bool:
    """Whether a folder (relative to the root) holds events."""
    return folder.startswith("events/")


def columns_of(folder: str) -> tuple[str, ...]:
    """The columns of a folder's segments."""
    return EVENT_COLUMNS if is_events(folder) else ROW_COLUMNS


# ---- columns ----------------------------------------------------------------------------------------------------
def _kinds(annotation: Any) -> set[Any]:
    arguments = get_args(annotation)
    return set().union(*map(_kinds, arguments)) if arguments else {annotation}


@cache
def _fields() -> Mapping[str, FieldInfo]:
    return {**ClientEvent.model_fields, **TelemetryRow.model_fields}


def schema(columns: Iterable[str]) -> Any:
    """The Arrow schema of these columns."""
    return _schema(tuple(columns))


@cache
def _schema(columns: tuple[str, ...]) -> Any:
    import pyarrow

    def kind(name: str) -> Any:
        kinds = _kinds(_fields()[name].annotation)
        if float in kinds:
            return pyarrow.float64()
        return pyarrow.int64() if int in kinds else pyarrow.string()

    return pyarrow.schema([(name, kind(name)) for name in columns])


def with_defaults(table: Any) -> Any:
    """The rows with the contract's defaults where a segment of before had no such column."""
    for index, name in enumerate(table.column_names):
        default = TelemetryRow.model_fields[name].get_default()
        if default is not None and not TelemetryRow.model_fields[name].is_required() and table.column(index).null_count:
            table = table.set_column(index, table.schema.field(index), table.column(index).fill_null(default))
    return table


# ---- writing ----------------------------------------------------------------------------------------------------
def write(folder: Path, table: Any, *, newest_ms: int, replaces: Sequence[str] = (), whole_hour: bool = False) -> Path:
    """Put a segment into a folder; raises OSError, and then leaves nothing. `replaces`: paths below the root."""
    from pyarrow import parquet

    folder.mkdir(parents=True, exist_ok=True)
    name = f"{'hour' if whole_hour else 'part'}-{newest_ms:013d}-{secrets.token_hex(4)}.parquet"
    temporary = folder / f".{name}.tmp"
    table = table.replace_schema_metadata({_REPLACES: json.dumps(list(replaces)).encode()} if replaces else None)
    try:
        with temporary.open("wb") as stream:
            parquet.write_table(table, stream, compression="zstd" if whole_hour else "snappy")
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, folder / name)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync(folder)
    return folder / name


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# ---- reading ----------------------------------------------------------------------------------------------------
class Segment(NamedTuple):
    """A segment: where, whether it is a whole hour, and the time (ms since the epoch) that no row in it is after."""

    path: Path
    whole_hour: bool
    newest_ms: int


def listed(folder: Path, since_s: float = 0.0) -> list[Segment]:
    """The segments of a family's folder that may hold rows at or after `since_s`, those replaced included."""
    found = []
    for path in folder.glob("date=*/*-*-*.parquet"):
        kind, newest_ms, _ = path.name.split("-", 2)
        if kind in ("part", "hour") and newest_ms.isdecimal() and int(newest_ms) >= since_s * 1000:
            found.append(Segment(path, kind == "hour", int(newest_ms)))
    return sorted(found, key=lambda segment: (segment.newest_ms, segment.path.name))


def replaced_by(segment: Segment) -> tuple[str, ...]:
    """Paths below the root of the segments that this one stands for."""
    from pyarrow import parquet

    if not segment.whole_hour:
        return ()
    metadata = parquet.read_schema(segment.path).metadata or {}
    return tuple(json.loads(metadata.get(_REPLACES, b"[]")))


def current(root: Path, segments: Iterable[Segment]) -> list[Segment]:
    """Those that no other of them stands for."""
    segments = list(segments)
    gone = {name for segment in segments for name in replaced_by(segment)}
    return [segment for segment in segments if segment.path.relative_to(root).as_posix() not in gone]


def load(
    root: Path,
    folders: Sequence[str],
    *,
    since_s: float = 0.0,
    until_s: float | None = None,
    columns: Sequence[str] | None = None,
) -> Any:
    """An Arrow table of the folders' rows in [since_s, until_s), each row once, whatever `tidy` does meanwhile.

    Raises Corrupt for a segment that is not Parquet; DependencyFailed where the folders do not stand still.
    """
    wanted = tuple(columns) if columns is not None else columns_of(folders[0])
    for _ in range(_TRIES):
        before = _all(root, folders, since_s)
        try:
            table = _table(root, current(root, before), wanted, since_s, until_s)
        except FileNotFoundError:
            continue
        # A listing is no snapshot: it may miss an hour file that came while it was made and a segment that went.
        # Such an hour file is in the next listing, for sure.
        if _hours(before) == _hours(_all(root, folders, since_s)):
            return table
    raise DependencyFailed(
        "telemetry changed while it was read, every time",
        where=str(root),
        got=f"{_TRIES} tries",
        next_step="run it again",
    )


def _all(root: Path, folders: Sequence[str], since_s: float) -> list[Segment]:
    return [segment for folder in folders for segment in listed(root / folder, since_s)]


def _hours(segments: Iterable[Segment]) -> set[Path]:
    return {segment.path for segment in segments if segment.whole_hour}


def _table(
    root: Path, segments: Sequence[Segment], columns: tuple[str, ...], since_s: float, until_s: float | None
) -> Any:
    import pyarrow
    from pyarrow import dataset

    time = dataset.field("timestamp")
    within = time >= since_s if until_s is None else (time >= since_s) & (time < until_s)
    needed = schema(dict.fromkeys((*columns, "timestamp")))
    small: list[Path] = []
    large: list[Path] = []
    for path in (segment.path for segment in segments):
        (small if kept.is_small(path) else large).append(path)
    try:
        tables = [kept.table(path, schema(columns_of(_folder(root, path)))).select(needed.names) for path in small]
        # One piece, then the filter: over hundreds of small ones it would take longer than reading them.
        together = pyarrow.concat_tables([needed.empty_table(), *tables]).combine_chunks()
        tables = [together.filter(within).select(list(columns))]
        if large:
            found = dataset.dataset([str(path) for path in large], schema=needed, format="parquet", partitioning=None)
            tables.append(found.to_table(columns=list(columns), filter=within))
        return pyarrow.concat_tables(tables).combine_chunks()
    except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError):
        raise corrupt(root, segments) from None


def _folder(root: Path, path: Path) -> str:
    return path.relative_to(root).parent.parent.as_posix()


def corrupt(root: Path, segments: Iterable[Segment]) -> Corrupt:
    """The error that names the first of these that cannot be read."""
    import pyarrow
    from pyarrow import parquet

    where = str(root)
    for segment in segments:
        try:
            parquet.read_table(segment.path, partitioning=None)
        except (pyarrow.ArrowInvalid, OSError):
            where = str(segment.path)
            break
    return Corrupt(
        "a telemetry segment cannot be read",
        where=where,
        got="a file that is not Parquet with the contract's columns",
        expected="a whole segment",
        next_step="move it away: its rows are lost, the others are read again",
    )
