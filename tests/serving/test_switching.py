"""The gateway follows pointers: switches, drains, restarts, shadows, and never breaks a stream (R7, B5, fault 61)."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from contracts.digest import Digest
from contracts.errors import DependencyFailed
from contracts.routing import CanaryRoute
from serving.client import ApiFailure, RunningGateway, open_stream, transcribe
from serving.presence import gateways, wait_for_version
from serving.telemetry import read
from tests.serving.conftest import Home, StartGateway, silence, wav, with_command
from tests.serving.tiny_engine import CRASH

CLIP = wav(silence(1.0))
FAMILY = "moving"


class Bundles:
    """Two bundles that say different words, and one that cannot be loaded."""

    def __init__(self, home: Home) -> None:
        self.old = home.bundle("old", "old", FAMILY)
        self.new = home.bundle("new", "new", FAMILY, filters={"redact_digits_over": 5})
        self.leaky = home.bundle("leaky", "nine nine nine nine nine nine nine", FAMILY)
        self.broken = home.bundle("broken", "x", FAMILY, broken=True)


@pytest.fixture(scope="module")
def bundles(home: Home) -> Bundles:
    return Bundles(home)


@pytest.fixture(scope="module")
def following(home: Home, start_tiny: StartGateway) -> Iterator[RunningGateway]:
    options = ("--deadline-s", "10", "--drain-s", "5", "--poll-s", "0.05")
    with start_tiny(home.root, families=[FAMILY, "unreleased"], options=options) as gateway:
        yield gateway


def said(gateway: RunningGateway, home: Home, **headers: str) -> tuple[str, Digest]:
    named = {f"X-Soundcheck-{name}": value for name, value in headers.items()}
    heard = transcribe(gateway.base_url, CLIP, FAMILY, home.key, named)
    return heard.text.split()[0], heard.bundle


def eventually(condition: Callable[[], Any], timeout_s: float = 10.0) -> Any:
    ends = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < ends
        time.sleep(0.02)
    return value


def workers(gateway: RunningGateway) -> dict[Digest, dict[str, Any]]:
    found: dict[Digest, dict[str, Any]] = gateway.status()["families"][FAMILY]["workers"]
    return found


def recorded(home: Home, request_id: str) -> Any:
    """The telemetry row of a request, None while it has not been written."""
    rows = read(home.root / "telemetry", FAMILY)
    return next(iter(rows[rows["request_id"] == request_id].to_dict("records")), None)


def test_before_a_release_there_is_no_stable(following: RunningGateway, home: Home) -> None:
    with pytest.raises(ApiFailure, match="no_stable: no bundle of 'unreleased' is served yet") as refused:
        transcribe(following.base_url, CLIP, "unreleased", home.key)
    assert refused.value.status == 503


def test_a_promotion_waits_for_the_worker_and_a_warm_rollback_is_at_once(
    following: RunningGateway, home: Home, bundles: Bundles
) -> None:
    first = home.point(FAMILY, bundles.old)
    wait_for_version(home.root, FAMILY, first.version, timeout_s=20)
    assert said(following, home) == ("old", bundles.old)

    second = home.point(FAMILY, bundles.new, warm=(bundles.old,))
    texts = []
    while following.status()["families"][FAMILY]["version"] != second.version:
        texts.append(said(following, home)[0])
    # Not one request failed; the old bundle served until the new one's worker answered.
    assert texts
    assert set(texts) <= {"old", "new"}
    assert said(following, home) == ("new", bundles.new)
    assert workers(following)[bundles.old]["state"] == "ready"

    third = home.point(FAMILY, bundles.old, warm=(bundles.new,))
    began = time.monotonic()
    wait_for_version(home.root, FAMILY, third.version, timeout_s=5)
    assert time.monotonic() - began < 1.0
    assert said(following, home) == ("old", bundles.old)


def test_a_stream_ends_on_the_bundle_it_began_with(following: RunningGateway, home: Home, bundles: Bundles) -> None:
    start = home.point(FAMILY, bundles.old, warm=(bundles.new,))
    wait_for_version(home.root, FAMILY, start.version, timeout_s=20)
    half = silence(0.5).astype("<i2").tobytes()

    async def run() -> tuple[list[dict[str, Any]], str]:
        async with open_stream(following.base_url, FAMILY, home.key) as websocket:
            await websocket.send('{"type": "start", "sample_rate": 16000}')
            messages = [json.loads(await websocket.recv())]
            await websocket.send(half)
            messages.append(json.loads(await websocket.recv()))
            # The old bundle is not even kept warm: its worker has to drain for this stream.
            table = home.point(FAMILY, bundles.new)
            await asyncio.to_thread(wait_for_version, home.root, FAMILY, table.version, timeout_s=20)
            others = await asyncio.to_thread(said, following, home)
            await websocket.send(half)
            messages.append(json.loads(await websocket.recv()))
            await websocket.send('{"type": "end"}')
            messages.append(json.loads(await websocket.recv()))
            return messages, others[0]

    messages, other = asyncio.run(asyncio.wait_for(run(), 40))
    assert other == "new"
    assert [message["bundle"] for message in messages] == [bundles.old] * 4
    assert messages[0]["route_version"] == start.version
    assert (messages[-1]["type"], messages[-1]["text"]) == ("final", "old old")
    eventually(lambda: bundles.old not in workers(following))


def test_a_bundle_that_cannot_start_never_takes_over(following: RunningGateway, home: Home, bundles: Bundles) -> None:
    table = home.point(FAMILY, bundles.new)
    wait_for_version(home.root, FAMILY, table.version, timeout_s=20)
    bad = home.point(FAMILY, bundles.broken)

    def failed() -> bool:
        return bool(workers(following).get(bundles.broken, {}).get("restarts", 0) >= 2)

    eventually(failed, 20)
    status = following.status()["families"][FAMILY]
    assert (status["version"], status["preparing"]) == (table.version, bad.version)
    assert "before it was ready" in workers(following)[bundles.broken]["error"]
    assert said(following, home) == ("new", bundles.new)
    with pytest.raises(DependencyFailed, match=f"expected: version {bad.version} within 0.1 s"):
        wait_for_version(home.root, FAMILY, bad.version, timeout_s=0.1)

    good = home.point(FAMILY, bundles.new)
    assert wait_for_version(home.root, FAMILY, good.version, timeout_s=10) == 1
    eventually(lambda: bundles.broken not in workers(following))


def test_a_worker_that_dies_is_replaced_and_its_request_repeated(
    following: RunningGateway, home: Home, bundles: Bundles
) -> None:
    table = home.point(FAMILY, bundles.new)
    wait_for_version(home.root, FAMILY, table.version, timeout_s=20)
    before = workers(following)[bundles.new]
    heard = transcribe(following.base_url, wav(with_command(CRASH)), FAMILY, home.key)
    assert heard.text == "new new"
    after = workers(following)[bundles.new]
    assert after["pid"] != before["pid"]
    assert after["restarts"] == before["restarts"] + 1

    assert after["deaths"] == {"exited": 1}
    row = eventually(lambda: recorded(home, heard.request_id))
    assert (row["status"], row["worker_died"], row["retries"]) == (200, 1, 1)

    os.kill(after["pid"], signal.SIGKILL)
    assert said(following, home) == ("new", bundles.new)
    eventually(lambda: workers(following)[bundles.new]["deaths"] == {"exited": 1, "killed": 1})
    metrics = httpx.get(f"{following.base_url}/metrics").text
    assert f'soundcheck_worker_restarts_total{{bundle="{bundles.new[:12]}",family="{FAMILY}"}} 2.0' in metrics


def test_a_stream_whose_worker_dies_is_told(following: RunningGateway, home: Home, bundles: Bundles) -> None:
    table = home.point(FAMILY, bundles.new)
    wait_for_version(home.root, FAMILY, table.version, timeout_s=20)
    said(following, home)

    async def run() -> tuple[str, dict[str, Any]]:
        async with open_stream(following.base_url, FAMILY, home.key) as websocket:
            await websocket.send('{"type": "start", "sample_rate": 16000}')
            ready = json.loads(await websocket.recv())
            os.kill(workers(following)[bundles.new]["pid"], signal.SIGKILL)
            return ready["request_id"], json.loads(await websocket.recv())

    request_id, message = asyncio.run(asyncio.wait_for(run(), 20))
    assert message["error"]["code"] == "internal"
    row = eventually(lambda: recorded(home, request_id))
    assert (row["status"], row["worker_died"], row["retries"]) == (500, 1, 0)
    assert said(following, home) == ("new", bundles.new)


def test_shadow_copies_reach_telemetry_alone(following: RunningGateway, home: Home, bundles: Bundles) -> None:
    shadow = CanaryRoute(bundle=bundles.old, stage="shadow", weight=1.0)
    table = home.point(FAMILY, bundles.new, canary=shadow)
    wait_for_version(home.root, FAMILY, table.version, timeout_s=20)
    since = time.time()
    assert said(following, home) == ("new", bundles.new)

    async def run() -> str:
        from serving.client import stream_async

        pcm = silence(1.5).astype("<i2").tobytes()
        return (await stream_async(following.base_url, pcm, FAMILY, home.key, rate_hz=16_000)).text

    assert asyncio.run(run()) == "new new new"

    def copied() -> Any:
        rows = read(home.root / "telemetry", FAMILY, since)
        return rows[rows["arm"] == "shadow"]

    eventually(lambda: len(copied()) == 2)
    rows = copied().sort_values("shadow_words")
    assert rows["bundle"].tolist() == [bundles.old] * 2
    assert rows["mode"].tolist() == ["http", "stream"]
    assert rows[["shadow_edits", "shadow_words"]].to_numpy().tolist() == [[2, 2], [3, 3]]
    assert set(rows["route_version"]) == {table.version}


def test_canary_traffic_is_sticky_and_cohorts_are_kept(following: RunningGateway, home: Home, bundles: Bundles) -> None:
    canary = CanaryRoute(bundle=bundles.old, stage="cohort", weight=0.5, cohort={"tenant": ("internal",)})
    table = home.point(FAMILY, bundles.new, canary=canary)
    wait_for_version(home.root, FAMILY, table.version, timeout_s=20)
    arms = set()
    for number in range(12):
        answers = {said(following, home, Session=f"s{number}", Tenant="internal")[0] for _ in range(2)}
        assert len(answers) == 1
        arms |= answers
        assert said(following, home, Session=f"s{number}", Tenant="acme")[0] == "new"
    assert arms == {"old", "new"}


def test_what_stable_would_have_redacted_counts_as_a_privacy_error(
    following: RunningGateway, home: Home, bundles: Bundles
) -> None:
    canary = CanaryRoute(bundle=bundles.leaky, stage="wide", weight=1.0)
    table = home.point(FAMILY, bundles.new, canary=canary)
    wait_for_version(home.root, FAMILY, table.version, timeout_s=20)
    since = time.time()
    transcribe(following.base_url, wav(silence(4.0)), FAMILY, home.key)

    def rows() -> Any:
        return read(home.root / "telemetry", FAMILY, since)

    eventually(lambda: len(rows()) == 1)
    assert rows()[["arm", "privacy_errors"]].to_numpy().tolist() == [["canary", 1]]


def test_the_gateways_own_report(following: RunningGateway, home: Home, bundles: Bundles) -> None:
    table = home.point(FAMILY, bundles.new)
    wait_for_version(home.root, FAMILY, table.version, timeout_s=20)
    report = gateways(home.root)[following.pid]
    assert report["url"] == following.base_url
    assert report["families"] == {
        FAMILY: {"version": table.version, "bundles": [bundles.new], "proved": {}},
        "unreleased": {"version": -1, "bundles": [], "proved": {}},
    }
    assert wait_for_version(home.root, "unknown family", 3, timeout_s=1) == 0


def test_a_malformed_pointer_changes_nothing(following: RunningGateway, home: Home, bundles: Bundles) -> None:
    table = home.point(FAMILY, bundles.new)
    wait_for_version(home.root, FAMILY, table.version, timeout_s=20)
    name = f"families/{FAMILY}"
    seen = home.store.pointer(name)
    assert seen is not None
    home.store.swap(name, b"not a table", expected=seen.version)
    eventually(lambda: following.status()["families"][FAMILY]["store_error"] == "a route_table is not JSON")
    assert said(following, home) == ("new", bundles.new)
    after = home.point(FAMILY, bundles.new)
    wait_for_version(home.root, FAMILY, after.version, timeout_s=10)


def test_a_gateway_that_stops_lets_streams_finish_and_leaves_nothing(
    home: Home, start_tiny: StartGateway, tmp_path: Path
) -> None:
    folder = home.folder("stopping", "one two")

    async def run(gateway: RunningGateway) -> dict[str, Any]:
        async with open_stream(gateway.base_url, "tiny", home.key) as websocket:
            await websocket.send('{"type": "start", "sample_rate": 16000}')
            await websocket.recv()
            gateway.process.terminate()
            await asyncio.sleep(0.3)
            with pytest.raises(httpx.ConnectError):
                httpx.get(f"{gateway.base_url}/healthz")
            await websocket.send(silence(0.5).astype("<i2").tobytes())
            await websocket.recv()
            await websocket.send('{"type": "end"}')
            message: dict[str, Any] = json.loads(await websocket.recv())
            return message

    with start_tiny(home.root, serve={"tiny": folder}, log=tmp_path / "gateway.log") as gateway:
        pids = [worker["pid"] for worker in gateway.status()["families"]["tiny"]["workers"].values()]
        assert asyncio.run(asyncio.wait_for(run(gateway), 20))["text"] == "one"
        assert gateway.process.wait(20) == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert gateway.pid not in gateways(home.root)


def test_a_gateway_that_cannot_start_says_why(home: Home, start_tiny: StartGateway, tmp_path: Path) -> None:
    with (
        pytest.raises(DependencyFailed, match="exit status 2; its last lines: this folder is not a bundle"),
        start_tiny(home.root, serve={"tiny": tmp_path}, log=tmp_path / "gateway.log"),
    ):
        pass
