"""What a probe of a voice comes to: whether its speech can be right at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from contracts.bundle import GoldenAnswer
from operations.traffic import COUNTED
from serving.asking import Asked, Speech
from serving.traffic import Utterance
from speech.runtimes import Samples

RATE_HZ = 22_050
count = COUNTED["synthesis"]


def voice(seconds: float, *, rate_hz: int = RATE_HZ, level: float = 0.3) -> Samples:
    times = np.arange(round(seconds * rate_hz)) / rate_hz
    said: Samples = (level * np.sin(2 * np.pi * 220 * times)).astype(np.float32)
    return said


def silence(seconds: float) -> Samples:
    return np.zeros(round(seconds * RATE_HZ), dtype=np.float32)


@pytest.fixture
def text(tmp_path: Path) -> Utterance:
    """A text whose reference recording has two seconds of speech."""
    path = tmp_path / "reference.wav"
    soundfile.write(path, voice(2.0, rate_hz=16_000), 16_000)
    return Utterance(path, "two seconds", {})


def asked(samples: Samples) -> Asked:
    return Asked(
        GoldenAnswer(), bundle="1" * 64, bundles=frozenset({"1" * 64}), request_id="0" * 32, latency_ms=1.0,
        speech=Speech(samples, RATE_HZ),
    )  # fmt: skip


SAID: dict[str, tuple[Samples, int]] = {
    "as long as the reference": (voice(2.0), 0),
    "a slower voice": (voice(2.8), 0),
    "a quicker voice": (voice(1.2), 0),
    "silence around it": (np.concatenate([silence(0.5), voice(2.0), silence(1.0)]), 0),
    "a pause in it": (np.concatenate([voice(1.0), silence(0.6), voice(1.0)]), 0),
    "a click at full scale": (np.concatenate([voice(2.0), voice(0.001, level=1.0)]), 0),
    "cut off": (voice(0.9), 1),
    "twice": (voice(4.0), 1),
    "nothing": (silence(0), 1),
    "silence": (silence(2.0), 1),
    "mostly silence": (np.concatenate([silence(4.0), voice(2.0)]), 1),
    "clipped": (np.clip(voice(2.0, level=1.5), -1, 1), 1),
}


@pytest.mark.parametrize("name", SAID)
def test_speech_that_cannot_be_right_is_an_error_of_one_text(text: Utterance, name: str) -> None:
    samples, errors = SAID[name]
    assert count(text, asked(samples)) == (errors, 1)
