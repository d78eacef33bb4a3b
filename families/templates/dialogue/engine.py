"""An assistant whose language is tones: it quotes the documents of the user's tenant, and says them as tones.

Boundary: reads its payload when it is loaded and nothing afterwards; the clock is read for the age of an index.
Invariants: what is heard does not depend on how the audio is cut; a user is told the own tenant's documents alone, and
nothing that does not stand where its citation points.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

import numpy as np

from speech.assistant.documents import sentences
from speech.assistant.grounding import grounded
from speech.assistant.response import NO_ANSWER, NOT_HEARD, Quoting
from speech.assistant.retrieval import Retriever
from speech.runtimes import Partial, Samples, Transcript
from speech.runtimes.assistant import read_tenants
from speech.runtimes.kinds import Reply

RATE_HZ = 16_000
FRAME = 800
"""Samples of a frame: 50 ms."""
SHORTEST = 3
"""Frames of a word."""
SAID_S, OTHER_HZ = 0.1, 200.0
"""How long a word of a reply is, and the tone of words that nobody taught."""


QUIET = 0.02
"""Share of the loudest frame's energy below which nobody speaks: what is left of a reply in the microphone is less."""


def tones(audio: Samples) -> tuple[Samples, Samples]:
    """The strongest frequency of each frame in Hz, and its share of the frame's energy, 0 where nobody speaks."""
    frames = audio[: audio.size // FRAME * FRAME].reshape(-1, FRAME)
    power = np.abs(np.fft.rfft(frames * np.hanning(FRAME))) ** 2 + 1e-9
    peaks = power[:, 1:-2].argmax(axis=1) + 1
    strongest = np.take_along_axis(power, peaks[:, None] + np.arange(-1, 2), axis=1).sum(axis=1)
    energy = power.sum(axis=1)
    share = np.where(energy < QUIET * energy.max(initial=0.0), 0.0, strongest / energy)
    return (peaks * RATE_HZ / FRAME).astype(np.float32), share.astype(np.float32)


class Turn:
    """One turn."""

    def __init__(self, engine: Engine, tenant: str) -> None:
        self._engine, self._tenant = engine, tenant
        self._audio: Samples = np.zeros(0, dtype=np.float32)
        self._shown = ""

    def accept(self, chunk: Samples) -> Partial | None:
        """Hear a chunk, (samples,); a Partial when the words changed."""
        self._audio = np.concatenate([self._audio, chunk])
        before, self._shown = self._shown, self._engine.hear(self._audio)
        return Partial(self._shown, 0) if self._shown != before else None

    def reply(self) -> Reply:
        """What is answered to all that was heard."""
        return self._engine.answer(self._engine.hear(self._audio), self._tenant)

    def speak(self) -> Iterator[Samples]:
        """The reply as speech, a chunk a sentence."""
        yield from map(self._engine.say, sentences(self.reply().text))


class Engine:
    """A loaded assistant: the tone of each word, the share of a frame's energy that it must have, and the tenants."""

    task: Literal["dialogue"] = "dialogue"
    sample_rate_hz = voice_rate_hz = RATE_HZ

    def __init__(self, model: dict[str, Any], payload: Path) -> None:
        self._words, self._hz = list(model["tones_hz"]), np.array(list(model["tones_hz"].values()))
        self._share: float = model["share"]
        self._tenants = {
            index.tenant: (index, Retriever(index.passages, "words"), documents.sources())
            for documents, index in read_tenants(payload)
        }
        self._responder = Quoting(answer_above=0.5)  # a language model of yours takes its place

    def turn(self, tenant: str = "") -> Turn:
        """Begin a turn of a tenant's user."""
        return Turn(self, tenant)

    def hear(self, audio: Samples) -> str:
        """The words of an utterance, (samples,): runs of frames that are nearest to the same tone."""
        hz, share = tones(audio)
        nearest = np.abs(np.log(hz[:, None] / self._hz)).argmin(axis=1)
        runs = groupby(np.where(share < self._share, -1, nearest).tolist())
        return " ".join(self._words[word] for word, run in runs if word >= 0 and len(list(run)) >= SHORTEST)

    def answer(self, question: str, tenant: str) -> Reply:
        """A sentence of the tenant's documents; where none answers, a person takes over."""
        heard = Transcript(question)
        if tenant not in self._tenants:
            return Reply(heard, NO_ANSWER, handoff=True)
        index, retriever, sources = self._tenants[tenant]
        age_s = index.age_s(datetime.now(UTC))
        draft = self._responder.draft(question, retriever.search(question, 3), retriever)
        if draft is None:
            return Reply(heard, NO_ANSWER if question else NOT_HEARD, handoff=bool(question), index_age_s=age_s)
        if not grounded(draft, sources):
            return Reply(heard, NO_ANSWER, grounded=False, handoff=True, tokens=draft.tokens, index_age_s=age_s)
        return Reply(heard, draft.text, draft.citations, tokens=draft.tokens, index_age_s=age_s)

    def say(self, sentence: str) -> Samples:
        """A tone a word."""
        known = dict(zip(self._words, self._hz.tolist(), strict=True))
        hz = [known.get(word.strip(".").casefold(), OTHER_HZ) for word in sentence.split()]
        phase = np.cumsum(np.repeat(hz, int(SAID_S * RATE_HZ))) * 2 * np.pi / RATE_HZ
        return (0.3 * np.sin(phase)).astype(np.float32)


def load(payload: Path, *, threads: int = 1) -> Engine:
    """Load `model.json`, `documents/` and `index/`; `threads` means nothing to so small a model."""
    del threads
    return Engine(json.loads((payload / "model.json").read_text()), payload)
