"""What is measured of audio on its way in (coverage row 31)."""

from __future__ import annotations

import time
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.telemetry import TelemetryRow
from serving.audio import decode
from serving.calls import heard_as
from serving.link import ServingFailure
from serving.preprocess import FLOOR_DBFS, Acoustics, Meter, StreamPreprocessor, measure
from speech.synthesis import speak_all
from tests.serving.conftest import CONTRACT, RATE_HZ, Samples, silence, wav

VOICE = "en-us"


@cache
def speech(rate_hz: int = RATE_HZ) -> Samples:
    """A second of silence, some words, a second of silence, some words, half a second of silence."""
    said, again = speak_all([("turn on the kitchen light", VOICE)] * 2, rate_hz)
    parts = [silence(1.0, rate_hz), said, silence(1.0, rate_hz), again, silence(0.5, rate_hz)]
    return np.concatenate(parts).astype(np.float32)


def noisy(samples: Samples, dbfs: float) -> Samples:
    noise = np.random.default_rng(3).standard_normal(samples.size) * 10 ** (dbfs / 20)
    return (samples + noise).astype(np.float32)


def test_speech_is_found_with_its_times() -> None:
    heard = measure(noisy(speech(), -70), RATE_HZ)
    assert heard.segments is not None
    (first, first_end), (second, second_end) = heard.segments
    assert first == pytest.approx(1.0, abs=0.15)
    assert second - first_end == pytest.approx(1.0, abs=0.4)
    assert second_end <= speech().size / RATE_HZ
    assert heard.speech_s == pytest.approx(first_end - first + second_end - second)


def test_noise_lowers_the_signal_to_noise_ratio() -> None:
    ratios = [measure(noisy(speech(), level), RATE_HZ).snr_db for level in (-70, -50, -35)]
    assert all(ratio is not None for ratio in ratios)
    assert sorted(ratios, key=lambda ratio: ratio or 0.0, reverse=True) == ratios
    assert ratios[0] is not None
    assert ratios[0] > 30


LEVELS: dict[str, tuple[Samples, float, float]] = {
    "one sample": (np.array([0.5], dtype=np.float32), -6.0, 0.0),
    "silence": (silence(1.0), FLOOR_DBFS, 0.0),
    "full scale": (np.ones(16_000, dtype=np.float32), 0.0, 1.0),
    "half of it clipped": (np.tile(np.array([1.0, 0.0], dtype=np.float32), 8_000), -3.0, 0.5),
    "the lowest value": (np.full(320, -1.0, dtype=np.float32), 0.0, 1.0),
}


@pytest.mark.parametrize("name", LEVELS)
def test_levels_and_clipping(name: str) -> None:
    samples, level_dbfs, clipped = LEVELS[name]
    heard = measure(samples, RATE_HZ)
    assert (heard.level_dbfs, heard.clipped) == (level_dbfs, clipped)


def test_silence_holds_no_speech_and_nothing_is_not_measured() -> None:
    assert measure(silence(1.0), RATE_HZ) == Acoustics(0.0, (), FLOOR_DBFS, None, 0.0)
    assert measure(silence(0), RATE_HZ) == Acoustics(None, None, None, None, None)


@settings(deadline=None, max_examples=40)
@given(cuts=st.lists(st.integers(0, 60_000), max_size=30))
def test_law_what_is_measured_does_not_depend_on_the_chunks(cuts: list[int]) -> None:
    samples = noisy(speech(), -50)
    meter = Meter(RATE_HZ)
    for piece in np.split(samples, sorted(cuts)):
        meter.add(piece)
        meter.acoustics()
    assert meter.acoustics() == measure(samples, RATE_HZ)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.floats(-1, 1, width=32), max_size=2_000), st.sampled_from([8_000, 16_000, 22_050, 48_000]))
def test_law_it_fits_the_telemetry_row_and_changes_no_sample(values: list[float], rate_hz: int) -> None:
    samples = np.array(values, dtype=np.float32)
    before = samples.copy()
    columns = heard_as(measure(samples, rate_hz))
    assert np.array_equal(samples, before)
    assert set(columns) <= set(TelemetryRow.model_fields)
    row = {
        "timestamp": 0.0, "request_id": "r", "session_id": "s", "family": "f", "bundle": "0" * 64, "arm": "stable",
        "route_version": 0, "mode": "http", "status": 200, "audio_s": 0.0, "latency_ms": 0.0, "queue_ms": 0.0,
        "infer_ms": 0.0, "cost_usd": 0.0,
    }  # fmt: skip
    assert TelemetryRow.model_validate({**row, **columns})


def test_a_rate_the_detector_does_not_know_is_measured_in_level_alone() -> None:
    heard = measure(speech(22_050), 22_050)
    assert (heard.speech_s, heard.segments, heard.snr_db) == (None, None, None)
    assert heard.level_dbfs is not None


def test_a_stream_is_measured_as_a_file_is() -> None:
    pcm = (noisy(speech(), -60) * 32767).astype("<i2")
    stream = StreamPreprocessor(RATE_HZ, CONTRACT)
    heard = [stream.accept(pcm[start : start + 1_600].tobytes()) for start in range(0, pcm.size, 1_600)]
    assert stream.acoustics() == measure(np.concatenate([*heard, stream.flush()]), RATE_HZ)
    file = decode(wav(pcm, RATE_HZ), CONTRACT)
    assert stream.acoustics() == measure(file.samples, RATE_HZ)
    assert np.array_equal(np.concatenate(heard), file.samples)
    assert stream.took_ms > 0


def test_a_restart_drops_what_the_resampler_holds_and_goes_on_counting() -> None:
    rising = np.full(400, 0.5, dtype=np.float32)
    pcm = (rising * 32767).astype("<i2").tobytes()
    stream = StreamPreprocessor(8_000, CONTRACT)
    stream.accept(pcm)
    stream.restart()
    rest = [stream.accept(silence(0.5).astype("<i2").tobytes()), stream.flush()]
    assert not np.concatenate(rest).any()
    assert stream.audio_s == pytest.approx(0.05 + 1.0)


def test_what_a_preprocessor_refuses() -> None:
    with pytest.raises(ServingFailure, match="unsupported_rate"):
        StreamPreprocessor(12_000, CONTRACT)
    with pytest.raises(ServingFailure, match="half a sample"):
        StreamPreprocessor(RATE_HZ, CONTRACT).accept(b"abc")


def test_measuring_is_a_small_part_of_hearing() -> None:
    samples = noisy(speech(), -50)[: 3 * RATE_HZ]
    took = []
    for _ in range(20):
        began = time.perf_counter()
        measure(samples, RATE_HZ)
        took.append(time.perf_counter() - began)
    # About 0.3 ms for three seconds; the bound is generous because tests run beside other work.
    assert sorted(took)[len(took) // 2] < 0.02
