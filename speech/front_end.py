"""Log-mel features in torch: streaming and offline are one code path.

Boundary: no I/O, no clock, no random number; a configuration and samples in, features out.
Invariants: frame i depends on the samples of its own window alone (no centring, no utterance statistics), so features
do not depend on how audio is cut into chunks; `checksum` changes when anything that changes features does.
Source: HTK mel scale with Slaney-style triangular filters in power, natural logarithm over a floor.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from contracts.digest import Digest, digest_of
from contracts.document import Document

PROBE_S = 1.0
PROBE_LOW_HZ = 100.0


class FrontEndConfig(Document):
    """The file `front_end.json`.

    Attributes:
        sample_rate_hz: rate of the samples.
        window_ms, hop_ms: analysis window (Hann) and step.
        fft_samples: length of the zero-padded transform, samples.
        mels: bands from `low_hz` to `high_hz`.
        floor: least mel energy before the logarithm (samples in [-1, 1]).
        normalisation: `affine`: (log-mel - offset) / scale with constants, the same for every utterance.
    """

    KIND: ClassVar[str] = "front_end"

    sample_rate_hz: PositiveInt = 16000
    window_ms: PositiveFloat = 25.0
    hop_ms: PositiveFloat = 10.0
    fft_samples: PositiveInt = 512
    mels: PositiveInt = 40
    low_hz: PositiveFloat = 60.0
    high_hz: PositiveFloat = 7600.0
    floor: PositiveFloat = 1e-4
    normalisation: Literal["affine"] = "affine"
    offset: float = -3.0
    scale: PositiveFloat = 4.0

    @property
    def window_samples(self) -> int:
        """Samples of one window."""
        return round(self.sample_rate_hz * self.window_ms / 1000)

    @property
    def hop_samples(self) -> int:
        """Samples between two windows."""
        return round(self.sample_rate_hz * self.hop_ms / 1000)


def checksum(config: FrontEndConfig) -> Digest:
    """The digest of the configuration's canonical JSON (R6.2)."""
    return config.digest()


def checksum_of(value: dict[str, Any]) -> Digest:
    """The same digest for a configuration as plain JSON (engines with a front end of their own)."""
    return digest_of(value)


class LogMel:
    """The front end of one configuration; holds constant tables only, so that streams can share it."""

    def __init__(self, config: FrontEndConfig) -> None:
        self.config = config
        self._window = torch.hann_window(config.window_samples, periodic=True, dtype=torch.float32)
        self._filters = _mel_filters(config)

    def frames(self, samples: Tensor) -> Tensor:
        """Normalised log-mel of every whole window, (samples,) -> (frames, mels); no frame where audio is shorter."""
        config = self.config
        if samples.shape[-1] < config.window_samples:
            return torch.zeros((0, config.mels))
        windows = samples.unfold(-1, config.window_samples, config.hop_samples) * self._window
        spectrum = torch.fft.rfft(windows, n=config.fft_samples)
        power = spectrum.real.square() + spectrum.imag.square()
        energy = (power @ self._filters).clamp_min(config.floor)
        normalised: Tensor = (energy.log() - config.offset) / config.scale
        return normalised

    def stream(self) -> FeatureStream:
        """A new utterance, chunk by chunk."""
        return FeatureStream(self)


class FeatureStream:
    """Keeps the samples that a later window still needs; the only state of the front end."""

    def __init__(self, front_end: LogMel) -> None:
        self._front_end = front_end
        self._rest = torch.zeros(0)

    def accept(self, samples: Tensor) -> Tensor:
        """Frames that became whole with these samples, (samples,) -> (frames, mels)."""
        config = self._front_end.config
        audio = torch.cat([self._rest, samples])
        features = self._front_end.frames(audio)
        self._rest = audio[features.shape[0] * config.hop_samples :]
        return features


def probe_signal(config: FrontEndConfig) -> Tensor:
    """A fixed exponential chirp of one second at half scale, (samples,)."""
    rate_hz = config.sample_rate_hz
    seconds = np.arange(round(PROBE_S * rate_hz)) / rate_hz
    top_hz = 0.45 * rate_hz
    growth = math.log(top_hz / PROBE_LOW_HZ)
    phase = 2 * math.pi * PROBE_LOW_HZ * PROBE_S / growth * (np.exp(seconds / PROBE_S * growth) - 1)
    return torch.from_numpy((0.5 * np.sin(phase)).astype(np.float32))


def probe(config: FrontEndConfig) -> tuple[float, ...]:
    """Mean log-mel per band of the probe signal (natural log, before normalisation), for the feature contract."""
    features = LogMel(config).frames(probe_signal(config)).double()
    return tuple(round(float(value), 6) for value in features.mean(0) * config.scale + config.offset)


def _mel_filters(config: FrontEndConfig) -> Tensor:
    """Triangles in the power spectrum, (bins, mels); a band narrower than a bin takes its nearest bin."""
    bins_hz = np.arange(config.fft_samples // 2 + 1) * config.sample_rate_hz / config.fft_samples
    low, high = (2595 * math.log10(1 + hz / 700) for hz in (config.low_hz, config.high_hz))
    edges_hz = 700 * (10 ** (np.linspace(low, high, config.mels + 2) / 2595) - 1)
    left, centre, right = (edges_hz[start : start + config.mels] for start in range(3))
    rising = (bins_hz[:, None] - left) / (centre - left)
    falling = (right - bins_hz[:, None]) / (right - centre)
    filters = np.maximum(0.0, np.minimum(rising, falling))
    for band in np.flatnonzero(filters.sum(0) == 0):
        filters[np.argmin(np.abs(bins_hz - centre[band])), band] = 1.0
    return torch.from_numpy(filters.astype(np.float32))
