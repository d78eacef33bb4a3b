"""Audio to a vector of unit length.

Boundary: as speech/kinds/__init__.py.
Invariants: an utterance that the model refuses (nobody is heard to speak) has an empty vector, so that metrics count it
as a failure to acquire and never leave it out; vectors carry the name of their space wherever they go.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from contracts.bundle import GoldenAnswer
from contracts.errors import Refused
from speech.kinds import Prompt
from speech.kinds.whole import time_whole
from speech.run import Progress, read_audio
from speech.runtimes import OutputsNotFinite, Samples
from speech.runtimes.kinds import Embedder

if TYPE_CHECKING:
    import pandas

hears = True

_WARM_S = 1.0
_PITCH_HZ = 120


def run_pack(
    model: Embedder, utterances: pandas.DataFrame, root: Path, *, on_progress: Progress | None = None
) -> pandas.DataFrame:
    """One row an utterance, in order: utterance_id, text (empty), confidence (NaN), vector (a list, [] where refused),
    space."""
    import pandas

    rows = []
    for number, (utterance_id, path) in enumerate(zip(utterances["utterance_id"], utterances["path"], strict=True), 1):
        vector = _vector(model, read_audio(root / path, model.sample_rate_hz))
        rows.append((utterance_id, "", np.nan, vector, model.space))
        if on_progress is not None:
            on_progress(number, len(utterances))
    return pandas.DataFrame(rows, columns=["utterance_id", "text", "confidence", "vector", "space"])


def _vector(model: Embedder, audio: Samples) -> list[float]:
    try:
        return [float(value) for value in model.embed(audio)]
    except OutputsNotFinite:
        raise
    except Refused:
        return []


def time_pack(
    models: Mapping[str, Embedder],
    utterances: pandas.DataFrame,
    root: Path,
    *,
    chunk_ms: int = 100,
    on_progress: Progress | None = None,
) -> dict[str, pandas.DataFrame]:
    """Timings of several models in turns (speech.kinds.whole); it is heard whole, whatever `chunk_ms` says."""
    del chunk_ms
    return time_whole(models, utterances, root, _vector, on_progress=on_progress)


def answer(model: Embedder, prompt: Prompt) -> GoldenAnswer:
    """The vector of one recording, and its space."""
    assert prompt.path is not None
    vector = model.embed(read_audio(prompt.path, model.sample_rate_hz))
    return GoldenAnswer(label=model.space, vector=tuple(float(value) for value in vector))


def warm(model: Embedder) -> None:
    """Hear a buzz at the pitch of a voice: a detector that takes it for none is warm too."""
    seconds = np.arange(round(_WARM_S * model.sample_rate_hz)) / model.sample_rate_hz
    harmonics = sum(np.sin(2 * np.pi * _PITCH_HZ * number * seconds) / number for number in range(1, 20))
    _vector(model, (0.1 * np.asarray(harmonics)).astype(np.float32))
