"""Audio on its way in: from uploaded bytes or PCM frames to samples at the model's rate.

Boundary: no files, no network; bytes in, samples out.
Invariants: a rate the feature contract does not name is refused, never resampled silently (R6.2); an accepted rate
unlike the model's goes through the declared resampler (soxr); nothing over MAX_AUDIO_S or MAX_UPLOAD_BYTES is decoded.
"""

from __future__ import annotations

import io
from typing import NamedTuple

import numpy as np
import soundfile
import soxr

from contracts.feature_contract import FeatureContract
from contracts.serving_api import MAX_AUDIO_S
from serving.link import ServingFailure
from speech.runtimes import Samples

MAX_UPLOAD_BYTES = 64 << 20
"""Bytes of an upload: ten minutes of 48 kHz 16-bit mono and its container."""

QUALITY = {"soxr-hq": "HQ", "soxr-vhq": "VHQ", "soxr-mq": "MQ"}
"""The resamplers a feature contract may declare, and soxr's name for each."""

_FULL_SCALE = np.float32(1 / 32768)


class Audio(NamedTuple):
    """Samples at the model's rate; how long the client's audio lasts and the rate that it was sent at."""

    samples: Samples
    duration_s: float
    sent_rate_hz: int


def check_rate(rate_hz: int, contract: FeatureContract) -> None:
    """Refuse a rate the contract does not name (R6.2)."""
    if rate_hz not in contract.accepted_rates_hz:
        accepted = ", ".join(str(rate) for rate in contract.accepted_rates_hz)
        failure = ServingFailure(
            "unsupported_rate",
            f"the audio has {rate_hz} Hz; this model accepts {accepted} Hz: resample it before sending",
            param="file",
        )
        failure.sent_rate_hz = rate_hz
        raise failure


def _quality(contract: FeatureContract) -> str:
    return QUALITY.get(contract.resampler, "HQ")


def decode(content: bytes, contract: FeatureContract) -> Audio:
    """Decode an uploaded file (WAV, FLAC, Ogg, ...); raises ServingFailure naming what is wrong with it."""
    if not content:
        raise ServingFailure("empty_audio", "the file is empty", param="file")
    try:
        with soundfile.SoundFile(io.BytesIO(content)) as file:
            check_rate(file.samplerate, contract)
            if file.channels != contract.channels:
                raise ServingFailure(
                    "unsupported_channels",
                    f"the audio has {file.channels} channels; this model accepts {contract.channels}",
                    param="file",
                )
            longest = int(MAX_AUDIO_S * file.samplerate)
            # The header's count may lie, so at most one sample over the limit is decoded whatever it says.
            samples: Samples = file.read(frames=longest + 1, dtype="float32")
            rate_hz = file.samplerate
    except (soundfile.LibsndfileError, RuntimeError, ValueError):
        raise ServingFailure(
            "not_audio", "the file is not audio that can be decoded; send WAV, FLAC or Ogg", param="file"
        ) from None
    if samples.size > longest:
        raise ServingFailure("too_long", f"the audio lasts over {MAX_AUDIO_S:.0f} s", param="file")
    return _checked(samples, rate_hz, contract)


def _checked(samples: Samples, rate_hz: int, contract: FeatureContract) -> Audio:
    if not samples.size:
        raise ServingFailure("empty_audio", "the file holds no samples", param="file")
    if not np.isfinite(samples).all():
        raise ServingFailure("not_audio", "the audio holds samples that are not finite numbers", param="file")
    duration_s = samples.size / rate_hz
    if rate_hz != contract.sample_rate_hz:
        samples = soxr.resample(samples, rate_hz, contract.sample_rate_hz, quality=_quality(contract))
    return Audio(np.ascontiguousarray(samples, dtype=np.float32), duration_s, rate_hz)


class PcmStream:
    """Frames of little-endian 16-bit mono PCM of one stream, turned into samples at the model's rate."""

    def __init__(self, rate_hz: int, contract: FeatureContract) -> None:
        """Raises ServingFailure where the contract does not name `rate_hz`."""
        check_rate(rate_hz, contract)
        self._rate_hz = rate_hz
        self._contract = contract
        self._received = 0
        self.restart()

    def restart(self) -> None:
        """Forget what the resampler holds back; the count of the stream's audio goes on."""
        self._resampler = None
        if self._rate_hz != self._contract.sample_rate_hz:
            self._resampler = soxr.ResampleStream(
                self._rate_hz, self._contract.sample_rate_hz, 1, dtype="float32", quality=_quality(self._contract)
            )

    @property
    def audio_s(self) -> float:
        """Seconds of the client's audio so far."""
        return self._received / self._rate_hz

    def accept(self, frame: bytes) -> Samples:
        """The samples of one frame; raises ServingFailure on half a sample or over MAX_AUDIO_S."""
        if len(frame) % 2:
            raise ServingFailure("bad_request", "a frame holds half a sample; send whole 16-bit samples")
        self._received += len(frame) // 2
        if self.audio_s > MAX_AUDIO_S:
            raise ServingFailure("too_long", f"the stream lasts over {MAX_AUDIO_S:.0f} s")
        samples: Samples = np.frombuffer(frame, dtype="<i2") * _FULL_SCALE
        return samples if self._resampler is None else self._resample(samples, last=False)

    def flush(self) -> Samples:
        """What the resampler still holds back at the end."""
        nothing: Samples = np.zeros(0, dtype=np.float32)
        return nothing if self._resampler is None else self._resample(nothing, last=True)

    def _resample(self, samples: Samples, *, last: bool) -> Samples:
        assert self._resampler is not None
        resampled: Samples = self._resampler.resample_chunk(samples, last=last)
        return resampled
