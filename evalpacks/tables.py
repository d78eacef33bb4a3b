"""Tables as people have them: Parquet, CSV with a header, JSON Lines.

Boundary: reads one file a call.
Invariants: a message names the file, never a value; values of CSV are text as it stands there, so that the id `007`
stays one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from contracts.errors import WrongCall

if TYPE_CHECKING:
    import pandas as pd

FORMATS = (".parquet", ".csv", ".jsonl")


def read_table(path: Path, *, columns: Sequence[str], what: str) -> pd.DataFrame:
    """The table in a file.

    Args:
        path: a file whose suffix is one of FORMATS.
        columns: that it must have.
        what: what the table is, for messages.

    Raises:
        WrongCall: the file is not there, is of another format, does not parse, or lacks columns.
    """
    if path.suffix.lower() not in FORMATS:
        raise _wrong(what, "is of an unknown format", path, got=path.suffix, expected=" or ".join(FORMATS))
    try:
        table = _read(path)
    except FileNotFoundError:
        raise _wrong(what, "does not exist", path, expected=" or ".join(FORMATS)) from None
    except (OSError, ValueError) as error:
        raise _wrong(what, "cannot be read", path, got=type(error).__name__) from None
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise _wrong(what, "lacks columns", path, got="missing: " + ", ".join(missing), expected=", ".join(columns))
    return table


def _read(path: Path) -> pd.DataFrame:
    import pandas as pd

    kind = path.suffix.lower()
    if kind == ".parquet":
        return pd.read_parquet(path)
    if kind == ".csv":
        return pd.read_csv(path, dtype=str, keep_default_na=False)
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8-sig").split("\n") if line.strip()]
    if not all(isinstance(row, dict) for row in rows):
        raise ValueError
    return pd.DataFrame(rows)


def _wrong(what: str, fault: str, path: Path, *, got: str = "", expected: str = "") -> WrongCall:
    return WrongCall(
        f"{what} {fault}", where=str(path), got=got, expected=expected, next_step="correct the file, or name another"
    )
