"""Small segments that were read before: a judge that looks every second reads each of them from disk once.

Boundary: reads segments; keeps at most MAX_BYTES of them in memory, those read last.
Invariants: a segment never changes, so what was read of it stays true; whether it still counts is said by the folder's
listing, not here.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

MAX_BYTES = 64 << 20
SMALL_BYTES = 128 << 10

_tables: OrderedDict[Path, Any] = OrderedDict()
_bytes = 0
_lock = threading.Lock()


def is_small(path: Path) -> bool:
    """Whether a segment is kept; of a large one a reader's columns and time range alone are read, every time."""
    return path.stat().st_size <= SMALL_BYTES


def table(path: Path, schema: Any) -> Any:
    """All rows of a segment with the columns of the schema, null where it has no such column.

    Raises FileNotFoundError; pyarrow.ArrowInvalid where it is not Parquet.
    """
    with _lock:
        if path in _tables:
            _tables.move_to_end(path)
            return _tables[path]
    read = _read(path, schema)
    _keep(path, read)
    return read


def size_bytes() -> int:
    """What is kept now."""
    return _bytes


def _keep(path: Path, read: Any) -> None:
    global _bytes  # noqa: PLW0603 - one for the process, like the segments
    with _lock:
        if path not in _tables:
            _tables[path] = read
            _bytes += read.nbytes
        while _bytes > MAX_BYTES:
            _bytes -= _tables.popitem(last=False)[1].nbytes


def _read(path: Path, schema: Any) -> Any:
    import pyarrow
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        present = set(file.schema_arrow.names)
        read = file.read(columns=[name for name in schema.names if name in present])
    columns = [
        read[field.name].cast(field.type) if field.name in present else pyarrow.nulls(read.num_rows, field.type)
        for field in schema
    ]
    return pyarrow.table(columns, schema=schema)
