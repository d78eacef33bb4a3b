"""A classifier of sounds: the class whose mean picture (bands by quarters of the clip) is nearest.

Boundary: reads its payload when it is loaded and nothing afterwards.
Invariants: the same payload and the same clip give the same scores.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file

from speech.runtimes import Samples
from speech.runtimes.kinds import Classified

RATE_HZ = 16_000
CLASSES = ("alarm", "bell", "other")
QUARTERS, BANDS = 4, 12


def picture(audio: Samples) -> npt.NDArray[np.float32]:
    """Loudness of each band in each quarter of a clip, without its level: (QUARTERS * BANDS,)."""
    padded = np.pad(audio, (0, max(0, QUARTERS * 2 * BANDS - audio.size)))
    quarters = np.array_split(padded, QUARTERS)
    powers = [np.array_split(np.abs(np.fft.rfft(quarter)) ** 2, BANDS) for quarter in quarters]
    loudness = np.log([[band.sum() + 1e-6 for band in bands] for bands in powers])
    return np.asarray(loudness - loudness.mean(), dtype=np.float32).ravel()


class Engine:
    """A loaded classifier; `centres` has a row a class, (classes, QUARTERS * BANDS)."""

    task: Literal["classification"] = "classification"
    sample_rate_hz = RATE_HZ
    classes = CLASSES

    def __init__(self, centres: npt.NDArray[np.float32]) -> None:
        self._centres = centres

    def classify(self, audio: Samples) -> Classified:
        """The class of a clip, (samples,)."""
        distances = np.mean((self._centres - picture(audio)) ** 2, axis=1)
        scores = np.exp(distances.min() - distances)
        scores = scores / scores.sum()
        return Classified(CLASSES[int(scores.argmax())], tuple(float(score) for score in scores))


def load(payload: Path, *, threads: int = 1) -> Engine:
    """Load `weights.safetensors`; `threads` means nothing to so small a model."""
    del threads
    return Engine(load_file(payload / "weights.safetensors")["centres"])
