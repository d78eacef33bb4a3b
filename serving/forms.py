"""Reading an upload: a bounded body, then its multipart fields, all in memory.

Boundary: audio is never spooled to a disk (R6.6); nothing here knows what the fields mean.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import NamedTuple

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from serving.link import ServingFailure

MAX_FIELDS = 64
SLOWEST_BYTES_PER_S = 1_000
"""Who sends more slowly holds a connection for nothing: speech takes twice as much when it is packed well."""


class Form(NamedTuple):
    """The text fields (each name with its values) and the one file, None where there is none."""

    fields: dict[str, list[str]]
    file: bytes | None

    def one(self, name: str, default: str = "") -> str:
        """The first value of a field."""
        return self.fields.get(name, [default])[0]

    def all(self, name: str) -> list[str]:
        """Every value of a field."""
        return self.fields.get(name, [])


async def read_body(stream: AsyncIterator[bytes], content_length: str, *, limit_bytes: int, idle_s: float) -> bytes:
    """The whole body.

    Raises ServingFailure `too_large` as soon as it is known to be, `deadline` where nothing comes for `idle_s` seconds
    or what comes is slower than SLOWEST_BYTES_PER_S.
    """
    failure = ServingFailure("too_large", f"the request is larger than {limit_bytes >> 20} MiB", param="file")
    if content_length.isdigit() and int(content_length) > limit_bytes:
        raise failure
    pieces: list[bytes] = []
    received, began = 0, time.monotonic()
    try:
        while True:
            async with asyncio.timeout(idle_s):
                piece = await anext(stream)
            received += len(piece)
            if received > limit_bytes:
                raise failure
            if time.monotonic() - began > idle_s + received / SLOWEST_BYTES_PER_S:
                raise ServingFailure("deadline", f"the request comes at under {SLOWEST_BYTES_PER_S} bytes a second")
            pieces.append(piece)
    except StopAsyncIteration:
        return b"".join(pieces)
    except TimeoutError:
        raise ServingFailure("deadline", f"nothing of the request came for {idle_s:g} s") from None


class _Collector:
    """Gathers the parts that python_multipart announces."""

    def __init__(self) -> None:
        self.fields: dict[str, list[str]] = {}
        self.file: bytes | None = None
        self._name = ""
        self._is_file = False
        self._header = bytearray()
        self._value = bytearray()
        self._data: list[bytes] = []
        self._parts = 0

    def on_part_begin(self) -> None:
        self._name, self._is_file, self._data = "", False, []
        self._parts += 1
        if self._parts > MAX_FIELDS:
            raise ServingFailure("bad_request", f"the form has over {MAX_FIELDS} fields")

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def on_header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            _, options = parse_options_header(bytes(self._value))
            self._name = options.get(b"name", b"").decode("utf-8", "replace")
            self._is_file = b"filename" in options
        self._header.clear()
        self._value.clear()

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._data.append(data[start:end])

    def on_part_end(self) -> None:
        content = b"".join(self._data)
        if self._name == "file" and self._is_file:
            self.file = content
        else:
            self.fields.setdefault(self._name, []).append(content.decode("utf-8", "replace"))


def parse(content_type: str, body: bytes) -> Form:
    """The form in a multipart body; ServingFailure `bad_request` where it is none."""
    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        raise ServingFailure("bad_request", "send the audio as multipart/form-data with the fields file and model")
    collector = _Collector()
    callbacks = {name: getattr(collector, name) for name in dir(collector) if name.startswith("on_")}
    try:
        parser = MultipartParser(boundary, callbacks)  # type: ignore[arg-type]
        parser.write(body)
        parser.finalize()
    except FormParserError:
        raise ServingFailure("bad_request", "the multipart form is malformed") from None
    return Form(collector.fields, collector.file)
