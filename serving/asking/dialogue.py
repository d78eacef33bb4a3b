"""Asking an assistant: one turn over the WebSocket `/v1/assistant`. There is no other way to ask it.

Boundary: as serving/client.py.
Invariants: a turn is over when all of its speech came; the tenant is the prompt's, where the key may name one.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping

import httpx
from websockets.asyncio.client import ClientConnection

from contracts.bundle import GoldenAnswer
from serving.asking import Asked, Door
from serving.client import next_said, open_stream, pcm_of
from speech.kinds import Prompt
from speech.playback import Playback

streams = True

ROUTE = "/v1/assistant"
FRAME_MS = 100


async def ask(
    door: Door, prompt: Prompt, headers: Mapping[str, str] | None = None, *, client: httpx.AsyncClient
) -> Asked:
    """One turn, sent as fast as the server takes it; no HTTP is spoken."""
    del client
    return await stream(door, prompt, headers)


async def stream(
    door: Door, prompt: Prompt, headers: Mapping[str, str] | None = None, *, cadence: float = 0.0
) -> Asked:
    """One turn, from the user's speech to the end of the reply's."""
    assert prompt.path is not None
    pcm, rate_hz = await asyncio.to_thread(pcm_of, prompt.path)
    named = {**(headers or {}), **({"X-Soundcheck-Tenant": prompt.tenant} if prompt.tenant else {})}
    async with open_stream(door.base_url, door.family, door.key, named, route=ROUTE) as websocket:
        await websocket.send(json.dumps({"type": "start", "sample_rate": rate_hz}))
        ready = await next_said(websocket)
        assert isinstance(ready, dict)
        speaking = asyncio.create_task(say(websocket, pcm, rate_hz, cadence))
        try:
            return await _heard(websocket, ready["voice_rate"], ready["route_version"], speaking)
        finally:
            speaking.cancel()
            await asyncio.gather(speaking, return_exceptions=True)


async def say(websocket: ClientConnection, pcm: bytes, rate_hz: int, cadence: float) -> float:
    """Send the user's speech and its end; when that was, by time.perf_counter."""
    step = rate_hz * FRAME_MS // 1000 * 2
    began = time.perf_counter()
    for index, offset in enumerate(range(0, len(pcm), step)):
        if cadence:
            await asyncio.sleep(max(began + index * FRAME_MS / 1000 / cadence - time.perf_counter(), 0))
        await websocket.send(pcm[offset : offset + step])
    await websocket.send('{"type": "end"}')
    return time.perf_counter()


async def _heard(websocket: ClientConnection, rate_hz: int, route_version: int, speaking: asyncio.Task[float]) -> Asked:
    """The reply and its speech, until the turn is done."""
    while isinstance(reply := await next_said(websocket), bytes) or reply["type"] != "reply":
        pass
    ended = await speaking
    playback, first_ms = Playback(), None
    while isinstance(said := await next_said(websocket), bytes):
        now = time.perf_counter()
        first_ms = (now - ended) * 1000 if first_ms is None else first_ms
        playback.came(len(said) // 2 / rate_hz, now)
    return Asked(
        answer=GoldenAnswer(f"{reply['heard']}\n{reply['text']}", ",".join(reply["citations"])),
        bundle=said["bundle"],
        bundles=frozenset({reply["bundle"], said["bundle"]}),
        request_id=reply["request_id"],
        latency_ms=(time.perf_counter() - ended) * 1000,
        first_ms=first_ms,
        route_version=route_version,
        starved=playback.starved if first_ms is not None else None,
    )
