"""Asking for a transcript: `POST /v1/audio/transcriptions`, and the stream.

Boundary: as serving/client.py.
Invariants: as serving/client.py.
"""

from __future__ import annotations

from collections.abc import Mapping

import httpx

from contracts.bundle import GoldenAnswer
from serving.asking import Asked, Door
from serving.client import pcm_of, stream_async, transcribe_async
from speech.kinds import Prompt

streams = True


async def ask(
    door: Door, prompt: Prompt, headers: Mapping[str, str] | None = None, *, client: httpx.AsyncClient
) -> Asked:
    """Send a file."""
    assert prompt.path is not None
    content = prompt.path.read_bytes()
    heard = await transcribe_async(door.base_url, content, door.family, door.key, headers, client=client)
    return Asked(
        answer=GoldenAnswer(text=heard.text),
        bundle=heard.bundle,
        bundles=frozenset({heard.bundle}),
        request_id=heard.request_id,
        latency_ms=heard.latency_ms,
        route_version=heard.route_version,
    )


async def stream(
    door: Door, prompt: Prompt, headers: Mapping[str, str] | None = None, *, cadence: float = 0.0
) -> Asked:
    """Stream a file's samples."""
    assert prompt.path is not None
    pcm, rate_hz = pcm_of(prompt.path)
    heard = await stream_async(door.base_url, pcm, door.family, door.key, headers, rate_hz=rate_hz, cadence=cadence)
    return Asked(
        answer=GoldenAnswer(text=heard.text),
        bundle=heard.bundle,
        bundles=heard.bundles,
        request_id=heard.request_id,
        latency_ms=heard.final_ms,
        first_ms=heard.first_partial_ms,
        route_version=heard.route_version,
    )
