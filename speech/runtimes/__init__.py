"""Engines, one file each, behind a Protocol a task: here those that turn audio into text, the others in kinds.py.

Boundary: a runtime reads its payload folder when it is loaded and nothing afterwards.
Invariants: the same payload and the same audio give the same text on one machine; an engine is chosen by the payload's
`runtime.json` (`{"engine": "ctc", ...}`), never by a guess from file names; no engine unpickles anything.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from contracts.errors import Refused
from contracts.policy import Task

if TYPE_CHECKING:
    from speech.runtimes.kinds import Model

Samples = npt.NDArray[np.float32]
"""Mono audio, shape (samples,), values in [-1, 1], at the runtime's `sample_rate_hz`."""


class TimedWord(NamedTuple):
    """A word, its start and end in seconds, its confidence in [0, 1] (None where the engine has none)."""

    word: str
    start_s: float
    end_s: float
    confidence: float | None


Route = Literal["small", "large"]
"""The part of a cascade whose answer it was."""


class Transcript(NamedTuple):
    """What was said; `words` may be empty where the engine gives no times; `route` is None of an engine of one part."""

    text: str
    words: tuple[TimedWord, ...] = ()
    confidence: float | None = None
    route: Route | None = None


class Partial(NamedTuple):
    """A hypothesis so far: the first `committed` words never change again."""

    text: str
    committed: int


class Stream(Protocol):
    """One utterance being heard, chunk by chunk; state is kept between chunks."""

    def accept(self, chunk: Samples) -> Partial | None:
        """Hear the next chunk; a Partial when the hypothesis changed, else None."""
        ...

    def finish(self) -> Transcript:
        """No more audio comes: the final transcript."""
        ...


class OutputsNotFinite(Refused):
    """A model's outputs hold NaN or infinity: its weights, though finite, overflow (fault 52). Its text means nothing.

    `where` is for whoever knows which model it is.
    """

    def __init__(
        self,
        what: str = "the model's outputs are not finite",
        *,
        where: str = "a loaded payload",
        got: str = "NaN or infinity among its log probabilities",
        expected: str = "finite log probabilities for every audio",
        next_step: str = "look at the largest weights of each layer, and export the candidate again from a training "
        "run that did not diverge",
    ) -> None:
        super().__init__(what, where=where, got=got, expected=expected, next_step=next_step)


class Runtime(Protocol):
    """A loaded model. One thread uses it at a time. What it hears with raises OutputsNotFinite."""

    sample_rate_hz: int
    streaming: bool
    """True where partials come from state that is kept, False where `stream` gathers audio and answers at the end."""

    def transcribe(self, audio: Samples) -> Transcript:
        """The transcript of one whole utterance."""
        ...

    def stream(self) -> Stream:
        """Start hearing an utterance."""
        ...


@runtime_checkable
class BatchRuntime(Runtime, Protocol):
    """A runtime that hears several utterances or streams in one model call, and is faster for it.

    Its streams say what `transcribe` says however the audio is cut, at no more work, so that a long utterance may be
    heard in pieces. Texts do not depend on what is heard beside them; confidences may, by rounding.
    """

    def transcribe_many(self, utterances: Sequence[Samples]) -> list[Transcript]:
        """The transcripts of whole utterances, in order."""
        ...

    def accept_many(self, streams: Sequence[Stream], chunks: Sequence[Samples]) -> list[Partial | None]:
        """Each of these different streams hears its next chunk; where this raises, none of them has."""
        ...


ENGINES: dict[str, Task] = {
    "ctc": "transcription",
    "moonshine": "transcription",
    "pocketsphinx": "transcription",
    "espeak": "synthesis",
    "studio_voice": "synthesis",
    "clip_net": "classification",
    "silero": "classification",
    "cascade": "transcription",
    "assistant": "dialogue",
    "resemblyzer": "embedding",
}
"""Engines of this room, and what their models do."""

FAMILIES = "families."
"""An engine `families.NAME` is the module families/NAME/engine.py, beside the rooms: somebody's own model."""


def load_model(payload: Path, *, threads: int = 1) -> Model:
    """Load the engine that `payload/runtime.json` names; raises Refused for an engine that is not known."""
    engine = json.loads((payload / "runtime.json").read_text())["engine"]
    model: Model = importlib.import_module(_module(engine)).load(payload, threads=threads)
    return model


def load(payload: Path, *, threads: int = 1) -> Runtime:
    """Load an engine that transcribes; raises Refused for one that is not known or does something else."""
    from speech.runtimes.kinds import transcriber

    return transcriber(load_model(payload, threads=threads))


def _module(engine: str) -> str:
    """The module of an engine: one of this room, or of a folder below families/, never of another place."""
    if engine in ENGINES:
        return f"speech.runtimes.{engine}"
    is_own = engine.startswith(FAMILIES) and engine.removeprefix(FAMILIES).isidentifier()
    if is_own and all(map(importlib.util.find_spec, (engine, f"{engine}.engine"))):
        return f"{engine}.engine"
    raise Refused(
        "unknown engine",
        where="runtime.json",
        got=repr(engine),
        expected=" or ".join([*ENGINES, f"{FAMILIES}NAME with families/NAME/engine.py in the project"]),
        next_step="name one of these, or write the engine (docs/bring-your-own.md)",
    )
