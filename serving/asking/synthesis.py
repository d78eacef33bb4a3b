"""Asking for speech: `POST /v1/audio/speech` as PCM, and the WebSocket.

Boundary: as serving/client.py.
Invariants: what is compared is the sketch of all samples, whichever way they came; playback is judged by when they did.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping

import httpx
import numpy as np

from contracts.bundle import GoldenAnswer
from serving.asking import Asked, Door, Speech
from serving.client import next_said, open_speech, open_stream
from speech.kinds import Prompt
from speech.playback import Playback
from speech.sketch import sketch

streams = True

ROUTE = "/v1/audio/speech/stream"


class Ear:
    """Hears 16-bit PCM as it comes: `first_ms` from the beginning to the first of it."""

    def __init__(self, rate_hz: int, began: float) -> None:
        self._rate_hz = rate_hz
        self._began = began
        self._pcm = bytearray()
        self.playback = Playback()
        self.first_ms: float | None = None

    def hear(self, pcm: bytes) -> None:
        """Some bytes came."""
        now = time.perf_counter()
        if self.first_ms is None:
            self.first_ms = (now - self._began) * 1000
        self.playback.came(len(pcm) // 2 / self._rate_hz, now)
        self._pcm += pcm

    def speech(self) -> Speech:
        """All that was heard."""
        return Speech((np.frombuffer(bytes(self._pcm), dtype="<i2") / 32767).astype(np.float32), self._rate_hz)


async def ask(
    door: Door, prompt: Prompt, headers: Mapping[str, str] | None = None, *, client: httpx.AsyncClient
) -> Asked:
    """Have the prompt's text said over HTTP."""
    began = time.perf_counter()
    async with open_speech(door.base_url, prompt.text, door.family, door.key, headers, client=client) as response:
        said = response.headers
        ear = Ear(int(said["x-soundcheck-sample-rate"]), began)
        async for pcm in response.aiter_raw():
            ear.hear(pcm)
    bundles = (said["x-soundcheck-bundle"],)
    return _asked(ear, bundles, said["x-request-id"], int(said["x-soundcheck-route"]), began)


async def stream(
    door: Door, prompt: Prompt, headers: Mapping[str, str] | None = None, *, cadence: float = 0.0
) -> Asked:
    """Have it said over a WebSocket; it is asked for at once, so `cadence` changes nothing."""
    del cadence
    start = {"type": "start", "input": prompt.text}
    async with open_stream(door.base_url, door.family, door.key, headers, route=ROUTE) as websocket:
        began = time.perf_counter()
        await websocket.send(json.dumps(start))
        ready = await next_said(websocket)
        assert isinstance(ready, dict)
        ear = Ear(ready["sample_rate"], began)
        while isinstance(said := await next_said(websocket), bytes):
            ear.hear(said)
    return _asked(ear, (ready["bundle"], said["bundle"]), said["request_id"], ready["route_version"], began)


def _asked(ear: Ear, bundles: tuple[str, ...], request_id: str, route_version: int, began: float) -> Asked:
    speech = ear.speech()
    return Asked(
        answer=GoldenAnswer(vector=sketch(*speech) if speech.samples.size else ()),
        bundle=bundles[-1],
        bundles=frozenset(bundles),
        request_id=request_id,
        latency_ms=(time.perf_counter() - began) * 1000,
        first_ms=ear.first_ms,
        route_version=route_version,
        starved=ear.playback.starved,
        speech=speech,
    )
