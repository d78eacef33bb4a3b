"""G.722: what FFmpeg decodes, samples of the standard's predictor, and its defined lengths."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from speech.g722 import decode


def test_any_bytes_decode_to_the_samples_of_ffmpeg() -> None:
    """The digest is of what FFmpeg's decoder (libavcodec 62) makes of the same 2,000 bytes."""
    encoded = np.random.default_rng(722).integers(0, 256, 2_000, dtype=np.uint8).tobytes()
    samples = decode(encoded)
    assert samples.dtype == np.int16
    assert hashlib.sha256(samples.astype("<i2").tobytes()).hexdigest() == (
        "a2860164c8ee7f0ee7ea73ada789dde77508202d7bba89e1682867b7e0334262"
    )


@pytest.mark.parametrize("count", [0, 1, 2, 801])
def test_law_a_byte_is_two_samples(count: int) -> None:
    assert decode(bytes(count)).shape == (2 * count,)


def test_law_decoding_goes_on_where_it_stood() -> None:
    encoded = np.random.default_rng(1).integers(0, 256, 600, dtype=np.uint8).tobytes()
    assert np.array_equal(decode(encoded)[:800], decode(encoded[:400]))


def test_the_smallest_codes_are_nearly_silence() -> None:
    """Code words of the least magnitude in both bands, of both signs in turn."""
    assert int(np.abs(decode(bytes([0b01111101, 0b11111111]) * 400)).max()) < 128


def test_loud_codes_saturate_instead_of_wrapping_round() -> None:
    loud = decode(bytes([0b00000100]) * 200).astype(int)
    assert int(np.abs(np.diff(loud[100:])).max()) < 40_000
