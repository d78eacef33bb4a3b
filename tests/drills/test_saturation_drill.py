"""The saturation drill: more work than a worker can do, most of it batch, and a minute without telemetry.

The worker of the tests' engine takes a fixed time for each utterance, so that what it can carry is known; load, queue
and waiting are real. The phases are laid into minutes of one window (timeshift.py), the overload in a quarter of each
of its minutes, so that the queue looks shorter than it was, never longer.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest

from operations.incident import open_incident
from operations.traffic import count_errors
from serving.client import TIMEOUT_S, start_gateway, transcribe_async
from serving.traffic import Habits, play
from tests.drills.drill import WORDS, scenarios, write_pack
from tests.drills.timeshift import Recorded, lay, put, spread, take
from tests.operations.gated_releases import FAMILY
from tests.operations.tiny_family import GATEWAY, TinyFamily

pytestmark = pytest.mark.timeout(600)  # a machine that may be busy; a quiet one takes a tenth

WORK_MS = 100
"""So that a worker carries ten utterances a second."""
UPLOADS = 24
"""Batch uploads at a time."""
OVERLOAD_S = 15.0
MINUTE_S = 60.0
MINUTES = 10
SATURATED, MISSING = (6, 7), 8


class Line:
    """A family whose one worker is a queue with a known pace, its gateway, and callers of both classes."""

    def __init__(self, root: Path) -> None:
        self.family = TinyFamily(root)
        self.family.package("v1", " ".join(WORDS), runtime={"by_level": True, "work_ms": WORK_MS}).promote()
        self.pack = write_pack(root)
        self.telemetry = self.family.home / "telemetry"
        self._url = ""

    @contextmanager
    def gateway(self) -> Iterator[None]:
        with start_gateway(self.family.home, families=(FAMILY,), command=GATEWAY) as gateway:
            self._url = gateway.base_url
            yield

    def interactive(self, *, seed: int, concurrency: int, **bounds: Any) -> Recorded:
        """Callers who wait for an answer before they ask again."""
        return self._taken(self._speak(seed, concurrency, **bounds))

    def overloaded(self, *, seed: int) -> Recorded:
        """The same, while an archive is uploaded as batch work."""
        uploads: list[int] = []
        uploading = threading.Thread(target=lambda: uploads.append(asyncio.run(self._upload(OVERLOAD_S))))
        uploading.start()
        spoken = self._speak(seed, 3, pause_s=0.5, seconds=OVERLOAD_S)
        uploading.join()
        return self._taken(spoken + uploads[0])

    def _speak(self, seed: int, concurrency: int, **bounds: Any) -> int:
        done = play(
            self._url, family=FAMILY, utterances=self.pack, root=self.family.root, api_key=self.family.api_key,
            count_errors=count_errors("none"), concurrency=concurrency, cadence=0.0, probe=False, seed=seed,
            habits=Habits(stream=0.0), **bounds,
        )  # fmt: skip
        assert done.failures == {}
        return done.requests

    async def _upload(self, seconds: float) -> int:
        audio, ends, made = (self.family.root / "1.wav").read_bytes(), time.monotonic() + seconds, 0
        async with httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=False) as client:

            async def upload(number: int) -> None:
                nonlocal made
                headers = {"X-Soundcheck-Priority": "batch", "X-Soundcheck-Session": f"archive-{number}"}
                while time.monotonic() < ends:
                    await transcribe_async(self._url, audio, FAMILY, self.family.api_key, headers, client=client)
                    made += 1

            await asyncio.gather(*map(upload, range(UPLOADS)))
        return made

    def _taken(self, rows: int) -> Recorded:
        return take(self.telemetry, FAMILY, rows=rows, events=0)


def test_work_that_waits_degrades_and_batch_is_named(tmp_path: Path) -> None:
    expected = scenarios()["8-queue-saturation"].expect
    line = Line(tmp_path / "project")
    with line.gateway():
        before = line.interactive(seed=1, concurrency=1, requests=100)
        calm = line.interactive(seed=2, concurrency=1, requests=60)
        drained = line.interactive(seed=3, concurrency=1, requests=10)
        crowded = [line.overloaded(seed=4 + number) for number in range(len(SATURATED))]
    now_s = time.time()
    since_s = now_s - MINUTES * MINUTE_S
    laid = [
        spread(before, since_s=since_s - 3600, until_s=since_s),
        spread(calm, since_s=since_s + 1, until_s=since_s + SATURATED[0] * MINUTE_S - 1),
        lay(drained, at_s=since_s + (MISSING + 1) * MINUTE_S + 1),
        *(lay(one, at_s=since_s + minute * MINUTE_S + 1) for minute, one in zip(SATURATED, crowded, strict=True)),
    ]
    for one in laid:
        put(line.telemetry, FAMILY, one)
    line.family.context.now = lambda: datetime.fromtimestamp(now_s, UTC)
    found = open_incident(line.family.context, FAMILY, since_s=now_s - since_s, with_replay=False).incident

    assert found.recommendation.action == expected.decision, found.recommendation.reason
    assert found.recommendation.reason.startswith("A2: work waited in 2 of 10 minutes")
    assert f"of the waiting is {expected.cause} work: route it apart" in found.recommendation.reason
    assert [round((one.minute_s - since_s) / MINUTE_S) for one in found.saturation.minutes] == list(SATURATED)
    assert (found.saturation.watched, found.saturation.missing) == (MINUTES, 1)
    assert found.localised.stage == expected.metric
    assert "soundcheck degrade" in found.recommendation.command
    batch = pd.concat([one.rows for one in crowded]).groupby("priority")["queue_ms"].median()
    assert batch["batch"] > 3 * batch["interactive"], "interactive work goes before batch work"
