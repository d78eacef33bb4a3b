"""A runtime over a pack: outputs and timings as tables.

Boundary: reads the audio files that the table of utterances names; a monotonic clock is read for timings alone.
Invariants: quality and time are separate passes (R3): `run_pack` and `stream_pack` say nothing of time, `time_pack`
takes turns between runtimes utterance by utterance, so that what slows the machine slows all of them. Streams are heard
at the recorded cadence: a chunk holds what a microphone gives in `chunk_ms`, and the runtime has it before the next one
exists. Audio at another rate than the runtime's is resampled by soxr HQ, here and nowhere else.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from contracts.endpoint import endpoint_s
from contracts.errors import Corrupt, NotFound
from speech.runtimes import Runtime, Samples

if TYPE_CHECKING:
    import pandas

Progress = Callable[[int, int], None]
"""Called with (utterances done, utterances in all)."""

TRAILING_SILENCE_S = 1.0
"""Digital silence after a streamed utterance, longer than the hangover of contracts.endpoint."""


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
        One row an utterance, in order: utterance_id, text, confidence (NaN where the engine has none); of a cascade
        also `route`, the part that answered.
    """
    import pandas

    rows = []
    for number, (utterance_id, path) in enumerate(zip(utterances["utterance_id"], utterances["path"], strict=True), 1):
        transcript = runtime.transcribe(read_audio(root / path, runtime.sample_rate_hz))
        rows.append((utterance_id, transcript.text, transcript.confidence, transcript.route))
        if on_progress is not None:
            on_progress(number, len(utterances))
    table = pandas.DataFrame(rows, columns=["utterance_id", "text", "confidence", "route"])
    if table["route"].isna().all():
        table = table.drop(columns="route")
    return table.astype({"confidence": "float64"})


class Event(NamedTuple):
    """What a stream showed when `heard_s` seconds of audio had been heard; the first `committed` words stay.

    `shown_s` is when it was shown, on virtual time: a chunk arrives when its audio has been spoken, and is heard as
    soon as it is there and the chunks before it are done. Both run from the start of the audio.
    """

    heard_s: float
    shown_s: float
    text: str
    committed: int
    final: bool


class Hearing(NamedTuple):
    """All that a stream showed of one utterance, in order, the final last; seconds of compute it took."""

    events: list[Event]
    compute_s: float


def hear(runtime: Runtime, audio: Samples, *, chunk_ms: int = 100) -> Hearing:
    """Stream one utterance, (samples,) at the runtime's rate: an event for each change, and the final."""
    step = max(1, round(chunk_ms / 1000 * runtime.sample_rate_hz))
    stream = runtime.stream()
    events: list[Event] = []
    ready_s = compute_s = heard_s = 0.0
    last = ("", 0)
    for start in range(0, audio.size, step):
        heard_s = min(start + step, audio.size) / runtime.sample_rate_hz
        began = time.perf_counter()
        partial = stream.accept(audio[start : start + step])
        spent_s = time.perf_counter() - began
        compute_s += spent_s
        ready_s = max(ready_s, heard_s) + spent_s
        if partial is not None and tuple(partial) != last:
            last = (partial.text, partial.committed)
            events.append(Event(heard_s, ready_s, partial.text, partial.committed, False))
    began = time.perf_counter()
    text = stream.finish().text
    spent_s = time.perf_counter() - began
    events.append(Event(heard_s, max(ready_s, heard_s) + spent_s, text, len(text.split()), True))
    return Hearing(events, compute_s + spent_s)


def stream_pack(
    runtime: Runtime,
    utterances: pandas.DataFrame,
    root: Path,
    *,
    chunk_ms: int = 100,
    trailing_silence_s: float = TRAILING_SILENCE_S,
    on_progress: Progress | None = None,
) -> pandas.DataFrame:
    """What a runtime shows while it hears each utterance chunk by chunk, silence after it included.

    Returns:
        One row a change of the hypothesis or of what is committed, and a last one with the final transcript:
        utterance_id, heard_s (seconds of audio heard so far), text, committed (words), final (bool). It depends on the
        audio alone, on no clock.
    """
    import pandas

    columns = ["utterance_id", "heard_s", "text", "committed", "final"]
    rows = []
    for number, (utterance_id, path) in enumerate(zip(utterances["utterance_id"], utterances["path"], strict=True), 1):
        audio = _with_silence(read_audio(root / path, runtime.sample_rate_hz), runtime, trailing_silence_s)
        rows += [
            (utterance_id, event.heard_s, event.text, event.committed, event.final)
            for event in hear(runtime, audio, chunk_ms=chunk_ms).events
        ]
        if on_progress is not None:
            on_progress(number, len(utterances))
    return pandas.DataFrame(rows, columns=columns)


def _with_silence(audio: Samples, runtime: Runtime, silence_s: float) -> Samples:
    return np.concatenate([audio, np.zeros(round(silence_s * runtime.sample_rate_hz), np.float32)])


class Timing(NamedTuple):
    """One utterance, streamed on virtual time (see Event); NaN where there is no such moment.

    From the start of the audio run `first_partial_ms`, to the first partial with a word, and `first_stable_ms`, until a
    word was shown that never changed again: from then on the same word stood at the same place, in the final too. A
    word that only the final showed counts, so that a runtime without a stable partial is late and not absent.
    `final_ms` runs from the end of the audio to the final transcript. `endpoint_ms` runs from the end of the last word
    to the endpoint (contracts.endpoint), in audio time, over the audio and `TRAILING_SILENCE_S`; below 0 the speaker
    was cut off.
    """

    utterance_id: str
    first_partial_ms: float
    first_stable_ms: float
    final_ms: float
    endpoint_ms: float
    compute_s: float
    audio_s: float


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
    utterance to utterance. Endpoints are timed where the table has a column `speech_end_s`.

    Returns:
        For each runtime one row an utterance with the columns of `Timing`.
    """
    import pandas

    names = list(runtimes)
    rows: dict[str, list[Timing]] = {name: [] for name in names}
    ends_s = utterances.get("speech_end_s", pandas.Series(np.nan, index=utterances.index)).astype("float64")
    table = zip(utterances["utterance_id"], utterances["path"], ends_s, strict=True)
    for number, (utterance_id, path, end_s) in enumerate(table):
        if number == 0:
            for runtime in runtimes.values():
                runtime.transcribe(read_audio(root / path, runtime.sample_rate_hz))
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            audio = read_audio(root / path, runtimes[name].sample_rate_hz)
            timing = time_stream(runtimes[name], audio, str(utterance_id), chunk_ms=chunk_ms, speech_end_s=end_s)
            rows[name].append(timing)
        if on_progress is not None:
            on_progress(number + 1, len(utterances))
    return {name: pandas.DataFrame(rows[name], columns=list(Timing._fields)) for name in names}


def time_stream(
    runtime: Runtime, audio: Samples, utterance_id: str, *, chunk_ms: int = 100, speech_end_s: float = math.nan
) -> Timing:
    """Stream one utterance on virtual time (see Timing)."""
    events, compute_s = hear(runtime, audio, chunk_ms=chunk_ms)
    audio_s = audio.size / runtime.sample_rate_hz
    first_s = next((event.shown_s for event in events if event.text and not event.final), math.nan)
    delay_s = math.nan
    if runtime.streaming and not math.isnan(speech_end_s):
        on_and_on = hear(runtime, _with_silence(audio, runtime, TRAILING_SILENCE_S), chunk_ms=chunk_ms)
        fired_s = endpoint_s((event.heard_s, event.text) for event in on_and_on.events)
        delay_s = math.nan if fired_s is None else fired_s - speech_end_s
    return Timing(
        utterance_id=utterance_id,
        first_partial_ms=first_s * 1000,
        first_stable_ms=_first_stable_s(events) * 1000,
        final_ms=(events[-1].shown_s - audio_s) * 1000,
        endpoint_ms=delay_s * 1000,
        compute_s=compute_s,
        audio_s=audio_s,
    )


def _first_stable_s(events: list[Event]) -> float:
    """When the first word was shown that kept its place and its text to the end, NaN where no word was heard."""
    settled = set(enumerate(events[-1].text.split()))
    shown_s = math.nan
    for event in reversed(events):
        settled &= set(enumerate(event.text.split()))
        if not settled:
            break
        shown_s = event.shown_s
    return shown_s
