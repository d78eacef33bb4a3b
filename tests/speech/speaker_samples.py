"""Speaker encoders for tests: random weights, and payloads that hold them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from contracts.migration import Space
from speech.ge2e import HIDDEN, MEAN, PROJECTION, SpeakerEncoder, SpeakerFrontEnd
from speech.runtimes import Samples
from speech.speaker_candidates import BASE, write_payload

RATE_HZ = 16_000


def random_weights(seed: int = 1, dimension: int | None = None) -> dict[str, torch.Tensor]:
    """Weights of an encoder, projected to `dimension` components where one is given."""
    torch.manual_seed(seed)
    weights = dict(SpeakerEncoder(SpeakerFrontEnd().mels).state_dict())
    if dimension is not None:
        weights |= {PROJECTION: torch.randn(dimension, HIDDEN), MEAN: torch.rand(HIDDEN) / 10}
    return weights


def random_payload(folder: Path, *, dimension: int | None = None) -> Path:
    space = BASE if dimension is None else Space(name=f"random-{dimension}", dimension=dimension)
    write_payload(folder, random_weights(dimension=dimension), space)
    return folder


def buzz(seconds: float, pitch_hz: float = 120.0, rate_hz: int = RATE_HZ) -> Samples:
    """What the detector takes for a voice: harmonics that rise and fall four times a second, (samples,)."""
    time = np.arange(round(seconds * rate_hz)) / rate_hz
    harmonics = sum(np.sin(2 * np.pi * pitch_hz * number * time) / number for number in range(1, 20))
    swell = 0.6 + 0.4 * np.sin(2 * np.pi * 4 * time)
    voiced: Samples = (0.1 * swell * np.asarray(harmonics)).astype(np.float32)
    return voiced
