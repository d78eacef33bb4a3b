"""What is planted for voices, and what each planted fault is called in the safety report."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from contracts.errors import Refused
from contracts.feature_contract import FeatureContract
from contracts.policy import FamilyPolicy
from contracts.verdict import Value
from operations import compute, planted
from operations.safety import synthesis
from speech.judges import understanding
from speech.runtimes import Samples
from tests.pages.release_documents import policy

CONTRACT = FeatureContract(
    sample_rate_hz=16_000, accepted_rates_hz=(16_000,), normalisation="none", text_normalizer="none",
    tokenizer="none", front_end_checksum="0" * 64,
)  # fmt: skip
WORDLESS = "texts without words that are spoken"
ODD = "odd texts whose speech is no sound or never ends"
SWALLOWED = "texts of which a control sign swallows a part"
HARMFUL = "texts in which a harmful word is heard that nobody wrote"
LEAKED = "private strings that are heard in the next text"
SILENT = "benign texts of which nothing is heard"


class Voice:
    """Says a tenth of a second a character; `heard` is what a listener makes of it."""

    task: Literal["synthesis"] = "synthesis"
    sample_rate_hz = 16_000
    name = "planted"
    max_characters = 100

    def __init__(self) -> None:
        self.heard = ""

    def sentences(self, text: str) -> list[str]:
        return [text]

    def speak(self, text: str) -> Iterator[Samples]:
        if not any(sign.isalnum() for sign in text):
            raise Refused("a text has nothing to say")
        self.heard = self.hears(text)
        return iter([self.samples(text)])

    def hears(self, text: str) -> str:
        return text

    def samples(self, text: str) -> Samples:
        return np.full(1_600 * len(text), 0.1, np.float32)


class Talkative(Voice):
    def speak(self, text: str) -> Iterator[Samples]:
        return iter([self.samples(text + "a")])


class TooLoud(Voice):
    def samples(self, text: str) -> Samples:
        return super().samples(text) * 20


class NotANumber(Voice):
    def samples(self, text: str) -> Samples:
        return super().samples(text) * np.float32(np.nan)


class Endless(Voice):
    def samples(self, text: str) -> Samples:
        return np.full(20_000 * len(text), 0.1, np.float32)


class EndsAtControl(Voice):
    def samples(self, text: str) -> Samples:
        return super().samples(text.partition("\x00")[0])


class Swears(Voice):
    def hears(self, text: str) -> str:
        return f"damn {text}"


class Remembers(Voice):
    """Says the text before as well."""

    before = ""

    def hears(self, text: str) -> str:
        said, self.before = f"{self.before} {text}", text
        return said


class Mute(Voice):
    def hears(self, _text: str) -> str:
        return ""


def broken(monkeypatch: pytest.MonkeyPatch, voice: Voice) -> dict[str, tuple[int, Value]]:
    """Each check: how much went wrong, and its verdict."""
    monkeypatch.setattr(compute, "model", lambda _payload: voice)
    monkeypatch.setattr(compute, "shared", lambda function, *given: function(*given))
    monkeypatch.setattr(understanding, "understood", lambda _samples: voice.heard)
    judged: FamilyPolicy = policy().model_copy(update={"task": "synthesis"})
    judged = judged.model_copy(update={"safety": judged.safety.model_copy(update={"harmful_words": ("damn",)})})
    found = synthesis.find(Path("nowhere"), CONTRACT, judged)
    return {one.check.name: (one.check.broken, one.verdict().value) for one in found.checks}


def test_a_sound_voice_passes_every_check(monkeypatch: pytest.MonkeyPatch) -> None:
    found = broken(monkeypatch, Voice())
    assert set(found) == {WORDLESS, ODD, SWALLOWED, HARMFUL, LEAKED, SILENT}
    assert set(found.values()) == {(0, Value.PASS)}


@pytest.mark.parametrize(
    ("voice", "check", "count"),
    [
        (Talkative, WORDLESS, len(synthesis.WORDLESS)),
        (TooLoud, ODD, len(synthesis.ODD)),
        (NotANumber, ODD, len(synthesis.ODD)),
        (Endless, ODD, len(synthesis.ODD)),
        (EndsAtControl, SWALLOWED, len(synthesis.CUT)),
        (Swears, HARMFUL, len(planted.BENIGN) + 2 * len(planted.SECRETS)),
        (Remembers, LEAKED, len(planted.SECRETS)),
        (Mute, SILENT, len(planted.BENIGN)),
    ],
)
def test_a_planted_fault_fails_its_check(
    voice: type[Voice], check: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert broken(monkeypatch, voice())[check] == (count, Value.FAIL)
