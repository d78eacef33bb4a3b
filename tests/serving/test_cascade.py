"""Small before large, less instead of nothing, and bundles that are closed (coverage rows 23 and 29, R7.6)."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from contracts.routing import CanaryRoute, Cascade, Degradation, RouteTable
from serving.client import ApiFailure, RunningGateway, open_stream, stream_async, transcribe
from serving.presence import wait_for_version
from serving.telemetry import read
from tests.serving.conftest import Home, StartGateway, silence, wav, with_command
from tests.serving.test_switching import eventually
from tests.serving.tiny_engine import UNSURE

FAMILY = "cascading"
SURE_CLIP, UNSURE_CLIP = wav(silence(1.0)), wav(with_command(UNSURE))
DEADLINE_S = 4.0


class Bundles:
    """A small and a large model that say different words."""

    def __init__(self, home: Home) -> None:
        self.small = home.bundle("small", "hello small", FAMILY)
        self.large = home.bundle("large", "hello large", FAMILY)


@pytest.fixture(scope="module")
def bundles(home: Home) -> Bundles:
    return Bundles(home)


@pytest.fixture(scope="module")
def gateway(home: Home, start_tiny: StartGateway) -> Iterator[RunningGateway]:
    options = ("--deadline-s", str(DEADLINE_S), "--drain-s", "5", "--poll-s", "0.05")
    with start_tiny(home.root, families=[FAMILY], options=options) as running:
        yield running


def serve(home: Home, bundles: Bundles, **more: Any) -> RouteTable:
    table = home.point(FAMILY, bundles.large, **more)
    wait_for_version(home.root, FAMILY, table.version, timeout_s=20)
    return table


def counted(gateway: RunningGateway, outcome: str) -> float:
    name = f'soundcheck_cascade_total{{family="{FAMILY}",outcome="{outcome}"}} '
    lines = httpx.get(f"{gateway.base_url}/metrics").text.splitlines()
    return next((float(line.removeprefix(name)) for line in lines if line.startswith(name)), 0.0)


def rows(home: Home, since: float, count: int) -> Any:
    def found() -> Any:
        return read(home.root / "telemetry", FAMILY, since)

    eventually(lambda: len(found()) >= count)
    assert len(found()) == count
    return found()


def test_what_the_small_model_is_sure_of_it_answers(gateway: RunningGateway, home: Home, bundles: Bundles) -> None:
    serve(home, bundles, cascade=Cascade(small=bundles.small, below=0.8, audit=0))
    since = time.time()
    heard = transcribe(gateway.base_url, SURE_CLIP, FAMILY, home.key)
    assert (heard.text, heard.bundle) == ("hello small", bundles.small)
    (row,) = rows(home, since, 1).to_dict("records")
    assert (row["cascade"], row["bundle"], row["arm"]) == ("small", bundles.small, "stable")
    assert row["confidence"] == row["confidence_before"] == 0.9


def test_what_it_is_not_sure_of_the_stable_model_answers(gateway: RunningGateway, home: Home, bundles: Bundles) -> None:
    serve(home, bundles, cascade=Cascade(small=bundles.small, below=0.8, audit=1))
    since, before = time.time(), counted(gateway, "escalated")
    heard = transcribe(gateway.base_url, UNSURE_CLIP, FAMILY, home.key)
    assert (heard.text, heard.bundle) == ("hello large", bundles.large)
    assert counted(gateway, "escalated") == before + 1
    (row,) = rows(home, since, 1).to_dict("records")
    assert (row["cascade"], row["cascade_edits"], row["cascade_words"]) == ("large", 1, 2)
    assert row["confidence_before"] == 0.4


def test_audits_count_the_router_s_mistakes_and_reach_no_user(
    gateway: RunningGateway, home: Home, bundles: Bundles
) -> None:
    table = serve(home, bundles, cascade=Cascade(small=bundles.small, below=0.8, audit=1))
    since, before = time.time(), counted(gateway, "mistake")
    heard = transcribe(gateway.base_url, SURE_CLIP, FAMILY, home.key)
    assert heard.bundle == bundles.small
    found = rows(home, since, 2)
    audit = found[found["cascade"] == "audit"].to_dict("records")[0]
    assert (audit["arm"], audit["bundle"], audit["route_version"]) == ("shadow", bundles.large, table.version)
    assert (audit["cascade_edits"], audit["cascade_words"], audit["confidence_before"]) == (1, 2, 0.9)
    assert audit["request_id"] == heard.request_id
    assert counted(gateway, "mistake") == before + 1


def test_a_small_model_that_hangs_takes_half_of_the_time_and_fails_nobody(
    gateway: RunningGateway, home: Home, bundles: Bundles
) -> None:
    serve(home, bundles, cascade=Cascade(small=bundles.small, below=0.8, audit=0))
    pid = gateway.status()["families"][FAMILY]["workers"][bundles.small]["pid"]
    before = counted(gateway, "skipped")
    os.kill(pid, signal.SIGSTOP)
    try:
        heard = transcribe(gateway.base_url, SURE_CLIP, FAMILY, home.key)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert heard.bundle == bundles.large
    assert counted(gateway, "skipped") == before + 1
    assert heard.latency_ms < DEADLINE_S * 1000


def test_streams_have_no_cascade(gateway: RunningGateway, home: Home, bundles: Bundles) -> None:
    serve(home, bundles, cascade=Cascade(small=bundles.small, below=0.8))
    pcm = silence(1.0).astype("<i2").tobytes()
    heard = asyncio.run(stream_async(gateway.base_url, pcm, FAMILY, home.key, rate_hz=16_000))
    assert heard.text == "hello large"
    assert heard.bundles == {bundles.large}


def test_degraded_to_a_smaller_bundle_it_alone_answers(gateway: RunningGateway, home: Home, bundles: Bundles) -> None:
    table = serve(home, bundles, degradation=Degradation(mode="smaller", bundle=bundles.small))
    since = time.time()
    heard = transcribe(gateway.base_url, UNSURE_CLIP, FAMILY, home.key)
    assert (heard.text, heard.bundle) == ("hello small", bundles.small)
    (row,) = rows(home, since, 1).to_dict("records")
    assert (row["degraded"], row["cascade"], row["arm"]) == ("smaller", "none", "stable")
    status = gateway.status()["families"][FAMILY]
    assert (status["version"], status["degradation"]["bundle"]) == (table.version, bundles.small)


def test_degraded_streams_send_finals_alone(gateway: RunningGateway, home: Home, bundles: Bundles) -> None:
    serve(home, bundles, degradation=Degradation(mode="no_partials"))
    pcm = silence(1.5).astype("<i2").tobytes()
    heard = asyncio.run(stream_async(gateway.base_url, pcm, FAMILY, home.key, rate_hz=16_000))
    assert (heard.text, heard.partials) == ("hello large hello", [])


def test_streams_of_a_closed_bundle_end_at_once_and_nobody_new_reaches_it(
    gateway: RunningGateway, home: Home, bundles: Bundles, tmp_path: Path
) -> None:
    """R7.6: even while the bundle that follows has no worker yet."""
    serve(home, bundles)
    sign = tmp_path / "loads"
    slow = home.bundle("slow", "hello slow", FAMILY, loads=str(sign))

    async def run() -> dict[str, Any]:
        async with open_stream(gateway.base_url, FAMILY, home.key) as websocket:
            await websocket.send('{"type": "start", "sample_rate": 16000}')
            await websocket.recv()
            home.point(FAMILY, slow, closed=(bundles.large,))
            message: dict[str, Any] = json.loads(await websocket.recv())
            return message

    ended = asyncio.run(asyncio.wait_for(run(), 20))
    assert (ended["type"], ended["error"]["code"]) == ("error", "withdrawn")
    with pytest.raises(ApiFailure, match="withdrawn: the bundle of 'cascading' was withdrawn; its successor is start"):
        transcribe(gateway.base_url, SURE_CLIP, FAMILY, home.key)
    eventually(sign.exists)
    sign.unlink()
    eventually(lambda: gateway.status()["families"][FAMILY]["stable"] == slow)
    assert transcribe(gateway.base_url, SURE_CLIP, FAMILY, home.key).bundle == slow


def test_a_closed_canary_s_requests_go_to_stable_before_the_switch(
    gateway: RunningGateway, home: Home, bundles: Bundles, tmp_path: Path
) -> None:
    serve(home, bundles, canary=CanaryRoute(bundle=bundles.small, stage="wide", weight=1.0))
    assert transcribe(gateway.base_url, SURE_CLIP, FAMILY, home.key).bundle == bundles.small
    sign = tmp_path / "loads"
    slow = home.bundle("slower", "hello slower", FAMILY, loads=str(sign))
    table = home.point(FAMILY, bundles.large, canary=CanaryRoute(bundle=slow, stage="probe", weight=1.0),
                       closed=(bundles.small,))  # fmt: skip
    eventually(sign.exists)
    assert gateway.status()["families"][FAMILY]["version"] < table.version
    assert transcribe(gateway.base_url, SURE_CLIP, FAMILY, home.key).bundle == bundles.large
    sign.unlink()
    wait_for_version(home.root, FAMILY, table.version, timeout_s=20)
