"""The front end: one code path, exact framing, a checksum and a probe that notice changes."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import Corrupt
from speech.front_end import FrontEndConfig, LogMel, checksum, probe, probe_signal

CONFIG = FrontEndConfig()
FRONT_END = LogMel(CONFIG)
SIGNAL = torch.from_numpy(np.random.default_rng(5).uniform(-0.5, 0.5, 9000).astype(np.float32))


@settings(deadline=None)
@given(cuts=st.lists(st.integers(0, 9000), max_size=12))
def test_features_do_not_depend_on_how_audio_is_cut(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), SIGNAL.numel()]
    stream = FRONT_END.stream()
    pieces = [stream.accept(SIGNAL[start:end]) for start, end in pairwise(edges)]
    streamed = torch.cat(pieces)
    offline = FRONT_END.frames(SIGNAL)
    assert streamed.shape == offline.shape
    torch.testing.assert_close(streamed, offline, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("samples", "frames"), [(0, 0), (399, 0), (400, 1), (559, 1), (560, 2), (16000, 98)], ids=str)
def test_a_frame_needs_its_whole_window(samples: int, frames: int) -> None:
    assert FRONT_END.frames(torch.zeros(samples)).shape == (frames, 40)


def test_silence_is_the_floor() -> None:
    features = FRONT_END.frames(torch.zeros(1600))
    assert torch.allclose(features, torch.full_like(features, (math.log(1e-4) + 3.0) / 4.0))


def test_a_tone_is_loudest_in_its_own_band() -> None:
    tone = 0.5 * torch.sin(2 * math.pi * 1000 * torch.arange(4000) / 16000)
    band = int(FRONT_END.frames(tone).mean(0).argmax())
    mel = 2595 * math.log10(1 + 1000 / 700)
    low, high = (2595 * math.log10(1 + hz / 700) for hz in (60.0, 7600.0))
    assert band == round((mel - low) / (high - low) * 41) - 1


@pytest.mark.parametrize(
    "change",
    [{"mels": 41}, {"hop_ms": 10.5}, {"window_ms": 20.0}, {"floor": 1e-5}, {"sample_rate_hz": 8000}, {"offset": 0.0}],
    ids=lambda change: next(iter(change)),
)
def test_every_change_changes_the_checksum(change: dict[str, float]) -> None:
    assert checksum(CONFIG.model_copy(update=change)) != checksum(CONFIG)


def test_the_probe_notices_another_sample_rate() -> None:
    other = probe(FrontEndConfig(sample_rate_hz=12000, high_hz=5900.0))
    assert len(other) == 40
    assert max(abs(left - right) for left, right in zip(probe(CONFIG), other, strict=True)) > 0.1


def test_the_probe_is_the_mean_log_energy_of_the_chirp() -> None:
    signal = probe_signal(CONFIG)
    assert signal.shape == (16000,)
    assert float(signal.abs().max()) <= 0.5
    expected = LogMel(CONFIG).frames(signal).mean(0) * 4.0 - 3.0
    assert probe(CONFIG) == pytest.approx(expected.tolist(), abs=1e-4)


def test_a_configuration_survives_its_file_and_unknown_keys_are_refused() -> None:
    assert FrontEndConfig.parse(CONFIG.canonical()) == CONFIG
    with pytest.raises(Corrupt, match="a front_end does not satisfy its contract"):
        FrontEndConfig.parse(CONFIG.canonical().replace(b'"mels"', b'"melz"'), where="front_end.json")
