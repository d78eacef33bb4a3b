"""Judges of speech: they rank what they should rank, and say the same each time."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
import soxr
from hypothesis import given
from hypothesis import strategies as st

from speech.espeak_library import fresh_library
from speech.judges import RATE_HZ, spread
from speech.judges.likeness import likeness
from speech.judges.naturalness import naturalness
from speech.judges.noise import _BACKGROUND, _POLYNOMIAL, WINDOW, cleanness
from speech.judges.understanding import understood
from speech.runtimes import Samples

TEXT = "Please close the door and turn on the light."


def speech(voice: str = "en-us", *, pitch: int = 50) -> Samples:
    with fresh_library(voice) as library:  # what else was said in this process changes nothing
        said = library.say(TEXT, voice=voice, pitch=pitch).samples
        return np.asarray(soxr.resample(said, library.sample_rate_hz, RATE_HZ, quality="HQ"), np.float32)


def noisy(samples: Samples, snr_db: float) -> Samples:
    noise = np.random.default_rng(0).standard_normal(samples.size).astype(np.float32)
    level = np.sqrt((samples**2).mean()) * 10 ** (-snr_db / 20)
    return np.clip(samples + np.float32(level) * noise, -1, 1)


@pytest.fixture(scope="session")
def clean() -> Samples:
    return speech()


def test_naturalness_falls_with_noise_and_is_the_same_each_time(clean: Samples) -> None:
    scores = [naturalness(clean), naturalness(noisy(clean, -5.0)), naturalness(clean)]
    assert 1 <= scores[1] < scores[0] - 0.1
    assert scores[2] == scores[0]
    assert "torchaudio" not in sys.modules  # the stand-in is gone


def test_naturalness_hears_all_of_long_speech(clean: Samples) -> None:
    long = np.concatenate([clean, clean, clean, clean, noisy(clean, -5.0), noisy(clean, -5.0), noisy(clean, -5.0)])
    assert naturalness(noisy(clean, -5.0)) < naturalness(long) < naturalness(clean)


def test_cleanness_falls_with_noise(clean: Samples) -> None:
    assert cleanness(noisy(clean, 5.0)) < cleanness(clean) - 0.5


def test_cleanness_is_the_packages_polynomial_of_the_background() -> None:
    from speechmos.dnsmos import DNSMOS

    raw = (2.5, 3.1, 2.2)
    scores = DNSMOS.get_polyfit_val(None, *raw, is_personalized_MOS=False)
    assert np.polyval(_POLYNOMIAL, raw[_BACKGROUND]) == pytest.approx(scores[_BACKGROUND])


def test_short_speech_is_repeated_to_one_window(clean: Samples) -> None:
    assert cleanness(clean) == pytest.approx(cleanness(np.resize(clean, WINDOW)))


def test_a_recogniser_understands_a_plain_sentence(clean: Samples) -> None:
    assert understood(clean) == TEXT
    assert understood(np.zeros(RATE_HZ, np.float32)) == ""


def test_a_voice_is_like_itself_and_less_like_another(clean: Samples) -> None:
    assert likeness(clean, clean) == pytest.approx(1.0)
    assert likeness(speech("en-gb-x-rp+f3", pitch=80), clean) < 0.9


def test_silence_is_like_nobody(clean: Samples) -> None:
    silence = np.zeros(2 * RATE_HZ, np.float32)
    assert likeness(silence, clean) == 0.0
    assert math.isnan(likeness(clean, silence))


@given(size=st.integers(1, 60), window=st.integers(1, 20))
def test_windows_cover_all_and_are_as_few_as_do(size: int, window: int) -> None:
    samples = np.arange(max(size, window), dtype=np.float32)
    windows = spread(samples, window)
    assert windows.shape == (-(-samples.size // window), window)
    assert set(windows.ravel()) == set(samples)
