"""Timings of models that hear an utterance as a whole: embedders and classifiers.

Boundary: reads the audio files that the table names; a monotonic clock is read, for timings alone.
Invariants: models take turns utterance by utterance, so that what slows the machine slows all of them (R3); the first
utterance is heard once by every model outside the clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speech.run import Progress, read_audio
from speech.runtimes import Samples

if TYPE_CHECKING:
    import pandas

COLUMNS = ("utterance_id", "final_ms", "compute_s", "audio_s")


def time_whole(
    models: Mapping[str, Any],
    utterances: pandas.DataFrame,
    root: Path,
    ask: Callable[[Any, Samples], object],
    *,
    on_progress: Progress | None = None,
) -> dict[str, pandas.DataFrame]:
    """How long each model takes for each utterance, from the end of its audio.

    Args:
        models: by name; each has a `sample_rate_hz`.
        utterances: at least `utterance_id` and `path` (relative to `root`).
        root: folder of the pack.
        ask: lets a model hear samples, (samples,) at its rate.
        on_progress: told after every utterance.

    Returns:
        For each model one row an utterance: utterance_id, final_ms, compute_s, audio_s.
    """
    import pandas

    names = list(models)
    rows: dict[str, list[tuple[str, float, float, float]]] = {name: [] for name in names}
    for number, (utterance_id, path) in enumerate(zip(utterances["utterance_id"], utterances["path"], strict=True)):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            model = models[name]
            audio = read_audio(root / path, model.sample_rate_hz)
            if number == 0:
                ask(model, audio)
            began = time.perf_counter()
            ask(model, audio)
            spent_s = time.perf_counter() - began
            rows[name].append((str(utterance_id), spent_s * 1000, spent_s, audio.size / model.sample_rate_hz))
        if on_progress is not None:
            on_progress(number + 1, len(utterances))
    return {name: pandas.DataFrame(rows[name], columns=list(COLUMNS)) for name in names}
