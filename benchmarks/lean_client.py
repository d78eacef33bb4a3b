"""Clients of the serving benchmark that cost next to nothing: raw sockets, requests made beforehand.

Boundary: loopback sockets; HTTP/1.1 answers with a Content-Length and unmasked WebSocket frames are all they read.
Invariants: an answer that is not a 200, or not complete, is an error; a request is timed from its first byte sent to
its last byte received. Source of the frames: RFC 6455; the mask is zero, so that payloads travel as they are.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import math
import re
import selectors
import socket
import struct
import time
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

from contracts.errors import DependencyFailed

BOUNDARY = "soundcheck-benchmark"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_READ_BYTES = 1 << 16


class Address(NamedTuple):
    """Where a server listens on loopback."""

    port: int
    host: str = "127.0.0.1"


# ---- HTTP -----------------------------------------------------------------------------------------------------------
def post(path: str, body: bytes, content_type: str, headers: Sequence[str] = ()) -> bytes:
    """A whole request."""
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Type: {content_type}", *headers]
    head = "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""])
    return head.encode() + body


def form(wav: bytes, fields: dict[str, str]) -> tuple[bytes, str]:
    """A multipart body with a file and fields; its content type."""
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    ]
    head = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="audio.wav"\r\n'
        "Content-Type: audio/wav\r\n\r\n"
    )
    body = "".join(parts).encode() + head.encode() + wav + f"\r\n--{BOUNDARY}--\r\n".encode()
    return body, f"multipart/form-data; boundary={BOUNDARY}"


class HttpConnection:
    """A persistent connection with at most one request under way."""

    def __init__(self, address: Address) -> None:
        self.socket = socket.create_connection((address.host, address.port), timeout=60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._answer = bytearray()
        self._length = -1

    def send(self, request: bytes) -> None:
        """Begin a request."""
        self._answer.clear()
        self._length = -1
        self.socket.sendall(request)

    def receive(self) -> bytes | None:
        """Read what is there; the body once the answer is complete."""
        piece = self.socket.recv(_READ_BYTES)
        if not piece:
            raise _broken("the server closed the connection")
        self._answer += piece
        if self._length < 0:
            head = self._answer.find(b"\r\n\r\n")
            if head < 0:
                return None
            length = _LENGTH.search(self._answer, 0, head + 2)
            if length is None or not self._answer.startswith(b"HTTP/1.1 200 "):
                raise _broken(bytes(self._answer[:head]).split(b"\r\n")[0].decode("latin-1"))
            self._length = head + 4 + int(length[1])
        if len(self._answer) < self._length:
            return None
        return bytes(self._answer[self._answer.find(b"\r\n\r\n") + 4 :])

    def ask(self, request: bytes) -> bytes:
        """The body of the answer to one request."""
        self.send(request)
        while (body := self.receive()) is None:
            pass
        return body

    def close(self) -> None:
        """Close the connection."""
        self.socket.close()


def closed_loop(address: Address, connections: int, requests: Sequence[bytes]) -> None:
    """Answer all requests over so many new connections; each sends its next one as soon as it has its answer."""
    waiting = iter(requests)
    with selectors.DefaultSelector() as selector, contextlib.ExitStack() as stack:
        for request in itertools.islice(waiting, connections):
            connection = HttpConnection(address)
            stack.callback(connection.close)
            connection.send(request)
            selector.register(connection.socket, selectors.EVENT_READ, connection)
        while selector.get_map():
            for key, _ in selector.select():
                connection = cast(HttpConnection, key.data)
                if connection.receive() is None:
                    continue
                if (request := next(waiting, b"")) != b"":
                    connection.send(request)
                else:
                    selector.unregister(connection.socket)


# ---- WebSocket ------------------------------------------------------------------------------------------------------
def frame(opcode: int, payload: bytes) -> bytes:
    """A client's frame with a zero mask."""
    length = len(payload)
    if length < 126:
        head = struct.pack(">BB", 0x80 | opcode, 0x80 | length)
    elif length < 1 << 16:
        head = struct.pack(">BBH", 0x80 | opcode, 0x80 | 126, length)
    else:
        head = struct.pack(">BBQ", 0x80 | opcode, 0x80 | 127, length)
    return head + bytes(4) + payload


class Lateness(NamedTuple):
    """What one stream saw, ms: how late each partial came after its last audio was sent, and the final after `end`.

    `slip` is how late the client itself sent a chunk, at worst.
    """

    partials: list[float]
    final: float
    slip: float


class SpeakingStream(asyncio.Protocol):
    """One stream in real time: a chunk every `chunk_s`, then the end; `done` is its Lateness."""

    def __init__(self, path: str, key: str, rate_hz: int, chunks: Sequence[bytes], chunk_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self.done: asyncio.Future[Lateness] = self._loop.create_future()
        self._hello = (
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: c291bmRjaGVjayBiZW5jaA==\r\nSec-WebSocket-Version: 13\r\n"
            f"Authorization: Bearer {key}\r\n\r\n"
        ).encode()
        self._start = frame(1, json.dumps({"type": "start", "sample_rate": rate_hz}).encode())
        self._frames = [frame(2, chunk) for chunk in chunks]
        self._chunk_s = chunk_s
        self._sent_at: list[float] = []
        self._ended_at = math.nan
        self._partials: list[float] = []
        self._slip = 0.0
        self._received = bytearray()
        self._upgraded = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the WebSocket."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._hello)

    def connection_lost(self, _: Exception | None) -> None:
        """A stream that ends without its final has failed."""
        if not self.done.done():
            self.done.set_exception(_broken("a stream was closed before its final"))

    def data_received(self, data: bytes) -> None:
        """Read the handshake's answer, then frames."""
        self._received += data
        if not self._upgraded:
            head = self._received.find(b"\r\n\r\n")
            if head < 0:
                return
            if not self._received.startswith(b"HTTP/1.1 101 "):
                self._fail(bytes(self._received[:head]).split(b"\r\n")[0].decode("latin-1"))
                return
            del self._received[: head + 4]
            self._upgraded = True
            self._transport.write(self._start)
        while (message := self._next_frame()) is not None:
            self._hear(message)

    def _next_frame(self) -> bytes | None:
        """The payload of the next whole frame; a server masks nothing and sends short ones unfragmented."""
        received = self._received
        if len(received) < 2:
            return None
        length, start = received[1], 2
        if length == 126:
            if len(received) < 4:
                return None
            length, start = int.from_bytes(received[2:4], "big"), 4
        if len(received) < start + length:
            return None
        payload = bytes(received[start : start + length])
        del received[: start + length]
        return payload

    def _hear(self, payload: bytes) -> None:
        now = time.perf_counter()  # the loop's own clock has milliseconds alone
        message: dict[str, Any] = json.loads(payload) if payload.startswith(b"{") else {}
        kind = message.get("type")
        if kind == "ready":
            self._began = self._loop.time()
            self._speak()
        elif kind == "partial":
            last = math.ceil(message["audio_s"] / self._chunk_s - 1e-6)
            self._partials.append((now - self._sent_at[last - 1]) * 1000)
        elif kind == "final":
            self.done.set_result(Lateness(self._partials, (now - self._ended_at) * 1000, self._slip * 1000))
            self._transport.close()
        elif kind == "error":
            self._fail(str(message["error"]["code"]))

    def _speak(self) -> None:
        """Send the next chunk when its audio has been spoken."""
        number = len(self._sent_at)
        if self._transport.is_closing():
            return
        if number:
            self._sent_at[-1] = time.perf_counter()
            self._slip = max(self._slip, self._loop.time() - self._began - number * self._chunk_s)
            self._transport.write(self._frames[number - 1])
        if number == len(self._frames):
            self._ended_at = time.perf_counter()
            self._transport.write(frame(1, b'{"type":"end"}'))
            return
        self._sent_at.append(math.nan)
        self._loop.call_at(self._began + (number + 1) * self._chunk_s, self._speak)

    def _fail(self, why: str) -> None:
        if not self.done.done():
            self.done.set_exception(_broken(why))
        self._transport.close()


def _broken(got: str) -> DependencyFailed:
    return DependencyFailed("a server of the benchmark failed", got=got, expected="an answer")
