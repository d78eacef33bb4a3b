"""A runtime over a pack: outputs and timings as tables.

Boundary: reads the audio files that the table of utterances names; a monotonic clock is read for timings alone.
Invariants: quality and time are separate passes (R3): `run_pack` says nothing of time, `time_pack` takes turns between
runtimes utterance by utterance, so that what slows the machine slows all of them. Audio at another rate than the
runtime's is resampled by soxr HQ, here and nowhere else.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from contracts.errors import Corrupt, NotFound
from speech.runtimes import Runtime, Samples

if TYPE_CHECKING:
    import pandas

Progress = Callable[[int, int], None]
"""Called with (utterances done, utterances in all)."""


def read_audio(path: Path, rate_hz: int) -> Samples:
    """Mono samples of a file at `rate_hz`, (samples,); resampled by soxr HQ where the file has another rate.

    Raises:
        NotFound: there is no such file.
        Corrupt: it is not audio, or has several channels.
    """
    import soundfile
    import soxr

    if not path.is_file():
        raise NotFound(
            "an utterance's audio is missing", where=path.name, expected="a WAV file", next_step="make the pack again"
        )
    try:
        audio, present_hz = soundfile.read(path, dtype="float32")
    except soundfile.LibsndfileError as error:
        raise Corrupt("an utterance's audio does not read", where=path.name, got=str(error.error_string)) from None
    if audio.ndim != 1:
        raise Corrupt("an utterance has several channels", where=path.name, got=str(audio.shape[1]), expected="1")
    if present_hz != rate_hz:
        audio = soxr.resample(audio, present_hz, rate_hz, quality="HQ")
    return np.ascontiguousarray(audio, dtype=np.float32)


def run_pack(
    runtime: Runtime, utterances: pandas.DataFrame, root: Path, *, on_progress: Progress | None = None
) -> pandas.DataFrame:
    """What a runtime hears in each utterance.

    Args:
        runtime: a loaded model.
        utterances: at least `utterance_id` and `path` (relative to `root`).
        root: folder of the pack.
        on_progress: told after every utterance.

    Returns:
        One row an utterance, in order: utterance_id, text, confidence (NaN where the engine has none).
    """
    import pandas

    rows = []
    for number, (utterance_id, path) in enumerate(zip(utterances["utterance_id"], utterances["path"], strict=True), 1):
        transcript = runtime.transcribe(read_audio(root / path, runtime.sample_rate_hz))
        rows.append((utterance_id, transcript.text, transcript.confidence))
        if on_progress is not None:
            on_progress(number, len(utterances))
    table = pandas.DataFrame(rows, columns=["utterance_id", "text", "confidence"])
    return table.astype({"confidence": "float64"})


class Timing(NamedTuple):
    """One utterance, streamed on virtual time.

    A chunk arrives when its audio has been spoken; it is heard as soon as it is there and the chunks before it are
    done. `first_partial_ms` runs from the start of the audio to the first partial with a word (NaN where none came),
    `final_ms` from the end of the audio to the final transcript. `unstable_words` are words of partials that the next
    hypothesis did not keep, of `partial_words` shown in all.
    """

    utterance_id: str
    first_partial_ms: float
    final_ms: float
    compute_s: float
    audio_s: float
    partial_words: int
    unstable_words: int


def time_pack(
    runtimes: Mapping[str, Runtime],
    utterances: pandas.DataFrame,
    root: Path,
    *,
    chunk_ms: int = 100,
    on_progress: Progress | None = None,
) -> dict[str, pandas.DataFrame]:
    """Timings of several runtimes over the same utterances, in turns; run it alone on the machine (R3).

    The first utterance is heard once by every runtime outside the clock. Which runtime goes first changes from
    utterance to utterance.

    Returns:
        For each runtime one row an utterance with the columns of `Timing`.
    """
    import pandas

    names = list(runtimes)
    rows: dict[str, list[Timing]] = {name: [] for name in names}
    for number, (utterance_id, path) in enumerate(zip(utterances["utterance_id"], utterances["path"], strict=True)):
        if number == 0:
            for runtime in runtimes.values():
                runtime.transcribe(read_audio(root / path, runtime.sample_rate_hz))
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            audio = read_audio(root / path, runtimes[name].sample_rate_hz)
            rows[name].append(time_stream(runtimes[name], audio, str(utterance_id), chunk_ms=chunk_ms))
        if on_progress is not None:
            on_progress(number + 1, len(utterances))
    return {name: pandas.DataFrame(rows[name], columns=list(Timing._fields)) for name in names}


def time_stream(runtime: Runtime, audio: Samples, utterance_id: str, *, chunk_ms: int = 100) -> Timing:
    """Stream one utterance on virtual time (see Timing)."""
    step = max(1, round(chunk_ms / 1000 * runtime.sample_rate_hz))
    audio_s = audio.size / runtime.sample_rate_hz
    stream = runtime.stream()
    ready_s = compute_s = 0.0
    first_s = float("nan")
    shown: list[list[str]] = []
    for start in range(0, audio.size, step):
        arrival_s = min(start + step, audio.size) / runtime.sample_rate_hz
        began = time.perf_counter()
        partial = stream.accept(audio[start : start + step])
        spent_s = time.perf_counter() - began
        compute_s += spent_s
        ready_s = max(ready_s, arrival_s) + spent_s
        if partial is not None:
            shown.append(partial.text.split())
            if np.isnan(first_s) and partial.text:
                first_s = ready_s
    began = time.perf_counter()
    final = stream.finish()
    spent_s = time.perf_counter() - began
    unstable = unstable_words([*shown, final.text.split()])
    return Timing(
        utterance_id=utterance_id,
        first_partial_ms=first_s * 1000,
        final_ms=(max(ready_s, audio_s) + spent_s - audio_s) * 1000,
        compute_s=compute_s + spent_s,
        audio_s=audio_s,
        partial_words=sum(map(len, shown)),
        unstable_words=unstable,
    )


def unstable_words(hypotheses: list[list[str]]) -> int:
    """Words of each hypothesis beyond the beginning that it shares with the next one, summed."""
    unstable = 0
    for shown, following in pairwise(hypotheses):
        same = 0
        while same < min(len(shown), len(following)) and shown[same] == following[same]:
            same += 1
        unstable += len(shown) - same
    return unstable
