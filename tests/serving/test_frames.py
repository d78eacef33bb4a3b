from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import DependencyFailed
from serving.frames import PREFIX, Decoder, encode, receive

HEADERS = st.dictionaries(
    st.text(max_size=8), st.one_of(st.integers(-9, 9), st.text(max_size=8), st.none()), max_size=4
)
FRAMES = st.lists(st.tuples(HEADERS, st.binary(max_size=40)), max_size=6)


@given(FRAMES, st.integers(1, 17))
def test_law_frames_survive_any_division_of_the_byte_stream(
    frames: list[tuple[dict[str, object], bytes]], step: int
) -> None:
    data = b"".join(encode(header, len(body)) + body for header, body in frames)
    decoder = Decoder()
    seen = [frame for start in range(0, len(data), step) for frame in decoder.feed(data[start : start + step])]
    assert [(frame.header, bytes(frame.body)) for frame in seen] == frames


def test_a_blocking_reader_gives_frames_then_none() -> None:
    left, right = socket.socketpair()
    left.sendall(encode({"op": "chunk"}, 3) + b"abc" + encode({"op": "end"}) + encode({"op": "cut"}, 9) + b"short")
    left.close()
    with right.makefile("rb") as reader:
        first, second, third = receive(reader), receive(reader), receive(reader)
    assert first is not None
    assert (first.header, bytes(first.body)) == ({"op": "chunk"}, b"abc")
    assert second is not None
    assert second.header == {"op": "end"}
    assert third is None
    right.close()


def test_a_frame_over_the_limit_is_refused_before_it_is_read() -> None:
    with pytest.raises(DependencyFailed, match="a frame between gateway and worker is too large"):
        Decoder().feed(PREFIX.pack(2, 1 << 30))
