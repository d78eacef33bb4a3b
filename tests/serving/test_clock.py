"""A gateway whose wall clock is a day off and runs backwards (fault 64)."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from serving.client import ApiFailure, start_gateway, stream, transcribe
from serving.telemetry import read
from tests.serving.conftest import Home, silence, wav, with_command
from tests.serving.tiny_engine import SLOW, SLOW_S

PCM_SECOND = silence(1.0).astype("<i2").tobytes()
BACKWARDS = (sys.executable, str(Path(__file__).with_name("backwards_gateway.py")))


def test_fault_64_durations_and_order_stand_when_the_clock_runs_backwards(tmp_path: Path) -> None:
    own = Home(tmp_path)
    old = own.bundle("back-1", "one two", "back")
    own.point("back", old)
    began = time.time()
    options = ("--deadline-s", "2", "--poll-s", "0.05", "--rate", "5:20")
    with start_gateway(tmp_path, families=["back"], command=BACKWARDS, options=options) as gateway:
        url = gateway.base_url
        assert transcribe(url, wav(silence(1.0)), "back", own.key).bundle == old
        slow = transcribe(url, wav(with_command(SLOW)), "back", own.key)
        assert slow.latency_ms > SLOW_S * 1000
        assert stream(url, PCM_SECOND, "back", own.key, rate_hz=16_000).text == "one two"
        # Deadlines pass, and a bucket of tokens fills again.
        with pytest.raises(ApiFailure, match="deadline"):
            transcribe(url, wav(with_command(SLOW)), "back", own.key, {"X-Soundcheck-Deadline-Ms": "100"})
        # The newest version is served, though it is older by the clock.
        new = own.bundle("back-2", "uno dos", "back")
        own.point("back", new)
        ends = time.monotonic() + 20
        while transcribe(url, wav(silence(1.0)), "back", own.key).bundle != new:
            assert time.monotonic() < ends
            time.sleep(0.25)
        status = gateway.status()
    rows = read(tmp_path / "telemetry", "back")
    assert status["telemetry"]["dropped"] == 0
    # Stamps are the gateway's own, a day behind; what they stamp is whole, and no duration is negative or a day long.
    assert (rows["timestamp"] < began - 80_000).all()
    for column in ("latency_ms", "queue_ms", "infer_ms", "preprocess_ms", "postprocess_ms", "first_partial_ms"):
        durations = rows[column].dropna()
        assert ((durations >= 0) & (durations < 20_000)).all(), column
    assert (rows["latency_ms"] > SLOW_S * 1000).sum() == 1
    assert set(rows["route_version"]) == {1, 2}
