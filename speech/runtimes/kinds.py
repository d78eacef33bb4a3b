"""What models of every task are to those that run them: one Protocol a task, beside `Runtime` for transcription.

Boundary: as speech/runtimes/__init__.py. Source: coverage rows 15 to 17, 23, 48.
Invariants: one thread uses a model at a time; the same payload and the same input give the same output on one machine,
within the tolerance of the family's golden fixtures; a model says its task by the attribute `task`, and one that says
nothing transcribes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple, Protocol, cast

import numpy as np
import numpy.typing as npt

from contracts.errors import Refused
from contracts.policy import Task
from speech.runtimes import Partial, Runtime, Samples, Transcript

Vector = npt.NDArray[np.float32]


class Voice(Protocol):
    """Text to speech, sentence by sentence.

    Attributes:
        sample_rate_hz: of what it says.
        name: what clients may call the voice.
        max_characters: of one text; longer ones are refused by the API.
    """

    task: Literal["synthesis"]
    sample_rate_hz: int
    name: str
    max_characters: int

    def sentences(self, text: str) -> list[str]:
        """The text as it will be spoken: pieces that can be played while the next ones are made; at least one."""
        ...

    def speak(self, text: str) -> Iterator[Samples]:
        """Speech of a text, lazily: one chunk or more a sentence, each (samples,) in [-1, 1] and not empty.

        Raises Refused for a text with nothing to say.
        """
        ...


class Embedder(Protocol):
    """Audio to a vector of unit length.

    Attributes:
        dimension: components of a vector.
        space: name of the vector space: scores between vectors of different spaces mean nothing.
    """

    task: Literal["embedding"]
    sample_rate_hz: int
    dimension: int
    space: str

    def embed(self, audio: Samples) -> Vector:
        """The vector of one utterance, (dimension,), of length 1; Refused for audio too short to say anything."""
        ...


class Classified(NamedTuple):
    """The likeliest class, and the score of each class in the order of `Classifier.classes`, summing to 1."""

    label: str
    scores: tuple[float, ...]


class Classifier(Protocol):
    """Audio to one of a fixed list of classes."""

    task: Literal["classification"]
    sample_rate_hz: int
    classes: tuple[str, ...]

    def classify(self, audio: Samples) -> Classified:
        """The class of one clip."""
        ...


class Reply(NamedTuple):
    """What an assistant answers.

    Attributes:
        heard: what it understood the user to say.
        text: its reply; never empty, a reply that there is no answer is one.
        citations: ids of the passages that the reply rests on, best first.
        grounded: whether every statement of the reply stands in a cited passage.
        handoff: whether a person should take over.
        tokens: what a language model was given and gave; 0 for one that is none.
        index_age_s: seconds since the tenant's documents were last brought up to date; None where none is kept.
    """

    heard: Transcript
    text: str
    citations: tuple[str, ...] = ()
    grounded: bool = True
    handoff: bool = False
    tokens: int = 0
    index_age_s: float | None = None


class Turn(Protocol):
    """One turn of a dialogue: the user speaks, the assistant replies."""

    def accept(self, chunk: Samples) -> Partial | None:
        """Hear the next chunk; a Partial when the hypothesis changed, else None."""
        ...

    def reply(self) -> Reply:
        """No more audio comes: what was heard, and the reply."""
        ...

    def speak(self) -> Iterator[Samples]:
        """The reply as speech at `voice_rate_hz`, lazily, sentence by sentence; after `reply`."""
        ...


class Assistant(Protocol):
    """Speech to speech. It hears at `sample_rate_hz` and speaks at `voice_rate_hz`."""

    task: Literal["dialogue"]
    sample_rate_hz: int
    voice_rate_hz: int

    def turn(self, tenant: str = "") -> Turn:
        """Begin a turn of a tenant's user; documents of other tenants are out of reach."""
        ...


Model = Runtime | Voice | Embedder | Classifier | Assistant


def task_of(model: Model) -> Task:
    """What a loaded model does."""
    return cast(Task, getattr(model, "task", "transcription"))


def transcriber(model: Model) -> Runtime:
    """The model, as one that transcribes; Refused where it does something else."""
    task = task_of(model)
    if task != "transcription":
        raise Refused(
            "a model of another task", where="runtime.json", got=task, expected="transcription",
            next_step="name the family's task in params.yaml, or another engine in runtime.json",
        )  # fmt: skip
    return cast(Runtime, model)
