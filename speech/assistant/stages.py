"""What a turn of an assistant is spent on: each stage by itself, and all compute of the turn.

Boundary: reads the audio files that the table names; a monotonic clock is read for timings.
Invariants: run it alone on the machine (R3); stages do what a turn does, on the same audio; the first turn is made once
outside the clock.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from speech.assistant.hearing import MARGIN_S
from speech.kinds.dialogue import ask, time_turn
from speech.run import read_audio
from speech.runtimes import Samples
from speech.runtimes.assistant import AssistantModel

if TYPE_CHECKING:
    import pandas


class Stages(NamedTuple):
    """One turn: milliseconds of each stage, all compute, seconds of the user's speech and of the reply.

    `hear_ms` is the hearing of all that was said up to `margin_ms` after the end of speech, `retrieve_ms` and
    `respond_ms` the search and the reply with its check, `speak_ms` the first chunk of speech. `paused`: whether that
    hearing was done before the audio ended, because the speaker's silence was noticed.
    """

    utterance_id: str
    hear_ms: float
    retrieve_ms: float
    respond_ms: float
    speak_ms: float
    compute_s: float
    speech_s: float
    reply_s: float
    paused: bool
    margin_ms: float


def time_stages(
    model: AssistantModel, utterances: pandas.DataFrame, root: Path, *, chunk_ms: int = 100
) -> pandas.DataFrame:
    """One row a turn with the fields of `Stages`; the table has utterance_id, path, tenant and speech_end_s."""
    import pandas

    rows = []
    for number, row in enumerate(utterances.to_dict("records")):
        audio = read_audio(root / str(row["path"]), model.sample_rate_hz)
        if number == 0:
            ask(model, audio, str(row["tenant"]))
        rows.append(_stages(model, audio, row, chunk_ms))
    return pandas.DataFrame(rows, columns=list(Stages._fields))


def _stages(model: AssistantModel, audio: Samples, row: Mapping[Any, Any], chunk_ms: int) -> Stages:
    tenant, speech_s = str(row["tenant"]), float(row["speech_end_s"])
    end = min(audio.size, round((speech_s + MARGIN_S) * model.sample_rate_hz))
    marks = [time.perf_counter()]
    heard = model.asr.transcribe(audio[:end])
    marks.append(time.perf_counter())
    found = model.find(heard.text, tenant)
    marks.append(time.perf_counter())
    reply = model.reply_to(heard, tenant, found)
    marks.append(time.perf_counter())
    next(iter(model.voice.speak(reply.text)))
    marks.append(time.perf_counter())
    hear_ms, retrieve_ms, respond_ms, speak_ms = ((after - before) * 1000 for before, after in pairwise(marks))
    whole = time_turn(model, audio, row, chunk_ms=chunk_ms)
    turn = model.turn(tenant)
    step = round(chunk_ms / 1000 * model.sample_rate_hz)
    for start in range(0, audio.size, step):
        turn.accept(audio[start : start + step])
    return Stages(
        utterance_id=str(row["utterance_id"]),
        hear_ms=hear_ms,
        retrieve_ms=retrieve_ms,
        respond_ms=respond_ms,
        speak_ms=speak_ms,
        compute_s=whole.compute_s,
        speech_s=speech_s,
        reply_s=whole.audio_s,
        paused=turn.settled,
        margin_ms=MARGIN_S * 1000,
    )
