"""Audio to text: what speech/run.py does, in the shape of every task.

Boundary: as speech/run.py.
Invariants: as speech/run.py.
"""

from __future__ import annotations

import numpy as np

from contracts.bundle import GoldenAnswer
from speech.kinds import Prompt
from speech.run import read_audio, run_pack, time_pack
from speech.runtimes import Runtime, Samples

__all__ = ["answer", "hears", "run_pack", "time_pack", "warm"]

hears = True

_WARM_S = 0.5
_WARM_TURNS = 2


def answer(model: Runtime, prompt: Prompt) -> GoldenAnswer:
    """The transcript of one recording."""
    assert prompt.path is not None
    return GoldenAnswer(text=model.transcribe(read_audio(prompt.path, model.sample_rate_hz)).text)


def warm(model: Runtime) -> None:
    """Hear silence, whole and as a stream."""
    silence: Samples = np.zeros(round(_WARM_S * model.sample_rate_hz), dtype=np.float32)
    for _ in range(_WARM_TURNS):
        model.transcribe(silence)
        stream = model.stream()
        stream.accept(silence)
        stream.finish()
