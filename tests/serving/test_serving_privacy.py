"""Planted strings in transcripts, keys and sessions are found in no log, telemetry file or metric (R6.6, fault 62)."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import httpx
import pytest

from serving.client import ApiFailure, open_stream, stream, transcribe
from serving.telemetry import read
from tests.serving.conftest import Home, StartGateway, silence, wav, with_command
from tests.serving.tiny_engine import FAIL

SAID = "plantedword zanzibar"
SESSION = "planted-session-4411"
PERSON = "Planted Person 12 High Street"


def test_nothing_private_is_written_anywhere(home: Home, start_tiny: StartGateway, tmp_path: Path) -> None:
    folder = home.folder("planted", SAID)
    root = tmp_path / "home"
    root.mkdir()
    (root / "api_keys.json").write_bytes((home.root / "api_keys.json").read_bytes())
    headers = {"X-Soundcheck-Session": SESSION, "X-Soundcheck-Device": PERSON, "X-Soundcheck-Tenant": PERSON}
    with start_tiny(root, serve={"tiny": folder}, log=root / "run" / "gateway.log") as gateway:
        url = gateway.base_url
        assert transcribe(url, wav(silence(1.0)), "tiny", home.key, headers).text == SAID
        pcm = silence(1.0).astype("<i2").tobytes()
        assert stream(url, pcm, "tiny", home.key, headers, rate_hz=16_000).text == SAID
        for key, content in ((home.key, wav(with_command(FAIL))), (home.key, SAID.encode()), ("sk-planted-wrong", b"")):
            with pytest.raises(ApiFailure):
                transcribe(url, content, "tiny", key, headers)
        httpx.post(f"{url}/v1/{SESSION}", headers={"Authorization": home.key})
        httpx.post(f"{url}/v1/events", json={"text": SAID}, headers={"Authorization": f"Bearer {home.key}"})

        async def odd() -> None:
            async with open_stream(url, "tiny", home.key, headers) as websocket:
                await websocket.send(json.dumps({"type": "start", "sample_rate": 16_000, "session": SESSION}))
                await websocket.send(SAID)
                await websocket.recv()
                await websocket.recv()

        asyncio.run(odd())
        metrics = httpx.get(f"{url}/metrics").text + httpx.get(f"{url}/v1/status").text
        time.sleep(0.2)
    rows = read(root / "telemetry", "tiny", 0.0)
    assert len(rows) == 5
    assert set(rows["device"]) == {"other"}
    assert rows["session_id"].nunique() == 1
    found = {
        str(path): path.read_bytes() for path in root.rglob("*") if path.is_file() and path.name != "api_keys.json"
    }
    found["metrics"] = metrics.encode()
    found["rows"] = rows.to_json().encode()
    assert any(name.endswith(".parquet") for name in found)
    assert found[str(root / "run" / "gateway.log")]
    for planted in (
        "plantedword",
        "zanzibar",
        "planted-s",
        "Planted Person",
        "High Street",
        home.key,
        "sk-planted",
        "planted-wrong",
    ):
        for name, content in found.items():
            assert planted.lower().encode() not in content.lower(), f"{planted} in {name}"
