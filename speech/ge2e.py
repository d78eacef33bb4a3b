"""GE2E speaker encoder: audio to a vector of unit length that says who speaks.

Boundary: no I/O, no clock, no random number; samples and weights in, vectors out.
Invariants: the numbers are those of the package Resemblyzer 0.1.4 within 1e-4 (tests/speech/test_resemblyzer.py); one
utterance is heard by itself, so that its vector does not depend on what was heard beside it.
Source: Wan et al. 2018, "Generalized End-to-End Loss for Speaker Verification"; the choices of front end, voice
activity and partial utterances are Resemblyzer's.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn

from contracts.document import Document
from speech.runtimes import Samples

HIDDEN = 256
"""Units of a layer, and components of a vector before any projection."""
LAYERS = 3
FULL_SCALE = 32767
"""Of 16-bit samples, which the voice activity detector hears."""
PROJECTION, MEAN = "projection.weight", "projection.mean"
"""Tensors of a payload with a projection: (dimension, HIDDEN), (HIDDEN,)."""


class SpeakerFrontEnd(Document):
    """The file `front_end.json` of a speaker encoder.

    Attributes:
        sample_rate_hz: rate of the samples.
        window_ms, hop_ms, mels: of the mel spectrogram (power, Slaney's scale and norm, centred windows).
        least_level_db: quieter speech is made this loud, RMS to full scale; louder speech is left.
        vad_window_ms, vad_mode: of the WebRTC voice activity detector; windows without voice are cut out.
        vad_average: windows that its decisions are averaged over.
        vad_margin: windows around voice that are kept, half before and half after.
        partial_frames: frames of a partial utterance.
        partials_per_s: how many begin a second.
        least_coverage: share of the last partial utterance that must be audio.
    """

    KIND: ClassVar[str] = "speaker_front_end"

    engine: Literal["resemblyzer"] = "resemblyzer"
    sample_rate_hz: PositiveInt = 16_000
    window_ms: PositiveFloat = 25.0
    hop_ms: PositiveFloat = 10.0
    mels: PositiveInt = 40
    least_level_db: float = -30.0
    vad_window_ms: Literal[10, 20, 30] = 30
    vad_mode: Literal[0, 1, 2, 3] = 3
    vad_average: PositiveInt = 8
    vad_margin: PositiveInt = 7
    partial_frames: PositiveInt = 160
    partials_per_s: PositiveFloat = 1.3
    least_coverage: PositiveFloat = 0.75

    @property
    def hop_samples(self) -> int:
        """Samples between two windows."""
        return round(self.sample_rate_hz * self.hop_ms / 1000)


class SpeakerEncoder(nn.Module):
    """Three LSTM layers and a rectified projection; (utterances, frames, mels) -> (utterances, HIDDEN), of length 1."""

    def __init__(self, mels: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(mels, HIDDEN, LAYERS, batch_first=True)
        self.linear = nn.Linear(HIDDEN, HIDDEN)

    def forward(self, mels: Tensor) -> Tensor:
        """Vectors of partial utterances."""
        _, (hidden, _) = self.lstm(mels)
        return nn.functional.normalize(torch.relu(self.linear(hidden[-1])), dim=1)


class Hearing:
    """A front end and an encoder at work."""

    def __init__(self, front_end: SpeakerFrontEnd, encoder: SpeakerEncoder) -> None:
        self._front_end = front_end
        self._encoder = encoder.eval()
        self._window = torch.hann_window(round(front_end.sample_rate_hz * front_end.window_ms / 1000))
        self._filters = torch.from_numpy(mel_filters(self._window.numel(), front_end))

    def vector(self, voiced: Samples) -> npt.NDArray[np.float32]:
        """The encoder's vector of speech without pauses (`voiced_part`), (samples,) -> (HIDDEN,), of length 1."""
        starts = partial_starts(voiced.size, self._front_end)
        frames = self._front_end.partial_frames
        end = (starts[-1] + frames) * self._front_end.hop_samples
        mels = self._mels(np.pad(voiced, (0, max(0, end - voiced.size))))
        with torch.inference_mode():
            partials = self._encoder(torch.stack([mels[start : start + frames] for start in starts]))
            mean: npt.NDArray[np.float32] = nn.functional.normalize(partials.mean(dim=0), dim=0).numpy()
        return mean

    def _mels(self, samples: Samples) -> Tensor:
        """Mel energies, not their logarithms, (samples,) -> (frames, mels)."""
        spectrum = torch.stft(
            torch.from_numpy(samples), self._window.numel(), self._front_end.hop_samples, window=self._window,
            center=True, pad_mode="constant", return_complex=True,
        )  # fmt: skip
        return (self._filters @ spectrum.abs().square()).T


def voiced_part(audio: Samples, front_end: SpeakerFrontEnd) -> Samples:
    """Speech at the front end's level without its long pauses, (samples,); empty where nobody speaks."""
    from scipy.ndimage import binary_dilation

    levelled = _loud_enough(audio, front_end.least_level_db)
    step = front_end.vad_window_ms * front_end.sample_rate_hz // 1000
    windows = levelled[: levelled.size - levelled.size % step].reshape(-1, step)
    if not len(windows):
        return windows.ravel()
    width = front_end.vad_average
    padded = np.pad(_voice(windows, front_end), ((width - 1) // 2, width // 2))
    averaged = np.convolve(padded, np.full(width, 1 / width), mode="valid")
    kept = binary_dilation(np.round(averaged).astype(bool), np.ones(front_end.vad_margin))
    return np.ascontiguousarray(windows[kept].ravel())


def _loud_enough(audio: Samples, level_db: float) -> Samples:
    power = float(np.mean(np.square(audio, dtype=np.float64))) if audio.size else 0.0
    if power == 0.0:
        return audio
    return audio * np.float32(max(1.0, 10 ** (level_db / 20) / np.sqrt(power)))


def _voice(windows: npt.NDArray[np.float32], front_end: SpeakerFrontEnd) -> npt.NDArray[np.float64]:
    """1 for each window in which the detector hears a voice, else 0; (windows,)."""
    import webrtcvad

    detector = webrtcvad.Vad(mode=front_end.vad_mode)
    heard = np.round(np.clip(windows, -1, 1) * FULL_SCALE).astype("<i2")
    return np.array([detector.is_speech(one.tobytes(), front_end.sample_rate_hz) for one in heard], dtype=np.float64)


def partial_starts(samples: int, front_end: SpeakerFrontEnd) -> list[int]:
    """First frames of the partial utterances of so much speech; at least one."""
    hop, length = front_end.hop_samples, front_end.partial_frames
    frames = -(-(samples + 1) // hop)
    step = round(front_end.sample_rate_hz / front_end.partials_per_s / hop)
    starts = list(range(0, max(1, frames - length + step + 1), step))
    covered = (samples / hop - starts[-1]) / length
    return starts[:-1] if covered < front_end.least_coverage and len(starts) > 1 else starts


def mel_filters(fft_samples: int, front_end: SpeakerFrontEnd) -> npt.NDArray[np.float32]:
    """Triangles of equal area on Slaney's mel scale from 0 Hz to half the rate, (mels, bins)."""
    bins_hz = np.fft.rfftfreq(fft_samples, 1 / front_end.sample_rate_hz)
    edges_hz = _slaney_hz(np.linspace(0, _slaney_mel(front_end.sample_rate_hz / 2), front_end.mels + 2))
    left, centre, right = edges_hz[:-2, None], edges_hz[1:-1, None], edges_hz[2:, None]
    triangles = np.minimum((bins_hz - left) / (centre - left), (right - bins_hz) / (right - centre))
    filters: npt.NDArray[np.float32] = (np.maximum(0.0, triangles) * 2 / (right - left)).astype(np.float32)
    return filters


_LINEAR_HZ = 200 / 3
"""Hz of a mel below 1 kHz; above, a mel is a step of _LOGARITHM in ln(Hz). Source: Slaney's Auditory Toolbox, 1998."""
_LOGARITHM = np.log(6.4) / 27
_KNEE_HZ = 1000.0
_KNEE_MEL = _KNEE_HZ / _LINEAR_HZ


def _slaney_mel(hz: float) -> float:
    return float(_KNEE_MEL + np.log(hz / _KNEE_HZ) / _LOGARITHM) if hz > _KNEE_HZ else hz / _LINEAR_HZ


def _slaney_hz(mels: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.where(mels < _KNEE_MEL, mels * _LINEAR_HZ, _KNEE_HZ * np.exp(_LOGARITHM * (mels - _KNEE_MEL)))
