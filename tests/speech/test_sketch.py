"""The sketch of speech: laws by which golden outputs of voices are compared."""

from __future__ import annotations

import numpy as np
import pytest

from speech.sketch import BANDS, sketch
from speech.synthesis import speak_all

RATE_HZ = 16_000
TEXT = "The library opens at nine."


def test_rounding_moves_it_little_and_another_voice_much() -> None:
    first, other = speak_all([(TEXT, "en-us"), (TEXT, "en-us+f3")], RATE_HZ)
    rounded = (np.round(first * 32767) / 32767).astype(np.float32)
    own, near, far = (np.array(sketch(samples, RATE_HZ)) for samples in (first, rounded, other))
    assert len(own) <= BANDS + 1
    assert np.abs(own - near).max() < 0.05
    assert np.abs(own - far).max() > 0.5


def test_the_first_number_is_seconds() -> None:
    assert sketch(np.zeros(RATE_HZ, np.float32), RATE_HZ)[0] == 1.0


def test_twice_as_loud_is_one_step_in_every_band() -> None:
    noise = np.random.default_rng(1).normal(0, 0.1, RATE_HZ).astype(np.float32)
    own, louder = (np.array(sketch(samples, RATE_HZ))[1:] for samples in (noise, noise * 2))
    assert louder - own == pytest.approx(np.log(4), abs=0.01)


def test_no_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="no samples"):
        sketch(np.zeros(0, np.float32), RATE_HZ)
