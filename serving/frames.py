"""The framed protocol between gateway and worker: a length-prefixed JSON header, then a binary body.

Purpose: many requests and streams share one Unix socket; every frame names the request it belongs to (`id`).
Boundary: `encode`, `Decoder` are pure (bytes in, frames out); `receive` reads the blocking reader it is handed.
Invariants: a frame is never larger than MAX_HEADER_BYTES + MAX_BODY_BYTES; samples travel as little-endian float32 and
are not copied on the way into numpy.

Frame: 4 bytes header length, 4 bytes body length (big endian), header (UTF-8 JSON object), body.

Gateway to worker
    {op: transcribe, embed or classify, id, priority, deadline_ms} + samples
    {op: speak, id, priority, deadline_ms, text}
    {op: taken, id}                     a chunk of speech was passed on, so that the worker may make another
    {op: open, id, priority, text}      text: of a dialogue, whose user speaks
    {op: chunk, id} + samples
    {op: restart, id, text}             the stream's decoder state is dropped, its next chunk begins a new utterance
    {op: end, id, deadline_ms}
    {op: cancel, id}
    {op: statistics, id}

Worker to gateway (WORK is queue_ms, infer_ms, batch: how many were heard at once, load: how full the queue is, 0 to 1)
    {op: ready, task, rate_hz, streaming, voice?, voice_rate_hz?, max_characters?, dimension?, space?, classes?,
     load_ms, warm_ms, peak_memory_mb, pid}     comes first
    {op: result, id, text?, words?, confidence?, route?, label?, vector?, WORK}
    {op: replied, id, reply, WORK}      of a dialogue, after `end`; its speech follows
    {op: audio, id, WORK} + samples
    {op: spoken, id, cached, WORK}
    {op: heard, id, text?, committed?, WORK}
    {op: restarted, id}
    {op: error, id, code, retry_after_s?, WORK?}
    {op: dropped, id, WORK}             after `cancel`, when nothing of it is under way: what nobody had been told
    {op: statistics, id, ...}
"""

from __future__ import annotations

import json
import struct
from io import BufferedIOBase
from typing import Any, Literal, NamedTuple

from contracts.errors import DependencyFailed

PREFIX = struct.Struct(">II")
MAX_HEADER_BYTES = 1 << 24
MAX_BODY_BYTES = 1 << 28

Header = dict[str, Any]
Priority = Literal["interactive", "batch"]


class Frame(NamedTuple):
    """One message: its header, and its body (empty where the operation has none)."""

    header: Header
    body: bytes | bytearray | memoryview


def encode(header: Header, body_bytes: int = 0) -> bytes:
    """Prefix and header of a frame whose body of `body_bytes` bytes is sent right after it."""
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    return PREFIX.pack(len(text), body_bytes) + text


def _lengths(prefix: bytes | bytearray | memoryview) -> tuple[int, int]:
    header_bytes, body_bytes = PREFIX.unpack(prefix)
    if header_bytes > MAX_HEADER_BYTES or body_bytes > MAX_BODY_BYTES:
        raise DependencyFailed(
            "a frame between gateway and worker is too large",
            got=f"header of {header_bytes} bytes, body of {body_bytes} bytes",
            expected=f"at most {MAX_HEADER_BYTES} and {MAX_BODY_BYTES} bytes",
        )
    return header_bytes, body_bytes


class Decoder:
    """Frames out of a byte stream that arrives in arbitrary pieces."""

    def __init__(self) -> None:
        self._pending = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """Every frame that is complete now; raises DependencyFailed on a frame over the limits."""
        self._pending += data
        frames: list[Frame] = []
        start = 0
        while len(self._pending) - start >= PREFIX.size:
            header_bytes, body_bytes = _lengths(self._pending[start : start + PREFIX.size])
            header_end = start + PREFIX.size + header_bytes
            if len(self._pending) < header_end + body_bytes:
                break
            header = json.loads(self._pending[start + PREFIX.size : header_end])
            frames.append(Frame(header, bytes(self._pending[header_end : header_end + body_bytes])))
            start = header_end + body_bytes
        del self._pending[:start]
        return frames


def _exactly(reader: BufferedIOBase, count: int) -> bytearray | None:
    """`count` bytes, or None when the peer has closed."""
    buffer = bytearray(count)
    view = memoryview(buffer)
    while view:
        received = reader.readinto(view)
        if not received:
            return None
        view = view[received:]
    return buffer


def receive(reader: BufferedIOBase) -> Frame | None:
    """The next frame of a blocking reader, None when the peer has closed.

    A buffered reader (`socket.makefile("rb")`) asks the system once for what came together.
    """
    prefix = _exactly(reader, PREFIX.size)
    if prefix is None:
        return None
    header_bytes, body_bytes = _lengths(prefix)
    header = _exactly(reader, header_bytes)
    body = _exactly(reader, body_bytes) if body_bytes else bytearray()
    if header is None or body is None:
        return None
    return Frame(json.loads(header), body)
