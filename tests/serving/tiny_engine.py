"""A deterministic engine for tests: says a word of its payload's list for every half second, by how loud it is.

It implements speech.runtimes.Runtime with real per-stream state, and obeys commands hidden in the audio: a sample of
exactly CRASH ends the process (once: a marker file remembers), POISON kills it every time as the kernel does when
memory is short, SLOW takes SLOW_S seconds, FAIL raises an error that quotes private text. With `"several": true` in its
payload it is a BatchRuntime; with `"by_level": true` it says the Nth word where the peak is N hundredths; `"work_ms"`
is how long it hears an utterance.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from speech.runtimes import Partial, Samples, Stream, TimedWord, Transcript

RATE_HZ = 16_000
WORD_S = 0.5
CRASH, POISON, SLOW, FAIL = 0.75, 0.875, 0.5, 0.625
SLOW_S = 0.7
UNSURE = 0.375


def _obey(audio: Samples, marker: Path) -> None:
    if np.any(audio == CRASH) and not marker.exists():
        marker.touch()
        os._exit(9)
    if np.any(audio == POISON):
        os.kill(os.getpid(), signal.SIGKILL)
    if np.any(audio == SLOW):
        time.sleep(SLOW_S)
    if np.any(audio == FAIL):
        raise ValueError("planted-secret was said")


class TinyStream:
    def __init__(self, runtime: TinyRuntime) -> None:
        self._runtime = runtime
        self._audio: Samples = np.zeros(0, dtype=np.float32)
        self._text = ""

    def accept(self, chunk: Samples) -> Partial | None:
        self._audio = np.concatenate([self._audio, chunk])
        text = self._runtime.transcribe(self._audio).text
        if text == self._text:
            return None
        self._text = text
        return Partial(text, max(len(text.split()) - 1, 0))

    def finish(self) -> Transcript:
        return self._runtime.transcribe(self._audio)


class TinyRuntime:
    sample_rate_hz = RATE_HZ
    streaming = True

    def __init__(self, words: list[str], marker: Path, *, by_level: bool = False, work_s: float = 0.0) -> None:
        self._words = words
        self._work_s = work_s
        self._marker = marker
        self._by_level = by_level

    def transcribe(self, audio: Samples) -> Transcript:
        _obey(audio, self._marker)
        time.sleep(self._work_s)
        step = int(RATE_HZ * WORD_S)
        words = []
        for index in range(len(audio) // step):
            heard = audio[index * step : (index + 1) * step]
            which = round(float(np.abs(heard).max()) * 100) if self._by_level else index
            said = self._words[which % len(self._words)]
            words.append(TimedWord(said, index * WORD_S, (index + 1) * WORD_S, 0.9))
        confidence = 0.4 if np.any(audio == UNSURE) else 0.9
        return Transcript(" ".join(word.word for word in words), tuple(words), confidence)

    def stream(self) -> TinyStream:
        return TinyStream(self)


class TinyBatchRuntime(TinyRuntime):
    def transcribe_many(self, utterances: Sequence[Samples]) -> list[Transcript]:
        return [self.transcribe(audio) for audio in utterances]

    def accept_many(self, streams: Sequence[Stream], chunks: Sequence[Samples]) -> list[Partial | None]:
        if any(np.any(chunk == FAIL) for chunk in chunks):
            raise ValueError("planted-secret was said")
        return [stream.accept(chunk) for stream, chunk in zip(streams, chunks, strict=True)]


def _load_slowly(payload: Path, sign: Path) -> dict[str, Any]:
    """Show a sign, read on when somebody has taken it away."""
    sign.touch()
    while sign.exists():
        time.sleep(0.01)
    read: dict[str, Any] = json.loads((payload / "runtime.json").read_text())
    return read


def load(payload: Path, *, threads: int = 1) -> Any:
    settings = json.loads((payload / "runtime.json").read_text())
    if "task" in settings:
        from tests.serving import tiny_tasks

        return tiny_tasks.make(settings)
    if settings.get("broken"):
        raise ValueError("this payload cannot be loaded")
    if loads := settings.get("loads"):
        settings = _load_slowly(payload, Path(loads))
    kind = TinyBatchRuntime if settings.get("several") else TinyRuntime
    work_s = settings.get("work_ms", 0) / 1000
    return kind(settings["words"], Path(settings["marker"]), by_level=settings.get("by_level", False), work_s=work_s)
