"""Silero VAD: is somebody speaking, every 32 ms, run by ONNX Runtime; a clip's class is that of its surest stretch.

Boundary: reads the payload folder when it is loaded and nothing afterwards; needs the package onnxruntime alone, not
the package that the weights came from.
Invariants: the state is new for every clip, so that a clip's class depends on its own samples; a fixed number of
threads, so that the same audio gives the same scores.
Source: Silero Team 2024, "Silero VAD" (github.com/snakers4/silero-vad), its ONNX interface: 512 samples behind the last
64 of the chunk before, a state of (2, 1, 128).

Files of the payload
    model.onnx       (1, 576) samples, state, rate -> (1, 1) probability of speech, state
    classifier.json  classes (without speech, with speech); smooth_ms: the stretch over which probabilities are averaged
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from contracts.errors import Refused
from speech.runtimes import OutputsNotFinite, Samples
from speech.runtimes.kinds import Classified
from speech.runtimes.onnx import load_session

SAMPLE_RATE_HZ = 16_000
CHUNK, CONTEXT = 512, 64
FILES = ("model.onnx", "classifier.json")


def load(payload: Path, *, threads: int = 1) -> SileroRuntime:
    """Load the engine from its payload folder alone; raises Refused for a payload that lacks or mixes up files."""
    missing = [name for name in FILES if not (payload / name).is_file()]
    if missing:
        raise _refused("missing: " + ", ".join(missing))
    try:
        settings = json.loads((payload / "classifier.json").read_bytes())
        without, speech = settings["classes"]
        smooth = max(1, round(settings["smooth_ms"] / 1000 * SAMPLE_RATE_HZ / CHUNK))
        session = load_session(payload / "model.onnx", threads=threads)
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise _refused(str(error) or type(error).__name__) from None
    return SileroRuntime(session, (str(without), str(speech)), smooth)


def _refused(got: str) -> Refused:
    return Refused(
        "a silero payload cannot be loaded",
        where="payload",
        got=got,
        expected="the files that `python -m speech.third_party` writes",
        next_step="build the candidate again: python -m speech.third_party silero-vad --out DIR",
    )


class SileroRuntime:
    """A loaded Silero VAD (speech.runtimes.kinds.Classifier)."""

    task: Literal["classification"] = "classification"
    sample_rate_hz = SAMPLE_RATE_HZ

    def __init__(self, session: Any, classes: tuple[str, str], smooth: int) -> None:
        self._session = session
        self.classes = classes
        self._smooth = smooth

    def classify(self, audio: Samples) -> Classified:
        """The class of one clip, (samples,) at 16 kHz; speech where its surest stretch is speech."""
        found = self.probabilities(audio)
        stretch = min(self._smooth, found.size)
        speech = float(np.convolve(found, np.full(stretch, 1 / stretch), "valid").max())
        return Classified(self.classes[int(speech >= 0.5)], (1 - speech, speech))

    def probabilities(self, audio: Samples) -> npt.NDArray[np.float64]:
        """How likely somebody speaks in each 32 ms, (chunks,), at least one; the last chunk is filled up by silence."""
        chunks = max(1, -(-audio.size // CHUNK))
        samples = np.pad(audio.astype(np.float32), (CONTEXT, chunks * CHUNK - audio.size))
        state = np.zeros((2, 1, 128), np.float32)
        rate = np.array(SAMPLE_RATE_HZ, np.int64)
        found = np.empty(chunks)
        for place in range(chunks):
            heard = samples[None, place * CHUNK : (place + 1) * CHUNK + CONTEXT]
            output, state = self._session.run(None, {"input": heard, "state": state, "sr": rate})
            found[place] = output[0, 0]
        if not np.isfinite(found).all():
            raise OutputsNotFinite(got="NaN or infinity among its scores", expected="finite scores for every clip")
        return found
