"""Asking a family over the production API, whatever its task: one module a task, all of one shape.

Boundary: a client of the API (serving/client.py); it knows the contract, not the server's code.
Invariants: what comes back is in the parts that golden outputs are compared by, so that staging, traffic and tests ask
every family alike; a refusal is raised as ApiFailure.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import NamedTuple, Protocol, cast

import httpx

from contracts.bundle import GoldenAnswer
from contracts.policy import Task
from speech.kinds import Prompt
from speech.runtimes import Samples


class Door(NamedTuple):
    """Where to ask: the gateway, the family, the API key."""

    base_url: str
    family: str
    key: str


class Speech(NamedTuple):
    """What a voice said: samples in [-1, 1], (n,), at `rate_hz`."""

    samples: Samples
    rate_hz: int


class Asked(NamedTuple):
    """An answer as its client saw it.

    Attributes:
        bundle, bundles: the bundle that answered; every bundle that was named.
        latency_ms: until all of the answer was there; of a stream from the end of what was sent.
        first_ms: until the first words of a transcript, or the first samples of a reply, were there; None without any.
        starved: whether playing what came, as it came, would have starved; None where nothing is played.
        speech: what was heard of a voice; None of other tasks.
    """

    answer: GoldenAnswer
    bundle: str
    bundles: frozenset[str]
    request_id: str
    latency_ms: float
    first_ms: float | None = None
    route_version: int | None = None
    starved: bool | None = None
    speech: Speech | None = None


class Asker(Protocol):
    """A module of this package."""

    streams: bool
    """Whether the task has a WebSocket beside its HTTP route; a task without HTTP (dialogue) has `stream` alone."""

    async def ask(
        self, door: Door, prompt: Prompt, headers: Mapping[str, str] | None = None, *, client: httpx.AsyncClient
    ) -> Asked:
        """Ask once, over HTTP where the task has a route there."""
        ...

    async def stream(
        self, door: Door, prompt: Prompt, headers: Mapping[str, str] | None = None, *, cadence: float = 0.0
    ) -> Asked:
        """Ask once over a WebSocket; `cadence` 1.0 sends audio in real time, 0 as fast as the server takes it."""
        ...


def asker(task: Task) -> Asker:
    """How families of a task are asked."""
    return cast(Asker, importlib.import_module(f"serving.asking.{task}"))
