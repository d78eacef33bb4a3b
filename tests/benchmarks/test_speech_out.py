"""The benchmark of first audio on six texts, against the real gateway; and what it refuses to measure."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest

from benchmarks import speech_out
from speech.runtimes.espeak import EspeakVoice, VoiceSettings
from speech.third_party_voices import PLAIN, PROMPTS, TITLES

TEXT = "Good morning."


@pytest.fixture(scope="module")
def voice() -> EspeakVoice:
    return EspeakVoice(VoiceSettings(**PLAIN), TITLES)


class Says:
    """A gateway that says some bytes."""

    def __init__(self, pcm: bytes) -> None:
        self._pcm = pcm
        self.asked: list[str] = []

    def ask(self, text: str) -> tuple[float, bytes]:
        self.asked.append(text)
        return 0.0, self._pcm


@pytest.mark.slow
def test_every_figure_of_the_design_is_measured() -> None:
    said: list[str] = []
    figures = speech_out.quick(said.append).figures
    assert {name for name, figure in figures.items() if figure.must is not None} == {"added_first_audio_p50_ms"}
    assert figures["added_first_audio_p50_ms"].must == 5.0
    assert all(len(figure.runs) == 5 for figure in figures.values())
    assert all(figure.value > 0 for name, figure in figures.items() if not name.startswith("added"))
    assert said


def test_a_gateway_that_says_the_same_is_measured(voice: EspeakVoice) -> None:
    pcm = speech_out.direct(voice, TEXT)[1]
    gateway = Says(pcm)
    speech_out._refuse_other_sound(cast(Any, gateway), voice, [TEXT])
    assert gateway.asked == [TEXT]  # it was compared, and is warm


@pytest.mark.parametrize("change", ["shorter", "louder"])
def test_no_figure_of_a_gateway_that_says_something_else(voice: EspeakVoice, change: str) -> None:
    samples = np.frombuffer(speech_out.direct(voice, TEXT)[1], "<i2")
    other = samples[:-10] if change == "shorter" else samples // 2
    with pytest.raises(AssertionError, match="samples that are not the voice's"):
        speech_out._refuse_other_sound(cast(Any, Says(other.tobytes())), voice, [TEXT])


def test_texts_are_of_every_domain_and_none_is_kept() -> None:
    assert len(speech_out.texts(64)) == 64
    assert len(set(speech_out.texts(6))) == 6
    assert not set(speech_out.texts(64)) & set(PROMPTS)
