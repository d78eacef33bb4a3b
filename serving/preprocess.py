"""Preprocess: what a client sent becomes what the model hears, and is measured on the way (coverage row 31).

Boundary: no files, no network. Decoding and declared resampling are serving/audio.py; this is level, clipping, voice
activity (WebRTC's detector, webrtcvad) and a proxy of the signal-to-noise ratio.
Invariants: measuring never changes a sample; what is measured does not depend on how the audio was cut into chunks;
nothing that is measured can be turned back into speech (counts, decibels and times alone).

Definitions: a frame is FRAME_MS; frames that the detector calls speech make a segment, gaps up to JOIN_S within it
belong to it and runs shorter than SHORTEST_S are no speech; level is the RMS of all samples to full scale; SNR is the
mean power of speech frames to that of the others; clipped is the share of samples at full scale.
"""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np
import webrtcvad

from contracts.feature_contract import FeatureContract
from serving.audio import PcmStream
from speech.runtimes import Samples

FRAME_MS = 20
VAD_RATES_HZ = (8_000, 16_000, 32_000, 48_000)
"""Rates that the detector knows; at others voice activity and SNR are not measured."""

VAD_MODE = 2
"""Of 0 (calls much speech) to 3 (calls little)."""

JOIN_S = 0.3
SHORTEST_S = 0.1
FLOOR_DBFS = -96.0
"""The level of digital silence: one step of 16 bits is -90 dBFS."""

_FULL_SCALE = np.float32(32767 / 32768)
_FLOOR_POWER = 10 ** (FLOOR_DBFS / 10)


class Acoustics(NamedTuple):
    """What telemetry says of an utterance's audio; see TelemetryRow for units."""

    speech_s: float | None
    segments: tuple[tuple[float, float], ...] | None
    level_dbfs: float | None
    snr_db: float | None
    clipped: float | None


def _decibels(power: float) -> float:
    return round(10 * float(np.log10(max(power, _FLOOR_POWER))), 1)


class _Segments:
    """Frames called speech, gathered into segments."""

    def __init__(self) -> None:
        self._frames = 0
        self._begin: int | None = None
        self._end = 0
        self._done: list[tuple[float, float]] = []

    def frame(self, speech: bool) -> None:
        if speech:
            if self._begin is None:
                self._begin = self._frames
            self._end = self._frames + 1
        elif self._begin is not None and self._frames - self._end >= JOIN_S * 1000 / FRAME_MS:
            self._close()
        self._frames += 1

    def _close(self) -> None:
        assert self._begin is not None
        if (self._end - self._begin) * FRAME_MS >= SHORTEST_S * 1000:
            self._done.append((self._begin * FRAME_MS / 1000, self._end * FRAME_MS / 1000))
        self._begin = None

    def all(self) -> tuple[tuple[float, float], ...]:
        """Segments so far, the open one included; calling it changes nothing that follows."""
        kept, begin = list(self._done), self._begin
        if begin is not None:
            self._close()
        found, self._done, self._begin = tuple(self._done), kept, begin
        return found


class Meter:
    """Measures one utterance, chunk by chunk; a rest shorter than a frame is measured in level and clipping alone."""

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._frame = rate_hz * FRAME_MS // 1000
        self._detector = webrtcvad.Vad(VAD_MODE) if rate_hz in VAD_RATES_HZ else None
        self._rest: Samples = np.zeros(0, dtype=np.float32)
        self._count = self._clipped = 0
        self._power = 0.0
        self._segments = _Segments()
        self._powers = {True: 0.0, False: 0.0}
        self._frames = {True: 0, False: 0}

    def add(self, samples: Samples) -> None:
        """Measure the next samples: (n,) float32 in [-1, 1] at the meter's rate."""
        if not samples.size:
            return
        self._count += samples.size
        self._power += float(np.dot(samples, samples))
        self._clipped += int(np.count_nonzero(np.abs(samples) >= _FULL_SCALE))
        if self._detector is not None:
            self._detect(samples if not self._rest.size else np.concatenate([self._rest, samples]))

    def _detect(self, samples: Samples) -> None:
        assert self._detector is not None
        whole = samples.size // self._frame
        self._rest = samples[whole * self._frame :].copy()
        frames = samples[: whole * self._frame].reshape(whole, self._frame)
        powers = (np.einsum("ij,ij->i", frames, frames) / self._frame).tolist()
        pcm = (np.clip(frames, -1, 1) * 32767).astype("<i2").tobytes()
        step = self._frame * 2
        for index, power in enumerate(powers):
            speech = self._detector.is_speech(pcm[index * step : (index + 1) * step], self._rate_hz)
            self._segments.frame(speech)
            self._powers[speech] += power
            self._frames[speech] += 1

    def acoustics(self) -> Acoustics:
        """What was measured so far."""
        if not self._count:
            return Acoustics(None, None, None, None, None)
        level, clipped = _decibels(self._power / self._count), self._clipped / self._count
        if self._detector is None:
            return Acoustics(None, None, level, None, clipped)
        segments = self._segments.all()
        speech_s = sum((end - begin for begin, end in segments), 0.0)
        return Acoustics(round(speech_s, 3), segments, level, self._snr_db(), clipped)

    def _snr_db(self) -> float | None:
        """None where there is no speech, or nothing else."""
        if not (self._frames[True] and self._frames[False]):
            return None
        signal, noise = (self._powers[speech] / self._frames[speech] for speech in (True, False))
        return round(_decibels(signal) - _decibels(noise), 1)


def measure(samples: Samples, rate_hz: int) -> Acoustics:
    """The acoustics of a whole utterance, (n,) float32 at `rate_hz`."""
    meter = Meter(rate_hz)
    meter.add(samples)
    return meter.acoustics()


class StreamPreprocessor:
    """Frames of one stream: decoded, resampled as declared, measured; `took_ms` is what that has taken."""

    def __init__(self, rate_hz: int, contract: FeatureContract) -> None:
        """Raises ServingFailure where the contract does not name `rate_hz`."""
        self._pcm = PcmStream(rate_hz, contract)
        self._meter = Meter(contract.sample_rate_hz)
        self.took_ms = 0.0

    @property
    def audio_s(self) -> float:
        """Seconds of the client's audio so far."""
        return self._pcm.audio_s

    def accept(self, frame: bytes) -> Samples:
        """The samples of one frame at the model's rate; raises what PcmStream.accept raises."""
        began = time.perf_counter()
        samples = self._measured(self._pcm.accept(frame))
        self.took_ms += (time.perf_counter() - began) * 1000
        return samples

    def flush(self) -> Samples:
        """What the resampler still holds back at the end."""
        return self._measured(self._pcm.flush())

    def restart(self) -> None:
        """A new utterance begins: nothing of the one before gets into it. What is measured is the whole stream."""
        self._pcm.restart()

    def acoustics(self) -> Acoustics:
        """What was measured so far."""
        return self._meter.acoustics()

    def _measured(self, samples: Samples) -> Samples:
        self._meter.add(samples)
        return samples
