"""Segments of before, compaction, retention, and what a crash, a full disk or a clock that steps back does to them."""

from __future__ import annotations

import errno
import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from contracts.errors import Corrupt, DependencyFailed
from contracts.telemetry import ClientEvent, TelemetryRow
from serving.telemetry import UNKNOWN_FAMILY, Recorder, Tidied, kept, read, segments, tidy
from serving.telemetry.segments import EVENT_COLUMNS, ROW_COLUMNS, events_of, rows_of

HOUR_S = 3600.0
NOON_S = 1_760_011_200.0  # the start of an hour
LATER_S = NOON_S + 2 * HOUR_S
BUNDLE = "ab" * 32


def request(n: int, **more: Any) -> dict[str, Any]:
    made = {
        "timestamp": NOON_S + n, "request_id": f"{n:032x}", "session_id": "s", "family": "tiny", "bundle": BUNDLE,
        "arm": "stable", "route_version": 3, "mode": "http", "status": 200, "audio_s": 1.0, "latency_ms": 5.0,
        "queue_ms": 0.1, "infer_ms": 4.0, "cost_usd": 1e-6,
    }  # fmt: skip
    return TelemetryRow.model_validate(made | more).model_dump()


def told(n: int, kind: str = "correction") -> dict[str, Any]:
    return {"timestamp": NOON_S + n, "request_id": f"{n:032x}", "kind": kind}


def put(root: Path, folder: str, rows: list[dict[str, Any]], *, without: tuple[str, ...] = ()) -> Path:
    columns = [name for name in (EVENT_COLUMNS if folder.startswith("events/") else ROW_COLUMNS) if name not in without]
    table = pyarrow.table({name: [row.get(name) for row in rows] for name in columns}, schema=segments.schema(columns))
    newest_s = max(row["timestamp"] for row in rows)
    date = time.strftime("%Y-%m-%d", time.gmtime(newest_s))
    return segments.write(root / folder / f"date={date}", table, newest_ms=int(newest_s * 1000) + 1)


def filled(root: Path) -> list[str]:
    """Two hours of rows in four segments, events of this family and of requests that another gateway answered."""
    for start in range(4):
        put(root, rows_of("tiny"), [request(start * 1800 + n) for n in range(5)])
    put(root, events_of("tiny"), [told(0), told(1)])
    put(root, events_of("tiny"), [told(2)])
    put(root, events_of(UNKNOWN_FAMILY), [told(3), told(4, "interruption"), told(99)])
    return [f"{start * 1800 + n:032x}" for start in range(4) for n in range(5)]


def seen(root: Path) -> tuple[list[str], int, int]:
    rows = read(root, "tiny", columns=("request_id", "corrections", "interruptions"))
    return sorted(rows["request_id"]), int(rows["corrections"].sum()), int(rows["interruptions"].sum())


def files(root: Path, folder: str) -> list[str]:
    return sorted(path.name[:4] for path in (root / folder).rglob("*.parquet"))


def test_hours_that_are_over_become_one_file_and_read_the_same(tmp_path: Path) -> None:
    expected = sorted(filled(tmp_path))
    assert seen(tmp_path) == (expected, 4, 1)
    before = read(tmp_path, "tiny")
    done = tidy(tmp_path, days=30, now_s=LATER_S + 200)
    assert done == Tidied(hours=4, replaced=7, settled_events=2, days=0)
    assert files(tmp_path, rows_of("tiny")) == ["hour", "hour"]
    assert read(tmp_path, "tiny").equals(before)
    assert seen(tmp_path) == (expected, 4, 1)
    assert tidy(tmp_path, days=30, now_s=LATER_S + 200) == Tidied(hours=1, replaced=2), "events that were settled"
    assert tidy(tmp_path, days=30, now_s=LATER_S + 200) == Tidied()
    assert seen(tmp_path) == (expected, 4, 1)


def test_an_hour_that_is_not_over_is_left_alone(tmp_path: Path) -> None:
    filled(tmp_path)
    assert tidy(tmp_path, days=30, now_s=NOON_S + HOUR_S + 60) == Tidied()
    assert tidy(tmp_path, days=30, now_s=NOON_S + HOUR_S + 121).hours == 3
    assert files(tmp_path, rows_of("tiny")) == ["hour", "part", "part"]


def test_a_segment_that_comes_late_joins_its_hour(tmp_path: Path) -> None:
    expected = filled(tmp_path)
    tidy(tmp_path, days=30, now_s=LATER_S + 200)
    put(tmp_path, rows_of("tiny"), [request(50)])
    assert seen(tmp_path)[0] == sorted([*expected, f"{50:032x}"])
    tidy(tmp_path, days=30, now_s=LATER_S + 200)
    assert files(tmp_path, rows_of("tiny")) == ["hour", "hour"]
    assert seen(tmp_path)[0] == sorted([*expected, f"{50:032x}"])


def test_events_of_another_gateways_requests_go_to_the_right_family(tmp_path: Path) -> None:
    put(tmp_path, rows_of("tiny"), [request(3)])
    put(tmp_path, rows_of("other"), [request(4, family="other")])
    put(tmp_path, events_of(UNKNOWN_FAMILY), [told(3), told(4, "interruption"), told(99)])
    assert tidy(tmp_path, days=30, now_s=LATER_S + 200).settled_events == 2
    for family, number in (("tiny", 3), ("other", 4), (UNKNOWN_FAMILY, 99)):
        table = segments.load(tmp_path, [events_of(family)])
        assert table["request_id"].to_pylist() == [f"{number:032x}"], family
    assert read(tmp_path, "tiny")["corrections"].tolist() == [1]
    assert read(tmp_path, "other")["interruptions"].tolist() == [1]


class Stopped(Exception):
    pass


def crashing(monkeypatch: pytest.MonkeyPatch, at: int) -> Callable[[], int]:
    """Every change of the folders counts; the one numbered `at` and all after it fail, as in a process that died."""
    calls = 0

    def guarded(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls >= at:
                raise Stopped
            return real(*arguments, **named)

        return call

    monkeypatch.setattr(os, "replace", guarded(os.replace))
    monkeypatch.setattr(os, "fsync", guarded(os.fsync))
    monkeypatch.setattr(Path, "unlink", guarded(Path.unlink))
    monkeypatch.setattr(parquet, "write_table", guarded(parquet.write_table))
    return lambda: calls


def test_killed_at_any_call_nothing_is_lost_or_twice_and_the_next_run_ends_it(tmp_path: Path) -> None:
    at, ended = 0, False
    while not ended:
        at += 1
        root = tmp_path / str(at)
        expected = sorted(filled(root))
        with pytest.MonkeyPatch.context() as monkeypatch:
            crashing(monkeypatch, at)
            try:
                tidy(root, days=30, now_s=LATER_S + 200)
                ended = True
            except Stopped:
                pass
        assert seen(root) == (expected, 4, 1), f"after call {at}"
        late = f"{50:032x}"
        put(root, rows_of("tiny"), [request(50)])
        tidy(root, days=30, now_s=LATER_S + 200)
        tidy(root, days=30, now_s=LATER_S + 200)
        assert seen(root) == (sorted([*expected, late]), 4, 1), f"after call {at} and the next run"
        assert set(files(root, rows_of("tiny"))) == {"hour"}
    assert at > 20


def test_readers_see_each_row_once_while_hours_are_made_one(tmp_path: Path) -> None:
    wrong: list[str] = []
    over = threading.Event()
    looks = 0

    def look() -> None:
        nonlocal looks
        last = 0
        while not over.is_set():
            ids = read(tmp_path, "tiny", columns=("request_id", "corrections"))
            looks += 1
            if ids["request_id"].duplicated().any() or len(ids) < last or ids["corrections"].max() > 1:
                wrong.append(f"{len(ids)} rows after {last}")
            last = len(ids)

    put(tmp_path, rows_of("tiny"), [request(0)])
    readers = [threading.Thread(target=look) for _ in range(2)]
    for reader in readers:
        reader.start()
    for n in range(1, 46):
        put(tmp_path, rows_of("tiny"), [request(n)])
        put(tmp_path, events_of(UNKNOWN_FAMILY), [told(n)])
        if n % 3 == 0:
            tidy(tmp_path, days=30, now_s=LATER_S)
    over.set()
    for reader in readers:
        reader.join()
    assert not wrong
    assert looks > 2
    rows = read(tmp_path, "tiny")
    assert (len(rows), rows["corrections"].sum()) == (46, 45)


def test_one_tidies_at_a_time(tmp_path: Path) -> None:
    import fcntl

    with (tmp_path / ".tidy.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(DependencyFailed, match="telemetry is being tidied by another process"):
            tidy(tmp_path, days=30, now_s=LATER_S)


def test_days_that_are_too_old_go_and_no_younger_one(tmp_path: Path) -> None:
    day_s = 86_400
    for days_ago in (0, 29, 30, 31, 32, 400):
        put(tmp_path, rows_of("tiny"), [request(0, timestamp=NOON_S - days_ago * day_s)])
    put(tmp_path, events_of("tiny"), [told(0) | {"timestamp": NOON_S - 400 * day_s}])
    assert tidy(tmp_path, days=30, now_s=NOON_S).days == 3
    ages = (NOON_S - read(tmp_path, "tiny")["timestamp"]) / day_s
    assert sorted(ages) == [0, 29, 30, 31], "a day goes when all of it is older than 30 days"


def test_what_a_dead_writer_left_is_removed_and_never_read(tmp_path: Path) -> None:
    part = put(tmp_path, rows_of("tiny"), [request(0)])
    torn = part.with_name(".part-1760011200002-aaaaaaaa.parquet.tmp")
    torn.write_bytes(part.read_bytes()[:100])
    assert len(read(tmp_path, "tiny")) == 1
    tidy(tmp_path, days=10_000, now_s=time.time())
    assert torn.exists(), "its writer may be at work"
    tidy(tmp_path, days=10_000, now_s=time.time() + 2 * HOUR_S)
    assert not torn.exists()


def test_a_torn_segment_is_named_not_skipped(tmp_path: Path) -> None:
    put(tmp_path, rows_of("tiny"), [request(0)])
    bad = put(tmp_path, rows_of("tiny"), [request(1)])
    bad.write_bytes(bad.read_bytes()[:-20])
    with pytest.raises(Corrupt) as error:
        read(tmp_path, "tiny")
    assert str(bad) in str(error.value)
    assert "move it away: its rows are lost" in str(error.value)


def test_segments_of_before_read_with_the_contracts_defaults(tmp_path: Path) -> None:
    added = (
        "priority", "degraded", "cascade", "worker_died", "retries", "sent_rate_hz", "speech_s", "segments",
        "level_dbfs", "snr_db", "clipped", "preprocess_ms", "postprocess_ms", "batch", "cascade_edits",
        "cascade_words", "confidence_before",
    )  # fmt: skip
    put(tmp_path, rows_of("tiny"), [request(0)], without=added)
    put(tmp_path, rows_of("tiny"), [request(1, priority="batch", batch=4, speech_s=0.5)])
    for _ in range(2):
        rows = read(tmp_path, "tiny")
        assert rows["priority"].tolist() == ["interactive", "batch"]
        assert rows["batch"].tolist() == [1, 4]
        assert rows["degraded"].tolist() == ["no", "no"]
        assert rows["speech_s"].isna().tolist() == [True, False]
        tidy(tmp_path, days=30, now_s=LATER_S)


def test_columns_that_a_newer_gateway_wrote_survive_compaction(tmp_path: Path) -> None:
    part = put(tmp_path, rows_of("tiny"), [request(0)])
    put(tmp_path, rows_of("tiny"), [request(1)])
    table = parquet.read_table(part, partitioning=None)
    parquet.write_table(table.append_column("of_tomorrow", pyarrow.array([7])), part)
    tidy(tmp_path, days=30, now_s=LATER_S)
    (hour,) = (tmp_path / rows_of("tiny")).rglob("*.parquet")
    assert parquet.read_table(hour, partitioning=None)["of_tomorrow"].to_pylist() == [7, None]
    assert len(read(tmp_path, "tiny")) == 2


def test_a_full_disk_loses_nothing_when_it_has_room_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = True
    real = segments.write

    def write(*arguments: Any, **named: Any) -> Path:
        if full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*arguments, **named)

    monkeypatch.setattr(segments, "write", write)
    monkeypatch.setattr("serving.telemetry.recorder.FLUSH_S", 0.05)
    recorder = Recorder(tmp_path)
    for n in range(300):
        recorder.record(request(n))
    recorder.event(ClientEvent(request_id=f"{1:032x}", kind="correction"), NOON_S + 1)
    time.sleep(0.5)
    assert (recorder.waiting, recorder.written, recorder.dropped) == (301, 0, 0)
    full = False
    recorder.close()
    assert (recorder.waiting, recorder.written, recorder.dropped) == (0, 301, 0)
    rows = read(tmp_path, "tiny")
    assert rows["request_id"].tolist() == [f"{n:032x}" for n in range(300)]
    assert rows["corrections"].sum() == 1


def test_a_segment_that_was_half_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    crashing(monkeypatch, at=2)
    with pytest.raises(Stopped):
        put(tmp_path, rows_of("tiny"), [request(0)])
    monkeypatch.undo()
    assert read(tmp_path, "tiny").empty


def test_fault_64_rows_are_found_though_the_clock_was_put_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = time.time()
    recorder = Recorder(tmp_path)
    recorder.record(request(1, timestamp=now_s))
    monkeypatch.setattr(time, "time", lambda: now_s - 86_400)
    recorder.close()
    assert len(read(tmp_path, "tiny", now_s - 10)) == 1, "written a day before it happened, by the clock"


def test_a_range_of_time_and_columns(tmp_path: Path) -> None:
    filled(tmp_path)
    rows = read(tmp_path, "tiny", NOON_S + 1801, NOON_S + 3602, columns=("latency_ms", "request_id"))
    assert list(rows.columns) == ["latency_ms", "request_id"]
    assert [int(name, 16) for name in rows["request_id"]] == [1801, 1802, 1803, 1804, 3600, 3601]


def test_the_metadata_names_what_an_hour_stands_for(tmp_path: Path) -> None:
    parts = [put(tmp_path, rows_of("tiny"), [request(n)]) for n in range(2)]
    tidy(tmp_path, days=30, now_s=LATER_S)
    (hour,) = (tmp_path / rows_of("tiny")).rglob("*.parquet")
    said = json.loads(parquet.read_schema(hour).metadata[b"soundcheck.replaces"])
    assert said == [part.relative_to(tmp_path).as_posix() for part in parts]


@pytest.mark.slow
def test_a_million_rows_are_read_in_seconds(tmp_path: Path) -> None:
    columns = {name: [value] * 50_000 for name, value in request(0).items()}
    for part in range(20):
        columns["request_id"] = [f"{part:016x}{n:016x}" for n in range(50_000)]
        columns["timestamp"] = [NOON_S + part * 50 + n / 1000 for n in range(50_000)]
        table = pyarrow.table(columns, schema=segments.schema(ROW_COLUMNS))
        segments.write(
            tmp_path / "family=tiny" / "date=2025-10-09", table, newest_ms=int(NOON_S + part * 50 + 51) * 1000
        )
    began = time.monotonic()
    rows = read(tmp_path, "tiny", columns=("timestamp", "session_id", "arm", "latency_ms", "errors", "words"))
    took_s = time.monotonic() - began
    assert len(rows) == 1_000_000
    assert took_s < 20, "about a second on a quiet machine"


def test_a_small_segment_is_read_from_disk_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "MAX_BYTES", 100_000)
    paths = [put(tmp_path, rows_of("tiny"), [request(n)]) for n in range(30)]
    opened: list[Path] = []
    real = parquet.ParquetFile

    def open_file(path: Path) -> Any:
        opened.append(path)
        return real(path)

    monkeypatch.setattr(parquet, "ParquetFile", open_file)
    assert len(read(tmp_path, "tiny")) == 30
    assert sorted(opened) == sorted(paths)
    opened.clear()
    assert len(read(tmp_path, "tiny", NOON_S + 25)) == 5
    assert opened == []
    tidy(tmp_path, days=30, now_s=LATER_S)
    assert len(read(tmp_path, "tiny")) == 30, "what is kept of a segment that is gone counts no more"
    assert kept.size_bytes() <= 100_000
