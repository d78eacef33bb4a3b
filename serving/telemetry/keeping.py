"""Telemetry that is over: small segments of an hour become one, and days that are too old go.

Boundary: reads and writes below ROOT; the time is an argument.
Invariants: one `tidy` at a time (a lock of the kernel, gone with its process); readers see each row once at any moment;
what is interrupted anywhere has lost nothing, and the next run ends it. A segment is deleted only after the hour file
that stands for it is there and synced; before anything else, deletions that an earlier run did not end are ended, so
that an hour file that is itself replaced never uncovers what it stood for.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from contracts.errors import DependencyFailed
from serving.telemetry import segments
from serving.telemetry.segments import UNKNOWN_FAMILY, Segment, events_of, is_events, rows_of

GRACE_S = 120.0
"""An hour is over this long after its end: what was recorded in it has been flushed."""
LATEST_EVENT_S = 86_400.0
"""Events are looked for among requests of this long before them."""
LEFT_AFTER_S = 3600.0
"""Temporary files of this age are of a writer that died."""


class Tidied(NamedTuple):
    """What was done: hours made one file, segments that they replaced, events that found their family, days deleted."""

    hours: int = 0
    replaced: int = 0
    settled_events: int = 0
    days: int = 0


def tidy(root: Path, *, days: float, now_s: float) -> Tidied:
    """Compact the hours that are over and delete the days (UTC) that ended more than `days` days ago.

    Raises DependencyFailed while another `tidy` runs, Corrupt for a segment that cannot be read.
    """
    if not root.is_dir():
        return Tidied()
    with _alone(root):
        _end_deletions(root, now_s)
        old = _forget(root, days=days, now_s=now_s)
        done = Tidied(days=old)
        for folder in _folders(root):
            for date in sorted((root / folder).glob("date=*")):
                for hour in _hours_over(date, now_s):
                    whole = _whole(root, hour)
                    rest = _settle(root, date.name, whole) if folder == events_of(UNKNOWN_FAMILY) else whole
                    _replace(root, hour, rest)
                    done = done._replace(
                        hours=done.hours + 1,
                        replaced=done.replaced + len(hour),
                        settled_events=done.settled_events + whole.num_rows - rest.num_rows,
                    )
        return done


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    with (root / ".tidy.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DependencyFailed(
                "telemetry is being tidied by another process", where=str(root), next_step="wait for it to end"
            ) from None
        yield


def _folders(root: Path) -> list[str]:
    """Every family's folders, below the root."""
    found = (
        path.relative_to(root).as_posix() for pattern in ("family=*", "events/family=*") for path in root.glob(pattern)
    )
    return sorted(found)


def _end_deletions(root: Path, now_s: float) -> None:
    for folder in _folders(root):
        for segment in segments.listed(root / folder):
            _delete(root, segments.replaced_by(segment))
        for temporary in (root / folder).glob("date=*/.*.tmp"):
            if temporary.stat().st_mtime < now_s - LEFT_AFTER_S:
                temporary.unlink(missing_ok=True)


def _delete(root: Path, names: Sequence[str]) -> None:
    for name in names:
        (root / name).unlink(missing_ok=True)


def _forget(root: Path, *, days: float, now_s: float) -> int:
    """Delete the days that ended more than `days` days ago; how many folders that were."""
    # Everything of a day is before its end, so nothing that is younger than `days` days goes.
    oldest = (datetime.fromtimestamp(now_s, UTC) - timedelta(days=days + 1)).strftime("%Y-%m-%d")
    deleted = 0
    for folder in _folders(root):
        for date in (root / folder).glob("date=*"):
            if date.name.removeprefix("date=") < oldest:
                for path in [*date.glob("*.parquet"), *date.glob(".*.tmp")]:
                    path.unlink(missing_ok=True)
                date.rmdir()
                deleted += 1
    return deleted


def _hours_over(date: Path, now_s: float) -> Iterator[list[Segment]]:
    """The segments of each hour that is over and is not one file yet, or has events whose family may be found."""
    hours: dict[int, list[Segment]] = {}
    for segment in segments.listed(date.parent):
        if segment.path.parent == date:
            hours.setdefault(segment.newest_ms // 3_600_000, []).append(segment)
    for hour, found in sorted(hours.items()):
        unsettled = date.parent.name == rows_of(UNKNOWN_FAMILY) and not all(segment.whole_hour for segment in found)
        if (hour + 1) * 3600 + GRACE_S <= now_s and (len(found) > 1 or unsettled):
            yield found


def _whole(root: Path, hour: Sequence[Segment]) -> Any:
    """All rows of an hour in time order; columns that this version does not know are kept."""
    import pyarrow
    from pyarrow import parquet

    try:
        tables = [parquet.read_table(segment.path, partitioning=None) for segment in hour]
        return pyarrow.concat_tables(tables, promote_options="default").sort_by("timestamp")
    except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError):
        raise segments.corrupt(root, hour) from None


def _replace(root: Path, hour: Sequence[Segment], table: Any) -> None:
    names = [segment.path.relative_to(root).as_posix() for segment in hour]
    segments.write(
        hour[0].path.parent,
        table,
        newest_ms=max(segment.newest_ms for segment in hour),
        replaces=names,
        whole_hour=True,
    )
    _delete(root, names)


def _settle(root: Path, date: str, events: Any) -> Any:
    """Give the events of requests that another gateway answered to their family; what nobody knows is left over."""
    import pyarrow.compute as pc

    if not events.num_rows:
        return events
    times = pc.min_max(events["timestamp"]).as_py()
    for folder in _folders(root):
        if is_events(folder):
            continue
        known = segments.load(root, [folder], since_s=times["min"] - LATEST_EVENT_S, columns=("request_id",))
        mine = pc.is_in(events["request_id"], value_set=known["request_id"].combine_chunks())
        found = events.filter(mine)
        if found.num_rows:
            # An hour file, so that a reader which lists this folder too early notices (segments.load).
            newest_ms = int(times["max"] * 1000) + 1
            segments.write(root / "events" / folder / date, found, newest_ms=newest_ms, whole_hour=True)
            events = events.filter(pc.invert(mine))
    return events
