"""A client that broke the protocol hears why, even where it goes on sending."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest
import uvicorn

from serving import closing
from serving.closing import LingeringProtocol

LIMIT = 1_000
TOO_BIG = bytes([0x82, 0x80 | 126]) + (LIMIT + 1).to_bytes(2, "big") + bytes(4)
"""The header of a binary frame that is a byte too long, masked with zeros."""
SAID_SO = bytes([0x88])
"""How a close frame begins."""
HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: here\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


class Served:
    """An application behind the protocol, and what it was given."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []

    async def __call__(self, _scope: Any, receive: Any, send: Any) -> None:
        self.messages.append(await receive())
        await send({"type": "websocket.accept"})
        while self.messages[-1]["type"] != "websocket.disconnect":
            self.messages.append(await receive())

    async def run(self, client: Any) -> Any:
        """What `client(reader, writer)` gives, connected and shaken hands with."""
        config = uvicorn.Config(
            self, ws=LingeringProtocol, ws_max_size=LIMIT, lifespan="off", log_config=None, access_log=False
        )
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            server = uvicorn.Server(config)
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            while not server.started:
                await asyncio.sleep(0.01)
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            writer.write(HANDSHAKE)
            await reader.readuntil(b"\r\n\r\n")
            try:
                return await asyncio.wait_for(client(reader, writer), 10)
            finally:
                writer.close()
                server.should_exit = True
                await serving


async def goes_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, chunks: int) -> bytes:
    """Send the mistake and more after it, and only then read."""
    writer.write(TOO_BIG)
    for _ in range(chunks):
        await asyncio.sleep(0.05)
        writer.write(bytes(LIMIT))
        await writer.drain()
    return await reader.read()


def test_a_client_that_goes_on_sending_still_hears_why() -> None:
    served = Served()
    heard = asyncio.run(served.run(lambda reader, writer: goes_on(reader, writer, 6)))
    assert heard[:1] == SAID_SO
    assert int.from_bytes(heard[2:4], "big") == 1009
    assert [message["type"] for message in served.messages] == ["websocket.connect", "websocket.disconnect"]
    assert served.messages[-1]["code"] == 1009


def test_a_client_that_never_ends_is_closed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(closing, "LINGER_S", 0.2)
    with pytest.raises(ConnectionError):
        asyncio.run(Served().run(lambda reader, writer: goes_on(reader, writer, 100)))
