"""Audio to one of a fixed list of classes.

Boundary: as speech/kinds/__init__.py.
Invariants: a class is no text, so `text` is empty; confidence is the score of the class that was given.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from contracts.bundle import GoldenAnswer
from speech.kinds import Prompt
from speech.kinds.whole import time_whole
from speech.run import Progress, read_audio
from speech.runtimes import Samples
from speech.runtimes.kinds import Classified, Classifier

if TYPE_CHECKING:
    import pandas

hears = True

_WARM_S = 0.5


def run_pack(
    model: Classifier, utterances: pandas.DataFrame, root: Path, *, on_progress: Progress | None = None
) -> pandas.DataFrame:
    """One row a clip, in order: utterance_id, text (empty), confidence (the score), predicted (the class)."""
    import pandas

    rows = []
    for number, (utterance_id, path) in enumerate(zip(utterances["utterance_id"], utterances["path"], strict=True), 1):
        label, scores = model.classify(read_audio(root / path, model.sample_rate_hz))
        rows.append((utterance_id, "", scores[model.classes.index(label)], label))
        if on_progress is not None:
            on_progress(number, len(utterances))
    return pandas.DataFrame(rows, columns=["utterance_id", "text", "confidence", "predicted"])


def time_pack(
    models: Mapping[str, Classifier],
    utterances: pandas.DataFrame,
    root: Path,
    *,
    chunk_ms: int = 100,
    on_progress: Progress | None = None,
) -> dict[str, pandas.DataFrame]:
    """Timings of several models in turns (speech.kinds.whole); a clip is heard whole, whatever `chunk_ms` says."""
    del chunk_ms
    return time_whole(models, utterances, root, _ask, on_progress=on_progress)


def _ask(model: Classifier, audio: Samples) -> Classified:
    return model.classify(audio)


def answer(model: Classifier, prompt: Prompt) -> GoldenAnswer:
    """The class of one recording, and the score of each."""
    assert prompt.path is not None
    label, scores = model.classify(read_audio(prompt.path, model.sample_rate_hz))
    return GoldenAnswer(label=label, vector=scores)


def warm(model: Classifier) -> None:
    """Hear silence."""
    model.classify(np.zeros(round(_WARM_S * model.sample_rate_hz), dtype=np.float32))
