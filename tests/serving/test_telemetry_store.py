from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from contracts.telemetry import ClientEvent, TelemetryRow
from serving.telemetry import COLUMNS, MAX_WAITING_ROWS, Recorder, contract_columns, read

BUNDLE = "ab" * 32


def row(request_id: str, **more: Any) -> dict[str, Any]:
    made = {
        "timestamp": time.time(), "request_id": request_id, "session_id": "s", "family": "tiny", "bundle": BUNDLE,
        "arm": "stable", "route_version": 3, "mode": "http", "status": 200, "audio_s": 1.0, "latency_ms": 5.0,
        "queue_ms": 0.1, "infer_ms": 4.0, "cost_usd": 1e-6,
    }  # fmt: skip
    return made | more


def number(n: int) -> str:
    return f"{n:032x}"


def test_rows_and_probe_events_are_joined(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    recorder.record(row(number(1), device="phone"))
    recorder.record(row(number(1), arm="shadow", shadow_edits=1, shadow_words=4))
    recorder.record(row(number(2)))
    recorder.event(ClientEvent(request_id=number(1), kind="probe", errors=9, words=9), time.time() - 1)
    recorder.event(
        ClientEvent(request_id=number(1), kind="probe", errors=1, words=4, labels={"accent": "us"}), time.time()
    )
    recorder.event(ClientEvent(request_id=number(2), kind="correction"), time.time())
    recorder.event(ClientEvent(request_id=number(7), kind="probe", errors=1, words=1), time.time())
    recorder.close()
    rows = read(tmp_path, "tiny", 0.0)
    assert list(rows.columns) == list(COLUMNS)
    assert (
        list(COLUMNS)[: len(TelemetryRow.model_fields)] == list(TelemetryRow.model_fields) == list(contract_columns())
    )
    user, shadow, other = (rows.iloc[index] for index in range(3))
    assert (user["errors"], user["words"], user["accent"], user["device"]) == (1, 4, "us", "phone")
    assert (shadow["arm"], shadow["accent"], shadow["shadow_edits"]) == ("shadow", "us", 1)
    assert rows["errors"].isna().tolist() == [False, True, True]
    assert other["tenant"] == "none"
    assert rows["corrections"].tolist() == [0, 0, 1]
    assert rows["requests"].tolist() == [1, 1, 1]
    assert recorder.dropped == 0
    assert recorder.written == 7


def test_only_the_time_and_family_asked_for_are_read(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    recorder.record(row(number(1), timestamp=time.time() - 100))
    recorder.record(row(number(2)))
    recorder.record(row(number(3), family="other"))
    recorder.close()
    assert read(tmp_path, "tiny", time.time() - 10)["request_id"].tolist() == [number(2)]
    assert read(tmp_path, "tiny", time.time() + 10).empty
    empty = read(tmp_path / "nowhere", "tiny", 0.0)
    assert empty.empty
    assert list(empty.columns) == list(COLUMNS)


def test_rows_are_on_disk_within_seconds_and_no_partial_segment_is_seen(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    for index in range(250):
        recorder.record(row(number(index)))
    ends = time.monotonic() + 5
    while len(read(tmp_path, "tiny", 0.0)) < 250:
        assert time.monotonic() < ends
        time.sleep(0.05)
    recorder.close()
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_row_outside_the_contract_is_dropped_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    recorder = Recorder(tmp_path)
    recorder.record(row(number(1), device="Jane Roe said so"))
    recorder.record(row(number(2)))
    recorder.close()
    assert (recorder.dropped, recorder.written) == (1, 1)
    assert "a telemetry row does not satisfy its contract in device" in caplog.text
    assert "Jane" not in caplog.text


def test_a_recorder_that_cannot_write_drops_and_never_blocks(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    blocked = tmp_path / "telemetry"
    blocked.write_text("a file where the folder should be")
    recorder = Recorder(blocked)
    began = time.monotonic()
    for index in range(MAX_WAITING_ROWS + 50):
        recorder.record(row(number(index)))
    assert time.monotonic() - began < 5
    recorder.close()
    assert recorder.written == 0
    assert recorder.dropped == MAX_WAITING_ROWS + 50
    assert "was not written" in caplog.text
