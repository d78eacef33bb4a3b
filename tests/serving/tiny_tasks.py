"""Deterministic models of the tasks besides transcription, for tests; `"task"` in the payload's runtime.json names one.

The voice says a sentence as a tone of a tenth of a second a word, whose pitch is the sentence's number; `"work_ms"` is
how long it thinks before each; it obeys words: `crash` ends its process, `fail` raises an error that quotes what it was
given. The embedder's vector is the level of each tenth of the audio. The classifier tells `loud` from `quiet`. The
assistant hears words as tests.serving.tiny_engine does and answers them back to front.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from contracts.errors import Refused
from serving.worker import warm as warm_model
from speech.runtimes import Partial, Samples
from speech.runtimes.kinds import Classified, Model, Reply, Vector, task_of
from tests.serving.tiny_engine import RATE_HZ, TinyRuntime

WORD_S = 0.1
VOICE_RATE_HZ = 22_050
LOUD = 0.1


def tone(number: int, words: int) -> Samples:
    """What the voice says for a sentence: its place in the text (from 0) and how many words it has."""
    seconds = np.arange(round(words * WORD_S * VOICE_RATE_HZ)) / VOICE_RATE_HZ
    sound: Samples = (0.5 * np.sin(2 * np.pi * 200 * (number + 1) * seconds)).astype(np.float32)
    return sound


class TinyVoice:
    task = "synthesis"
    sample_rate_hz = VOICE_RATE_HZ
    name = "tiny"
    max_characters = 2_000

    def __init__(self, settings: dict[str, Any]) -> None:
        self._work_s = settings.get("work_ms", 0) / 1000
        self._marker = Path(settings["marker"])

    def sentences(self, text: str) -> list[str]:
        return [one.strip() for one in text.split(".") if one.strip()]

    def speak(self, text: str) -> Iterator[Samples]:
        if not self.sentences(text):
            raise Refused("there is nothing to say")
        for number, sentence in enumerate(self.sentences(text)):
            time.sleep(self._work_s)
            words = sentence.split()
            if "fail" in words:
                raise ValueError(f"cannot say {text}")
            if "crash" in words and not self._marker.exists():
                self._marker.touch()
                os._exit(9)
            yield tone(number, len(words))


class TinyEmbedder:
    task = "embedding"
    sample_rate_hz = RATE_HZ
    dimension = 10
    space = "levels-1"

    def embed(self, audio: Samples) -> Vector:
        if audio.size < self.dimension:
            raise Refused("too short")
        levels = np.array([np.abs(part).max() + 0.01 for part in np.array_split(audio, self.dimension)])
        vector: Vector = (levels / np.linalg.norm(levels)).astype(np.float32)
        return vector


class TinyClassifier:
    task = "classification"
    sample_rate_hz = RATE_HZ
    classes = ("loud", "quiet")

    def classify(self, audio: Samples) -> Classified:
        loud = bool(np.abs(audio).max() > LOUD)
        return Classified("loud" if loud else "quiet", (0.75, 0.25) if loud else (0.25, 0.75))


class TinyTurn:
    def __init__(self, assistant: TinyAssistant, tenant: str) -> None:
        self._hearing = assistant.runtime.stream()
        self._voice = assistant.voice
        self._tenant = tenant
        self._reply = ""

    def accept(self, chunk: Samples) -> Partial | None:
        return self._hearing.accept(chunk)

    def reply(self) -> Reply:
        heard = self._hearing.finish()
        words = heard.text.split()
        self._reply = ". ".join(reversed(words)) + f". for {self._tenant or 'nobody'}."
        handoff = not words
        return Reply(heard, self._reply, ("doc-1", "doc-2"), grounded=bool(words), handoff=handoff, tokens=len(words),
                     index_age_s=60.0)  # fmt: skip

    def speak(self) -> Iterator[Samples]:
        return self._voice.speak(self._reply)


class TinyAssistant:
    task = "dialogue"
    sample_rate_hz = RATE_HZ
    voice_rate_hz = VOICE_RATE_HZ

    def __init__(self, settings: dict[str, Any]) -> None:
        self.runtime = TinyRuntime(settings["words"], Path(settings["marker"]))
        self.voice = TinyVoice(settings)

    def turn(self, tenant: str = "") -> TinyTurn:
        return TinyTurn(self, tenant)


def make(settings: dict[str, Any]) -> Any:
    """The model that a payload's settings name."""
    task = settings["task"]
    if task == "embedding":
        return TinyEmbedder()
    if task == "classification":
        return TinyClassifier()
    return TinyVoice(settings) if task == "synthesis" else TinyAssistant(settings)


def warm(model: Model) -> None:
    """Warm models that transcribe; the others here have nothing to make."""
    if task_of(model) == "transcription":
        warm_model(model)
