"""Telemetry as sums of sessions by window: what drift detection looks at, made of rows a day of files at a time.

    HOME/drift/FAMILY/windows-24h.parquet     the sums of windows that are over, kept when their rows are gone

Boundary: reads segments below HOME/telemetry; writes below HOME/drift.
Invariants: no row and no id of a session or request is kept; shadow copies and probes are left out, `output` signals
count the stable arm alone; memory holds the rows of a day, or of several small ones; a window is summed once, an hour
or more after its end, and events that come later are not in it. A session that goes on past its window counts in each.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from contracts.drift import DriftSettings
from contracts.errors import DependencyFailed
from monitoring.drift import windows
from monitoring.drift.signals import CLIPPED_FROM, HISTOGRAMS, LOW_CONFIDENCE, MIXED
from operations.context import Context
from serving.telemetry import UNKNOWN_FAMILY, segments

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

HOUR_S = 3600.0
SETTLED_S = HOUR_S
"""How long after its end a window is summed: by then clients have told what they had to tell."""
REFUSED_RATE = "unsupported_rate"
BATCH_BYTES = 12_000_000
"""Days are summed one by one from this size of their files on."""
_LABELS = ("tenant", "device", "language", "codec", "mode")
_COLUMNS = (
    "timestamp", "request_id", "session_id", "arm", "probe", *_LABELS, "error_code", "audio_s", "sent_rate_hz",
    "speech_s", "segments", "level_dbfs", "snr_db", "clipped", "partial_words", "unstable_words", "confidence",
)  # fmt: skip
_TRIES = 3


def sums(context: Context, family: str, settings: DriftSettings, *, until_s: float) -> pd.DataFrame:
    """The sums of all windows that are over at `until_s`: those that are kept, and those made of rows now.

    Raises Corrupt for a segment that cannot be read; DependencyFailed where the folders do not stand still.
    """
    import pandas as pd

    window_s = settings.window_h * HOUR_S
    end_s = (until_s - SETTLED_S) // window_s * window_s
    path = context.home / "drift" / family / f"windows-{settings.window_h}h.parquet"
    kept = pd.read_parquet(path) if path.is_file() else windows.empty()
    since_s = float(kept["window_s"].max()) + window_s if len(kept) else 0.0
    if since_s >= end_s:
        return kept
    fresh = summed(context.home / "telemetry", family, settings, since_s=since_s, until_s=end_s)
    if fresh.empty:
        return kept
    table = windows.merged([kept, fresh])
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    table.to_parquet(temporary, index=False)
    os.replace(temporary, path)
    return table


def summed(root: Path, family: str, settings: DriftSettings, *, since_s: float, until_s: float) -> pd.DataFrame:
    """The sums of the family's rows in [since_s, until_s), streamed from their segments."""
    for _ in range(_TRIES):
        folder = segments.rows_of(family)
        before = segments.listed(root / folder, since_s)
        try:
            parts = [
                part
                for table in _batches(segments.current(root, before), since_s, until_s)
                for part in _parts(root, family, table, settings)
            ]
        except FileNotFoundError:
            continue  # its hour became one file meanwhile
        if _hours(before) == _hours(segments.listed(root / folder, since_s)):
            return windows.merged(parts)
    raise DependencyFailed(
        "telemetry changed while it was summed, every time",
        where=str(root),
        got=f"{_TRIES} tries",
        next_step="run it again",
    )


def _hours(found: Iterable[segments.Segment]) -> set[Path]:
    return {segment.path for segment in found if segment.whole_hour}


def _batches(found: Sequence[segments.Segment], since_s: float, until_s: float) -> Iterator[Any]:
    """Arrow tables of the rows of whole folders `date=...`, in turn; without those outside [since_s, until_s)."""
    import pyarrow
    from pyarrow import dataset

    time = dataset.field("timestamp")
    within = (time >= since_s) & (time < until_s)
    wanted = within & (dataset.field("arm") != "shadow") & (dataset.field("probe") == "no")
    for batch in _together(found):
        paths = [str(segment.path) for segment in batch]
        schema = segments.schema(_COLUMNS)
        try:
            rows = dataset.dataset(paths, schema=schema, format="parquet", partitioning=None).to_table(filter=wanted)
        except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError):
            raise segments.corrupt(batch[0].path.parent, batch) from None
        if rows.num_rows:
            yield segments.with_defaults(rows)


def _together(found: Sequence[segments.Segment]) -> Iterator[list[segments.Segment]]:
    """The segments of a day, or of several where days are small."""
    days: dict[str, list[segments.Segment]] = {}
    for segment in found:
        days.setdefault(segment.path.parent.name, []).append(segment)
    batch: list[segments.Segment] = []
    for day in sorted(days):
        batch += days[day]
        if sum(segment.path.stat().st_size for segment in batch) >= BATCH_BYTES:
            yield batch
            batch = []
    if batch:
        yield batch


def _parts(root: Path, family: str, rows: Any, settings: DriftSettings) -> list[pd.DataFrame]:
    """The cells of one day's rows: sums of its sessions, and histograms of its rows."""
    frame = _measured(root, family, rows, settings)
    session = frame.group_by(["window_s", "session_id", *_LABELS, "rate"], use_threads=True).aggregate(
        [(name, "sum") for name in frame.column_names if name.partition(".")[2] in ("x", "w")]
    )
    labels = {name: session[name].to_numpy(zero_copy_only=False) for name in (*_LABELS, "rate")}
    names = [name.removesuffix(".x_sum") for name in session.column_names if name.endswith(".x_sum")]
    pairs = {name: (_floats(session[f"{name}.x_sum"]), _floats(session[f"{name}.w_sum"])) for name in names}
    sessions = windows.Sessions(_floats(session["window_s"]), labels, pairs)
    values = windows.Values(
        _floats(frame["window_s"]),
        {name: _objects(frame[name]) for name in settings.slices},
        {name: _floats(frame[f"{name}.value"]) for name in HISTOGRAMS},
    )
    return [windows.sums_of(sessions, settings.slices, MIXED), windows.histograms_of(values, settings.slices)]


def _measured(root: Path, family: str, rows: Any, settings: DriftSettings) -> Any:
    """Each row's window and labels; `SIGNAL.x` and `SIGNAL.w`, its part of the sums; `NAME.value` for histograms."""
    import numpy as np
    import pyarrow
    import pyarrow.compute as pc

    window_s = settings.window_h * HOUR_S
    column = {name: _floats(rows[name]) for name in (
        "timestamp", "audio_s", "speech_s", "segments", "level_dbfs", "snr_db", "clipped", "confidence",
        "partial_words", "unstable_words",
    )}  # fmt: skip
    refused = _floats(pc.cast(pc.equal(rows["error_code"], REFUSED_RATE), pyarrow.int8()))
    stable = _floats(pc.cast(pc.equal(rows["arm"], "stable"), pyarrow.int8()))
    corrected = _corrected(root, family, rows, column["timestamp"])
    audio = column["audio_s"]
    heard = np.where(audio > 0, 1.0, 0.0)
    silence = np.where(audio > 0, np.maximum(audio - column["speech_s"], 0.0), np.nan)
    confidence = np.where(stable > 0, column["confidence"], np.nan)
    clipped = np.where(np.isnan(column["clipped"]), np.nan, column["clipped"] > CLIPPED_FROM)
    pairs = {
        "requests": (np.ones(len(audio)), np.ones(len(audio))),
        "duration": (np.minimum(audio, 60.0) * heard, heard),
        "silence": _pair(silence, audio),
        "level": _pair(np.clip(column["level_dbfs"], -100, 0)),
        "snr": _pair(np.clip(column["snr_db"], -20, 80)),
        "clipping": _pair(clipped),
        "segments": _pair(column["segments"]),
        "refused_rate": (refused, np.ones(len(audio))),
        "confidence": _pair(confidence),
        "low_confidence": _pair(np.where(np.isnan(confidence), np.nan, confidence < LOW_CONFIDENCE)),
        "corrections": (corrected * stable, stable),
        "churn": (column["unstable_words"] * stable, column["partial_words"] * stable),
    }
    share = np.divide(silence, audio, out=np.full(len(audio), np.nan), where=audio > 0)
    shown = {"duration": np.where(heard > 0, audio, np.nan), "silence": share, "level": column["level_dbfs"],
             "snr": column["snr_db"], "confidence": confidence}  # fmt: skip
    data: dict[str, Any] = {"window_s": np.floor(column["timestamp"] / window_s) * window_s}
    data |= {name: rows[name] for name in ("session_id", *_LABELS)}
    data["rate"] = pc.cast(rows["sent_rate_hz"], pyarrow.string())
    for name, (x, w) in pairs.items():
        data |= {f"{name}.x": x, f"{name}.w": w}
    return pyarrow.table(data | {f"{name}.value": value for name, value in shown.items()})


def _pair(values: Any, weights: Any = 1.0) -> tuple[Any, Any]:
    """A value that may be missing: numerator and denominator, both 0 where it is."""
    import numpy as np

    there = ~np.isnan(values)
    return np.where(there, values, 0.0), np.where(there, weights, 0.0)


def _corrected(root: Path, family: str, rows: Any, timestamps: np.ndarray[Any, Any]) -> Any:
    """1 for each row whose user corrected the answer."""
    import pyarrow
    import pyarrow.compute as pc

    folders = [segments.events_of(family), segments.events_of(UNKNOWN_FAMILY)]
    since_s, until_s = float(timestamps.min()), float(timestamps.max()) + SETTLED_S
    events = segments.load(root, folders, since_s=since_s, until_s=until_s, columns=("request_id", "kind"))
    told = events.filter(pc.equal(events["kind"], "correction"))["request_id"]
    found = pc.is_in(rows["request_id"], value_set=pc.unique(told))
    return _floats(pc.cast(found, pyarrow.int8()))


def _floats(column: Any) -> Any:
    """A column as float64, NaN where it has no value."""
    import pyarrow

    return column.cast(pyarrow.float64()).to_numpy(zero_copy_only=False)


def _objects(column: Any) -> Any:
    return column.to_numpy(zero_copy_only=False)


def newest_rows(context: Context, family: str, *, since_s: float, most: int) -> pd.DataFrame:
    """The newest rows of a family since a time, at most `most`, for validation."""
    folder = segments.rows_of(family)
    table = segments.load(context.home / "telemetry", [folder], since_s=since_s)
    rows: pd.DataFrame = segments.with_defaults(table).slice(max(table.num_rows - most, 0)).to_pandas()
    return rows
