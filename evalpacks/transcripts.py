"""Transcripts as people have them: JSON Lines, CSV, or trn (`words of the utterance (utterance_id)`).

Boundary: reads one file a call.
Invariants: a message names file and line, never the text; every row has an utterance_id and a text, which may be empty.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from contracts.errors import WrongCall

if TYPE_CHECKING:
    import pandas as pd

_TRN = re.compile(r"^(.*)\(([^()\s]+)\)\s*$")

Row = tuple[int, dict[str, Any]]
"""A line number, counted from 1, and its fields."""


def read_transcripts(path: Path) -> pd.DataFrame:
    """A table with utterance_id, text and every other field of the file, all text; the suffix chooses the format
    (.csv, .trn, else JSON Lines). Raises WrongCall naming file and line."""
    import pandas as pd

    try:
        content = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise WrongCall("a transcript file does not exist", where=str(path)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise WrongCall("a transcript file cannot be read", where=str(path), got=type(error).__name__) from None
    reader = _READERS.get(path.suffix.lower(), _json_lines)
    rows = [_as_text(fields, path, line) for line, fields in reader(content, path)]
    if not rows:
        raise WrongCall("a transcript file is empty", where=str(path), expected="one utterance a line")
    names = dict.fromkeys(name for fields in rows for name in fields)
    return pd.DataFrame({name: [fields.get(name) for fields in rows] for name in names}, dtype=object)


def _json_lines(content: str, path: Path) -> Iterator[Row]:
    for number, line in enumerate(content.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            fields = json.loads(line)
        except ValueError:
            raise WrongCall("a line is not JSON", where=f"{path}, line {number}", expected="one JSON object") from None
        if not isinstance(fields, dict):
            raise WrongCall("a line is not a JSON object", where=f"{path}, line {number}", got=type(fields).__name__)
        yield number, fields


def _comma_separated(content: str, path: Path) -> Iterator[Row]:
    reader = csv.DictReader(io.StringIO(content), restval="")
    for fields in reader:
        if None in fields:
            raise WrongCall("a line has more fields than the header", where=f"{path}, line {reader.line_num}")
        yield reader.line_num, dict(fields)


def _trn(content: str, path: Path) -> Iterator[Row]:
    for number, line in enumerate(content.split("\n"), start=1):
        if not line.strip():
            continue
        match = _TRN.match(line)
        if match is None:
            raise WrongCall("a line is not trn", where=f"{path}, line {number}", expected="words (utterance_id)")
        yield number, {"utterance_id": match[2], "text": match[1].strip()}


def _as_text(fields: dict[str, Any], path: Path, line: int) -> dict[str, str | None]:
    """The fields as text; None stays None, but for utterance_id and text, which are required."""
    name, text = fields.get("utterance_id"), fields.get("text")
    if type(name) is not str or not name or type(text) is not str:
        _refuse_lack(fields, f"{path}, line {line}")
    return {key: value if value is None or type(value) is str else str(value) for key, value in fields.items()}


def _refuse_lack(fields: dict[str, Any], where: str) -> None:
    """Raise where there is no utterance_id (a number is one) or no text."""
    for name in ("utterance_id", "text"):
        value = fields.get(name)
        if value is None or isinstance(value, (dict, list)) or (name == "utterance_id" and value == ""):
            raise WrongCall(f"a line has no {name}", where=where, got="fields: " + ", ".join(map(str, fields)))
    if not isinstance(fields["text"], str):
        raise WrongCall("a text is not a string", where=where, got=type(fields["text"]).__name__)


_READERS: dict[str, Callable[[str, Path], Iterator[Row]]] = {".csv": _comma_separated, ".trn": _trn}
