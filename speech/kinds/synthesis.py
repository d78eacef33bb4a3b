"""Text to audio: what a voice says is judged by speech/judges, and timed as somebody who plays it would hear it.

Boundary: as speech/kinds/__init__.py; `run_pack` alone loads the judges, so that neither timings nor the model's peak
memory have them in it.
Invariants: what is said is the pack's `text`; the recording beside it is the reference voice's, for likeness and length
alone. Playback is on virtual time: it starts with the first chunk and starves where a later one is not there when all
before it has been played.
Source: coverage rows 15 and 17.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from contracts.bundle import GoldenAnswer
from contracts.errors import Refused
from speech.kinds import Prompt
from speech.playback import starves
from speech.run import Progress, read_audio
from speech.runtimes import OutputsNotFinite, Samples
from speech.runtimes.kinds import Voice
from speech.sketch import sketch

if TYPE_CHECKING:
    import pandas

hears = False

WARM_TEXT = "One moment, please."
FRAME_S = 0.02
SILENT_DB = -50.0
"""RMS of a frame to full scale below which it is silence."""
FULL_SCALE = 0.999
"""From here on a sample is clipped: 16-bit audio has no more than 0.99997."""


class Judged(NamedTuple):
    """One utterance as it was said.

    `text` is what a recogniser heard; `mos`, `noise_mos` and `speaker_similarity` are of speech/judges (NaN: cannot be
    said); of `audio_s` seconds in all, `silent_s` are silence and `clipped_s` at full scale; `length_error_s` is how
    far the speech, without the silence around it, is from the reference's `reference_s`.
    """

    utterance_id: str
    text: str
    confidence: float
    mos: float
    noise_mos: float
    speaker_similarity: float
    audio_s: float
    silent_s: float
    clipped_s: float
    reference_s: float
    length_error_s: float


class Spoken(NamedTuple):
    """One utterance on the clock, in ms from the request: its first samples, its last; whether playback starved."""

    utterance_id: str
    first_audio_ms: float
    final_ms: float
    starved: bool
    compute_s: float
    audio_s: float


def run_pack(
    model: Voice, utterances: pandas.DataFrame, root: Path, *, on_progress: Progress | None = None
) -> pandas.DataFrame:
    """Say every text of a pack and judge it; one row an utterance with the columns of `Judged`."""
    import pandas

    rows = []
    table = zip(utterances["utterance_id"], utterances["text"], utterances["path"], strict=True)
    for number, (utterance_id, text, path) in enumerate(table, 1):
        rows.append(judged(str(utterance_id), said(model, text), model.sample_rate_hz, root / path))
        if on_progress is not None:
            on_progress(number, len(utterances))
    return pandas.DataFrame(rows, columns=list(Judged._fields))


def judged(utterance_id: str, samples: Samples, rate_hz: int, reference: Path) -> Judged:
    """What the judges say of speech, (samples,), beside the recording of the reference voice."""
    import soxr

    from speech.judges import RATE_HZ
    from speech.judges.likeness import likeness
    from speech.judges.naturalness import naturalness
    from speech.judges.noise import cleanness
    from speech.judges.understanding import understood

    heard = np.clip(soxr.resample(samples, rate_hz, RATE_HZ, quality="HQ"), -1.0, 1.0).astype(np.float32)
    recorded = read_audio(reference, RATE_HZ)
    reference_s = speech_s(recorded, RATE_HZ)
    return Judged(
        utterance_id=utterance_id,
        text=understood(heard),
        confidence=np.nan,
        mos=naturalness(heard),
        noise_mos=cleanness(heard),
        speaker_similarity=likeness(heard, recorded),
        audio_s=samples.size / rate_hz,
        silent_s=silent_s(samples, rate_hz),
        clipped_s=float(np.count_nonzero(np.abs(samples) >= FULL_SCALE)) / rate_hz,
        reference_s=reference_s,
        length_error_s=abs(speech_s(samples, rate_hz) - reference_s),
    )


def said(model: Voice, text: str) -> Samples:
    """All that a voice says of a text, (samples,); OutputsNotFinite where it holds NaN or infinity (fault 52)."""
    samples = np.concatenate(list(model.speak(text)))
    if not np.isfinite(samples).all():
        raise OutputsNotFinite(
            got="NaN or infinity among its samples",
            expected="finite samples for every text",
            next_step="look at the payload's filters and gains, and build the candidate again",
        )
    return samples


def speech_s(samples: Samples, rate_hz: int) -> float:
    """Seconds from the first frame that is not silent to the last, 0 where all are."""
    loud = np.flatnonzero(~_silent(samples, rate_hz))
    return 0.0 if not loud.size else float(loud[-1] - loud[0] + 1) * FRAME_S


def silent_s(samples: Samples, rate_hz: int) -> float:
    """Seconds of silence, in frames of FRAME_S."""
    return float(np.count_nonzero(_silent(samples, rate_hz))) * FRAME_S


def _silent(samples: Samples, rate_hz: int) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Whether each frame is silent, (frames,); the rest of a frame at the end is left out."""
    size = round(FRAME_S * rate_hz)
    frames = samples[: samples.size - samples.size % size].reshape(-1, size).astype(np.float64)
    silent: np.ndarray[tuple[int], np.dtype[np.bool_]] = (frames**2).mean(axis=1) < 10 ** (SILENT_DB / 10)
    return silent


def time_pack(
    models: Mapping[str, Voice],
    utterances: pandas.DataFrame,
    root: Path,  # noqa: ARG001  (nothing is heard)
    *,
    chunk_ms: int = 100,  # noqa: ARG001  (a voice makes chunks of its own)
    on_progress: Progress | None = None,
) -> dict[str, pandas.DataFrame]:
    """Time several voices over the same texts, in turns; run it alone on the machine (R3).

    The first text is said once by every voice outside the clock. Which voice goes first changes from text to text.

    Returns:
        For each voice one row an utterance with the columns of `Spoken`.
    """
    import pandas

    names = list(models)
    rows: dict[str, list[Spoken]] = {name: [] for name in names}
    for number, (utterance_id, text) in enumerate(zip(utterances["utterance_id"], utterances["text"], strict=True)):
        if number == 0:
            for model in models.values():
                said(model, text)
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            rows[name].append(_timed(models[name], str(utterance_id), text))
        if on_progress is not None:
            on_progress(number + 1, len(utterances))
    return {name: pandas.DataFrame(rows[name], columns=list(Spoken._fields)) for name in names}


def _timed(model: Voice, utterance_id: str, text: str) -> Spoken:
    began = time.perf_counter()
    arrivals = [(time.perf_counter() - began, chunk.size / model.sample_rate_hz) for chunk in model.speak(text)]
    first_s, last_s = arrivals[0][0], arrivals[-1][0]
    return Spoken(
        utterance_id=utterance_id,
        first_audio_ms=first_s * 1000,
        final_ms=last_s * 1000,
        starved=starves(arrivals),
        compute_s=last_s,
        audio_s=sum(audio_s for _, audio_s in arrivals),
    )


def answer(model: Voice, prompt: Prompt) -> GoldenAnswer:
    """The sketch of what is said for one text (speech/sketch.py); Refused without a text."""
    if not prompt.text:
        raise Refused("a voice was given no text", where="golden fixture", got="an empty prompt", expected="a text")
    return GoldenAnswer(vector=sketch(said(model, prompt.text), model.sample_rate_hz))


def warm(model: Voice) -> None:
    """Say something, so that dictionaries are read and filters made."""
    said(model, WARM_TEXT)
