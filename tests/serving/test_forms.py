"""Reading an upload's body."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from serving import forms
from serving.forms import read_body
from serving.link import ServingFailure


async def pieces(count: int, size: int, pause_s: float = 0.0) -> AsyncIterator[bytes]:
    for _ in range(count):
        await asyncio.sleep(pause_s)
        yield b"x" * size


def body(stream: AsyncIterator[bytes], length: str = "", *, limit_bytes: int = 1 << 20, idle_s: float = 5.0) -> bytes:
    return asyncio.run(read_body(stream, length, limit_bytes=limit_bytes, idle_s=idle_s))


def test_a_body_is_put_together() -> None:
    assert body(pieces(3, 10)) == b"x" * 30
    assert body(pieces(0, 0)) == b""


@pytest.mark.parametrize(
    ("stream", "length"), [(pieces(3, 1), "2000000"), (pieces(3, 500_000), ""), (pieces(3, 500_000), "10")]
)
def test_a_body_over_the_limit_is_refused(stream: AsyncIterator[bytes], length: str) -> None:
    with pytest.raises(ServingFailure, match="too_large: the request is larger than 1 MiB"):
        body(stream, length)


def test_a_body_that_does_not_come_is_given_up() -> None:
    with pytest.raises(ServingFailure, match=r"deadline: nothing of the request came for 0\.05 s"):
        body(pieces(1, 1, pause_s=5), idle_s=0.05)


def test_a_body_that_trickles_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ServingFailure, match="deadline: the request comes at under 1000 bytes a second"):
        body(pieces(1_000, 1, pause_s=0.01), idle_s=0.1)
    monkeypatch.setattr(forms, "SLOWEST_BYTES_PER_S", 10)
    assert len(body(pieces(30, 1, pause_s=0.01), idle_s=0.1)) == 30
