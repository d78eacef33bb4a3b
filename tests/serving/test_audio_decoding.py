from __future__ import annotations

import numpy as np
import pytest

from serving.audio import PcmStream, decode
from serving.link import ServingFailure
from tests.serving.conftest import CONTRACT, RATE_HZ, Samples, silence, wav


def tone(seconds: float, rate_hz: int = RATE_HZ, hz: float = 440.0) -> Samples:
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(int(seconds * rate_hz)) / rate_hz)).astype(np.float32)


REFUSALS = {
    "no bytes": (b"", "empty_audio", "the file is empty"),
    "no samples": (wav(silence(0)), "empty_audio", "the file holds no samples"),
    "not audio": (b"PK\x03\x04 not audio at all", "not_audio", "the file is not audio that can be decoded"),
    "a header alone": (wav(silence(1))[:20], "not_audio", "the file is not audio"),
    "wrong rate": (wav(silence(1, 12_000), 12_000), "unsupported_rate", "12000 Hz; this model accepts 16000, 8000 Hz"),
    "two channels": (wav(np.zeros((100, 2))), "unsupported_channels", "2 channels; this model accepts 1"),
    "NaN": (wav(np.array([0.0, np.nan], dtype=np.float32), subtype="FLOAT"), "not_audio", "not finite"),
    "infinite": (wav(np.array([0.0, np.inf], dtype=np.float32), subtype="FLOAT"), "not_audio", "not finite"),
    "ten hours, packed": (wav(silence(601), container="FLAC"), "too_long", "over 600 s"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refused_audio(name: str) -> None:
    content, code, message = REFUSALS[name]
    with pytest.raises(ServingFailure) as refused:
        decode(content, CONTRACT)
    assert refused.value.code == code
    assert message in refused.value.message


def test_a_header_that_promises_more_than_there_is_gives_what_is_there() -> None:
    content = bytearray(wav(silence(1)))
    content[40:44] = (1 << 30).to_bytes(4, "little")
    assert decode(bytes(content), CONTRACT).samples.size == RATE_HZ


@pytest.mark.parametrize("container", ["WAV", "FLAC", "OGG"])
def test_containers_are_decoded_at_the_models_rate(container: str) -> None:
    subtype = "VORBIS" if container == "OGG" else "PCM_16"
    audio = decode(wav(tone(1.0), container=container, subtype=subtype), CONTRACT)
    assert audio.duration_s == pytest.approx(1.0, abs=0.01)
    assert audio.samples.dtype == np.float32
    assert np.abs(audio.samples[:RATE_HZ] - tone(1.0)[: audio.samples.size]).mean() < 0.02


def test_one_sample_and_clipped_audio_are_heard() -> None:
    assert decode(wav(np.array([0.1], dtype=np.float32)), CONTRACT).samples.size == 1
    assert decode(wav(np.full(100, 1.5, dtype=np.float32)), CONTRACT).samples.max() <= 1.0


def test_an_accepted_rate_is_resampled_by_the_declared_resampler() -> None:
    audio = decode(wav(tone(1.0, 8_000), 8_000), CONTRACT)
    assert audio.samples.size == RATE_HZ
    assert audio.duration_s == 1.0
    middle = slice(2_000, 14_000)
    assert np.abs(audio.samples[middle] - tone(1.0)[middle]).max() < 0.01


def test_a_stream_at_an_accepted_rate_gives_the_same_samples_as_a_file() -> None:
    pcm = (tone(1.0, 8_000) * 32767).astype("<i2")
    stream = PcmStream(8_000, CONTRACT)
    pieces = [stream.accept(pcm[start : start + 800].tobytes()) for start in range(0, pcm.size, 800)]
    heard = np.concatenate([*pieces, stream.flush()])
    assert stream.audio_s == 1.0
    assert heard.size == pytest.approx(RATE_HZ, abs=2)
    assert np.abs(heard[2_000:14_000] - tone(1.0)[2_000:14_000]).max() < 0.01


def test_what_a_stream_refuses() -> None:
    with pytest.raises(ServingFailure, match="unsupported_rate"):
        PcmStream(12_000, CONTRACT)
    with pytest.raises(ServingFailure, match="half a sample"):
        PcmStream(RATE_HZ, CONTRACT).accept(b"abc")
    stream = PcmStream(RATE_HZ, CONTRACT)
    minute = silence(60).astype("<i2").tobytes()
    for _ in range(10):
        stream.accept(minute)
    with pytest.raises(ServingFailure, match="too_long"):
        stream.accept(b"\0\0")
