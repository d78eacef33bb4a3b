"""Talking to a gateway's stream as a client does: messages, scripts, and what is left of a stream after it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from serving.client import RunningGateway, open_stream
from serving.telemetry import read
from tests.serving.conftest import silence

START = '{"type": "start", "sample_rate": 16000}'
END = '{"type": "end"}'
CANCEL, BARGE_IN = '{"type": "cancel"}', '{"type": "barge_in"}'
CHUNK = silence(0.1).astype("<i2").tobytes()

Message = dict[str, Any]
Script = Callable[[ClientConnection], Awaitable[Any]]


def talk(gateway: RunningGateway, key: str, script: Script, family: str = "tiny") -> Any:
    """What a script gives on a stream of its own, within 20 seconds."""

    async def run() -> Any:
        async with open_stream(gateway.base_url, family, key) as websocket:
            return await script(websocket)

    return asyncio.run(asyncio.wait_for(run(), 20))


def saying(*messages: Any) -> Script:
    """A script: send these, as far as the gateway lets one, and give everything that it answers."""

    async def script(websocket: ClientConnection) -> list[Message]:
        with suppress(ConnectionClosed):
            await send(websocket, *messages)
        return await everything(websocket)

    return script


async def send(websocket: ClientConnection, *messages: Any) -> None:
    """Each a text, bytes, or a list of bytes: one frame in pieces."""
    for message in messages:
        await websocket.send(message)


async def everything(websocket: ClientConnection) -> list[Message]:
    """Every message until the stream is closed, in whichever way."""
    messages = []
    with suppress(ConnectionClosed):
        async for message in websocket:
            messages.append(json.loads(message))
    return messages


def row_of(home: Path, family: str, request_id: str) -> Any:
    """The telemetry row of a request, as soon as it has been written."""
    ends = time.monotonic() + 10
    while True:
        rows = read(home / "telemetry", family)
        rows = rows[rows["request_id"] == request_id]
        if len(rows):
            return rows.iloc[0]
        assert time.monotonic() < ends, "no telemetry row"
        time.sleep(0.1)


def idle(gateway: RunningGateway, family: str = "tiny", *, within_s: float = 10) -> None:
    """Wait until no worker of the family holds a stream or a request."""
    ends = time.monotonic() + within_s
    while True:
        workers = gateway.status()["families"][family]["workers"].values()
        if all(worker["in_use"] == 0 and worker["streams"] == 0 for worker in workers):
            return
        assert time.monotonic() < ends, workers
        time.sleep(0.05)
