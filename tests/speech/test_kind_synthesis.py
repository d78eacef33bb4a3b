"""A voice over a pack: what is measured of it, and how it is timed."""

from __future__ import annotations

import doctest
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pytest
import soundfile

from contracts.errors import Refused
from speech import judges, playback
from speech.judges import likeness, naturalness, noise, understanding
from speech.kinds import Prompt, kind, synthesis
from speech.runtimes import OutputsNotFinite, Samples
from speech.sketch import sketch

RATE_HZ = 16_000


class Tone:
    """Says a word as a tenth of a second of tone, a sentence a chunk, `slow_s` after it was asked for."""

    task: Literal["synthesis"] = "synthesis"
    sample_rate_hz = RATE_HZ
    name = "tone"
    max_characters = 100

    def __init__(self, *, level: float = 0.5, slow_s: float = 0.0) -> None:
        self.level = level
        self.slow_s = slow_s
        self.said: list[str] = []

    def sentences(self, text: str) -> list[str]:
        return text.split(". ")

    def speak(self, text: str) -> Iterator[Samples]:
        self.said.append(text)
        for sentence in self.sentences(text):
            time.sleep(self.slow_s)
            seconds = 0.1 * len(sentence.split())
            yield tone(seconds, self.level)


def tone(seconds: float, level: float = 0.5) -> Samples:
    wave: Samples = (level * np.sin(np.arange(round(seconds * RATE_HZ)) * 0.3)).astype(np.float32)
    return wave


@pytest.fixture
def pack(tmp_path: Path) -> pd.DataFrame:
    """Two texts, of three words and of four in two sentences; the reference took 0.3 and 0.5 s."""
    for name, seconds in (("a", 0.3), ("b", 0.5)):
        soundfile.write(tmp_path / f"{name}.wav", tone(seconds), RATE_HZ, subtype="PCM_16")
    return pd.DataFrame(
        {"utterance_id": ["a", "b"], "text": ["one two three", "one two. three four"], "path": ["a.wav", "b.wav"]}
    )


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Judges that answer at once: seconds of what they hear."""
    monkeypatch.setattr(understanding, "understood", lambda samples: f"{samples.size} samples")
    monkeypatch.setattr(naturalness, "naturalness", lambda samples: samples.size / judges.RATE_HZ)
    monkeypatch.setattr(noise, "cleanness", lambda _: 4.0)
    monkeypatch.setattr(likeness, "likeness", lambda *_: math.nan)


def test_it_is_the_kind_of_the_task() -> None:
    assert kind("synthesis") is synthesis
    assert not kind("synthesis").hears


@pytest.mark.usefixtures("judged")
def test_every_text_is_said_and_judged(pack: pd.DataFrame, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    model = Tone()
    table = synthesis.run_pack(model, pack, tmp_path, on_progress=lambda *done: told.append(done))
    assert list(table.columns) == list(synthesis.Judged._fields)
    assert model.said == ["one two three", "one two. three four"]
    assert table["text"].tolist() == ["4800 samples", "6400 samples"]
    assert table["mos"].tolist() == pytest.approx([0.3, 0.4])
    assert table["audio_s"].tolist() == pytest.approx([0.3, 0.4])
    assert table["reference_s"].tolist() == pytest.approx([0.3, 0.5])
    assert table["length_error_s"].tolist() == pytest.approx([0.0, 0.1])
    assert table[["silent_s", "clipped_s"]].to_numpy().tolist() == [[0, 0], [0, 0]]
    assert table[["confidence", "speaker_similarity"]].isna().all(axis=None)
    assert told == [(1, 2), (2, 2)]


@pytest.mark.usefixtures("judged")
def test_samples_at_full_scale_are_clipped_seconds(pack: pd.DataFrame, tmp_path: Path) -> None:
    class Square(Tone):
        def speak(self, text: str) -> Iterator[Samples]:
            return (np.sign(chunk) for chunk in super().speak(text))

    table = synthesis.run_pack(Square(), pack, tmp_path)
    assert table["clipped_s"].tolist() == pytest.approx([0.3, 0.4], abs=1e-3)


@pytest.mark.parametrize(("lead_s", "middle_s", "trail_s"), [(0.2, 0.0, 0.1), (0.0, 0.3, 0.0)])
def test_silence_around_speech_is_no_speech_and_silence_within_is(
    lead_s: float, middle_s: float, trail_s: float
) -> None:
    parts = [np.zeros(round(lead_s * RATE_HZ)), tone(0.4), np.zeros(round(middle_s * RATE_HZ)), tone(0.4)]
    samples = np.concatenate([*parts, np.zeros(round(trail_s * RATE_HZ))]).astype(np.float32)
    assert synthesis.speech_s(samples, RATE_HZ) == pytest.approx(0.8 + middle_s, abs=synthesis.FRAME_S)
    assert synthesis.silent_s(samples, RATE_HZ) == pytest.approx(lead_s + middle_s + trail_s, abs=synthesis.FRAME_S)


def test_nothing_but_silence_is_no_speech() -> None:
    assert synthesis.speech_s(np.zeros(RATE_HZ, np.float32), RATE_HZ) == 0.0


def test_samples_that_are_no_numbers_are_no_speech() -> None:
    class Broken(Tone):
        def speak(self, text: str) -> Iterator[Samples]:
            return (chunk * np.float32(np.nan) for chunk in super().speak(text))

    with pytest.raises(OutputsNotFinite) as refused:
        synthesis.said(Broken(), "one")
    assert refused.value.got == "NaN or infinity among its samples"


def test_voices_are_timed_in_turns_after_each_has_spoken_once(pack: pd.DataFrame, tmp_path: Path) -> None:
    models = {"quick": Tone(), "slow": Tone(slow_s=0.02)}
    tables = synthesis.time_pack(models, pack, tmp_path)
    for name, model in models.items():
        assert model.said == ["one two three", "one two three", "one two. three four"]
        assert tables[name]["audio_s"].tolist() == pytest.approx([0.3, 0.4])
        assert (tables[name]["first_audio_ms"] <= tables[name]["final_ms"]).all()
        assert tables[name]["compute_s"].tolist() == pytest.approx((tables[name]["final_ms"] / 1000).tolist())
    slow = tables["slow"].iloc[1]  # two sentences, each 20 ms after it was asked for
    assert slow["first_audio_ms"] >= 20
    assert slow["final_ms"] >= slow["first_audio_ms"] + 20
    assert not slow["starved"]


def test_an_answer_is_the_sketch_of_what_was_said() -> None:
    answer = synthesis.answer(Tone(), Prompt(None, "one two"))
    assert answer.vector == sketch(tone(0.2), RATE_HZ)
    assert (answer.text, answer.label) == ("", "")
    assert synthesis.answer(Tone(), Prompt(None, "one")).vector != answer.vector


def test_no_text_is_no_prompt() -> None:
    with pytest.raises(Refused) as refused:
        synthesis.answer(Tone(), Prompt(None))
    assert refused.value.diagnostics() == (
        "a voice was given no text\n  where: golden fixture\n  got: an empty prompt\n  expected: a text"
    )


def test_warming_up_says_something() -> None:
    model = Tone()
    synthesis.warm(model)
    assert model.said == [synthesis.WARM_TEXT]


def test_docstring_examples() -> None:
    for module in (playback, judges):
        failures, examples = doctest.testmod(module)
        assert (failures, examples > 0) == (0, True)
