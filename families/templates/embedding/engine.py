"""Voiceprints: how loud a voice is in each band, beside the voices of the training data.

Boundary: reads its payload when it is loaded and nothing afterwards.
Invariants: vectors have length 1; every payload of one `space` gives vectors that may be compared.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np

from contracts.errors import Refused
from speech.runtimes import Samples
from speech.runtimes.kinds import Vector

RATE_HZ = 16_000
FRAME = 400
"""Samples of a frame: 25 ms."""
BANDS = 24


def timbre(audio: Samples, quietest: float) -> Vector:
    """Mean loudness of each band over the frames that are louder than `quietest` of all, without level: (BANDS,).

    Raises Refused for audio that is shorter than a frame, or silent.
    """
    frames = audio[: audio.size // FRAME * FRAME].reshape(-1, FRAME)
    loudness = np.mean(frames**2, axis=1)
    if not frames.size or loudness.max() < 1e-9:
        raise Refused("nobody is heard", got=f"{audio.size / RATE_HZ:.2f} s of silence", expected="a voice")
    voiced = frames[loudness >= np.quantile(loudness, quietest)]
    powers = np.abs(np.fft.rfft(voiced * np.hanning(FRAME))) ** 2
    bands = np.log([band.sum(axis=1) + 1e-9 for band in np.array_split(powers, BANDS, axis=1)]).mean(axis=1)
    return np.asarray(bands - bands.mean(), dtype=np.float32)


class Engine:
    """A loaded embedder: the mean timbre of all voices, the bands that are heard, and which frames are."""

    task: Literal["embedding"] = "embedding"
    sample_rate_hz = RATE_HZ
    dimension = BANDS

    def __init__(self, model: dict[str, Any]) -> None:
        self.space: str = model["space"]
        self._quietest: float = model["quietest"]
        self._mean = np.array(model["mean"], dtype=np.float32)
        self._heard = np.array(model["heard"], dtype=np.float32)

    def embed(self, audio: Samples) -> Vector:
        """The voiceprint of an utterance, (samples,): (BANDS,), of length 1."""
        apart = (timbre(audio, self._quietest) - self._mean) * self._heard
        return np.asarray(apart / max(float(np.linalg.norm(apart)), 1e-9), dtype=np.float32)


def load(payload: Path, *, threads: int = 1) -> Engine:
    """Load `model.json`; `threads` means nothing to so small a model."""
    del threads
    return Engine(json.loads((payload / "model.json").read_text()))
