"""Asking about a recording where the answer is no transcript: what embedding.py and classification.py share.

Boundary: as serving/client.py.
Invariants: as serving/client.py.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import httpx

from contracts.bundle import GoldenAnswer
from contracts.errors import WrongCall
from serving.asking import Asked, Door
from serving.client import upload_async
from speech.kinds import Prompt


class Whole:
    """A task that answers a whole recording, over HTTP alone."""

    streams = False

    def __init__(self, route: str, answer: Callable[[dict[str, Any]], GoldenAnswer]) -> None:
        """`answer` reads the JSON that `route` answers."""
        self._route = route
        self._answer = answer

    async def ask(
        self, door: Door, prompt: Prompt, headers: Mapping[str, str] | None = None, *, client: httpx.AsyncClient
    ) -> Asked:
        """Send a file."""
        assert prompt.path is not None
        content = prompt.path.read_bytes()
        began = time.perf_counter()
        response = await upload_async(
            door.base_url, self._route, content, door.family, door.key, headers, client=client
        )
        latency_ms = (time.perf_counter() - began) * 1000
        said = response.headers
        return Asked(
            answer=self._answer(response.json()),
            bundle=said["x-soundcheck-bundle"],
            bundles=frozenset({said["x-soundcheck-bundle"]}),
            request_id=said["x-request-id"],
            latency_ms=latency_ms,
            route_version=int(said["x-soundcheck-route"]),
        )

    async def stream(
        self, door: Door, prompt: Prompt, headers: Mapping[str, str] | None = None, *, cadence: float = 0.0
    ) -> Asked:
        """There is none: raises WrongCall."""
        del door, prompt, headers, cadence
        raise WrongCall("this task has no stream", got=self._route, next_step="ask over HTTP")
