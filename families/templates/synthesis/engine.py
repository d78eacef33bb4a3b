"""A voice of recorded words: a text is said word by word, and what it has no recording of is spelled.

Boundary: reads its payload when it is loaded and nothing afterwards.
Invariants: the same text gives the same samples; every word of a text is said, or spelled.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file

from contracts.errors import Refused
from speech.runtimes import Samples

RATE_HZ = 16_000
PAUSE_S, SENTENCE_PAUSE_S = 0.03, 0.3
_SENTENCE = re.compile(r"(?<=[.!?])\s+")
_WORD = re.compile(r"[a-z0-9]+")


class Engine:
    """A loaded voice; `recordings` holds words, letters and digits, each (samples,) of 16 bits."""

    task: Literal["synthesis"] = "synthesis"
    sample_rate_hz = RATE_HZ
    name = "default"
    max_characters = 500

    def __init__(self, recordings: dict[str, npt.NDArray[Any]]) -> None:
        self._recordings = {word: (sound / 32_768).astype(np.float32) for word, sound in recordings.items()}

    def sentences(self, text: str) -> list[str]:
        """The sentences of a text that have words; the text as it is where none has."""
        return [part for part in _SENTENCE.split(text) if _WORD.search(part.casefold())] or [text]

    def speak(self, text: str) -> Iterator[Samples]:
        """A chunk a sentence; Refused for a text without words."""
        for sentence in self.sentences(text):
            words = _WORD.findall(sentence.casefold())
            if not words:
                raise Refused("there is nothing to say", got="a text without words", expected="letters or digits")
            sounds = [sound for word in words for sound in self._say(word)]
            yield np.concatenate([*sounds, np.zeros(int(SENTENCE_PAUSE_S * RATE_HZ), dtype=np.float32)])

    def _say(self, word: str) -> Iterator[Samples]:
        for part in [word] if word in self._recordings else word:
            yield self._recordings[part]
        yield np.zeros(int(PAUSE_S * RATE_HZ), dtype=np.float32)


def load(payload: Path, *, threads: int = 1) -> Engine:
    """Load `recordings.safetensors`; `threads` means nothing to so small a model."""
    del threads
    return Engine(load_file(payload / "recordings.safetensors"))
