"""Speech to speech: turns over a pack, on the clock, on one fixture; and turns that begin while a reply is spoken.

Boundary: reads the audio files that tables name; a clock is read for timings alone.
Invariants: every turn is a tenant's (column `tenant`); a turn that speaks over a reply is right when it is answered as
it is in silence, with the residue of the reply in its audio; timings are on virtual time: a chunk arrives when its
audio has been spoken, and what a model does meanwhile costs its user nothing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from contracts.bundle import GoldenAnswer
from speech.kinds import Prompt
from speech.playback import starves
from speech.run import Progress, read_audio
from speech.runtimes import Samples
from speech.runtimes.kinds import Assistant, Reply, Turn

if TYPE_CHECKING:
    import pandas

hears = True

OVERLAP_S = 0.3
"""How long a client goes on playing after its user began to speak: until the detector fires and playback is stopped."""
RESIDUE_DB = -30.0
"""What an echo canceller leaves of the reply in the microphone; ITU-T G.168 asks for more, cheap headsets do less."""
_WARM_S = 0.5


def ask(model: Assistant, audio: Samples, tenant: str) -> tuple[Turn, Reply]:
    """One turn that hears all of its audio, (samples,) at the model's rate."""
    turn = model.turn(tenant)
    turn.accept(audio)
    return turn, turn.reply()


def speak_over(model: Assistant, first: Samples, second: Samples, tenant: str) -> Reply:
    """The reply to `second`, said while the reply to `first` is being spoken, both (samples,) at the model's rate.

    The second turn begins when the first has given one chunk of its speech; OVERLAP_S of it stands in the new audio at
    RESIDUE_DB.
    """
    import soxr

    turn, _ = ask(model, first, tenant)
    speech = turn.speak()
    said = next(iter(speech))[: round(OVERLAP_S * model.voice_rate_hz)]
    close = getattr(speech, "close", None)
    if close is not None:
        close()
    residue = soxr.resample(said, model.voice_rate_hz, model.sample_rate_hz, quality="HQ")[: second.size]
    heard = second.copy()
    heard[: residue.size] += residue * 10 ** (RESIDUE_DB / 20)
    return ask(model, heard.clip(-1.0, 1.0), tenant)[1]


def run_pack(
    model: Assistant, utterances: pandas.DataFrame, root: Path, *, on_progress: Progress | None = None
) -> pandas.DataFrame:
    """One turn an utterance.

    Returns:
        One row an utterance, in order: utterance_id, text (what was heard), confidence, reply, citations (joined by
        commas), grounded, handoff, tokens, and barged_in: where the pack's column `interrupts` names a recording, 1.0
        when the reply is the same while the reply to that one is spoken, else 0.0; NaN where it names none.
    """
    import pandas

    rows = []
    for number, row in enumerate(utterances.to_dict("records"), 1):
        tenant = str(row.get("tenant", ""))
        audio = read_audio(root / str(row["path"]), model.sample_rate_hz)
        _, reply = ask(model, audio, tenant)
        over = str(row.get("interrupts") or "")
        rows.append(
            {
                "utterance_id": row["utterance_id"],
                "text": reply.heard.text,
                "confidence": reply.heard.confidence,
                "reply": reply.text,
                "citations": ",".join(reply.citations),
                "grounded": float(reply.grounded),
                "handoff": float(reply.handoff),
                "tokens": float(reply.tokens),
                "barged_in": _barged_in(model, root / over, audio, tenant, reply) if over else math.nan,
            }
        )
        if on_progress is not None:
            on_progress(number, len(utterances))
    return pandas.DataFrame(rows).astype({"confidence": "float64"})


def _barged_in(model: Assistant, over: Path, audio: Samples, tenant: str, alone: Reply) -> float:
    reply = speak_over(model, read_audio(over, model.sample_rate_hz), audio, tenant)
    return float((reply.text, reply.citations) == (alone.text, alone.citations))


class Timing(NamedTuple):
    """One turn on virtual time; NaN where there is no such moment.

    `first_partial_ms` runs from the start of the audio to the first words shown. From the end of the user's speech
    (column `speech_end_s`; else the end of the audio) run `first_audio_ms`, to the first samples of the reply, and
    `final_ms`, until all of it is there. The end of a turn is told by the end of the audio, so that the silence after
    the speech is the wait of an endpointer. `audio_s` is what was spoken; `starved`: whether playing it would have.
    """

    utterance_id: str
    first_partial_ms: float
    first_audio_ms: float
    final_ms: float
    starved: bool
    compute_s: float
    audio_s: float


def time_pack(
    models: Mapping[str, Assistant],
    utterances: pandas.DataFrame,
    root: Path,
    *,
    chunk_ms: int = 100,
    on_progress: Progress | None = None,
) -> dict[str, pandas.DataFrame]:
    """Timings of several assistants over the same turns, each first in its turn; run it alone on the machine (R3)."""
    import pandas

    names = list(models)
    rows: dict[str, list[Timing]] = {name: [] for name in names}
    for number, row in enumerate(utterances.to_dict("records")):
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            audio = read_audio(root / str(row["path"]), models[name].sample_rate_hz)
            rows[name].append(time_turn(models[name], audio, row, chunk_ms=chunk_ms))
        if on_progress is not None:
            on_progress(number + 1, len(utterances))
    return {name: pandas.DataFrame(rows[name], columns=list(Timing._fields)) for name in names}


def time_turn(model: Assistant, audio: Samples, row: Mapping[Any, Any], *, chunk_ms: int) -> Timing:
    """One turn on virtual time (see Timing); `row` is the utterance's, of the pack."""
    turn = model.turn(str(row.get("tenant", "")))
    step = max(1, round(chunk_ms / 1000 * model.sample_rate_hz))
    ready_s = compute_s = 0.0
    first_s = math.nan
    for start in range(0, audio.size, step):
        began = time.perf_counter()
        partial = turn.accept(audio[start : start + step])
        spent_s = time.perf_counter() - began
        compute_s += spent_s
        ready_s = max(ready_s, min(start + step, audio.size) / model.sample_rate_hz) + spent_s
        if partial is not None and partial.text and math.isnan(first_s):
            first_s = ready_s
    began = time.perf_counter()
    turn.reply()
    chunks = [(time.perf_counter() - began, chunk.size / model.voice_rate_hz) for chunk in turn.speak()]
    ended_s = float(row.get("speech_end_s", audio.size / model.sample_rate_hz))
    return Timing(
        utterance_id=str(row["utterance_id"]),
        first_partial_ms=first_s * 1000,
        first_audio_ms=(ready_s + chunks[0][0] - ended_s) * 1000,
        final_ms=(ready_s + chunks[-1][0] - ended_s) * 1000,
        starved=starves(chunks),
        compute_s=compute_s + chunks[-1][0],
        audio_s=sum(length_s for _, length_s in chunks),
    )


def answer(model: Assistant, prompt: Prompt) -> GoldenAnswer:
    """What was heard and what was replied, and the passages that were cited."""
    assert prompt.path is not None
    _, reply = ask(model, read_audio(prompt.path, model.sample_rate_hz), prompt.tenant)
    return GoldenAnswer(text=f"{reply.heard.text}\n{reply.text}", label=",".join(reply.citations))


def warm(model: Assistant) -> None:
    """Hear noise, which no tenant has an answer to, and speak the reply."""
    noise = np.random.default_rng(0).normal(0.0, 0.01, round(_WARM_S * model.sample_rate_hz)).astype(np.float32)
    turn, _ = ask(model, noise, "")
    for _ in turn.speak():
        pass
