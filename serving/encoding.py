"""Audio on its way out: samples to the bytes of a format, chunk by chunk or all at once.

Boundary: no network; libsndfile (soundfile) packs, soxr resamples where a format has rates of its own.
Invariants: bytes that have left never change, so nothing that an encoder wants to write again at its end is needed: a
streamed WAV file says that its length is not known, MP3 has a constant bit rate, from which decoders tell its length;
one encoder makes one stream, without gaps where chunks meet; FLAC is made at once, with its length. It could leave the
count of samples open (0), but libsndfile takes that for 2^63 - 1, and who reads such a file with it fails.
Source: RFC 9639 (FLAC), libsndfile issue 1038, RFC 7845 (Ogg Opus), OpenAI's API reference (createSpeech).
"""

from __future__ import annotations

import io
import struct
from typing import Protocol

import numpy as np
import soundfile
import soxr

from contracts.serving_api import SpeechFormat
from speech.runtimes import Samples

MEDIA_TYPES: dict[SpeechFormat, str] = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}
CONTAINERS: dict[SpeechFormat, tuple[str, str]] = {
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "opus": ("OGG", "OPUS"),
    "flac": ("FLAC", "PCM_16"),
    "wav": ("WAV", "PCM_16"),
}
"""What libsndfile calls a format and what is in it."""

CHEAP: frozenset[SpeechFormat] = frozenset({"wav", "pcm"})
"""Formats that take less time than the way to a thread."""

AT_ONCE: frozenset[SpeechFormat] = frozenset({"flac"})
"""Formats that are sent when all was said."""

OPUS_RATES_HZ = (8_000, 12_000, 16_000, 24_000, 48_000)
MP3_RATES_HZ = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)

_UNKNOWN = 0xFFFFFFFF


def pcm16(samples: Samples) -> bytes:
    """Little-endian signed 16-bit PCM of samples in [-1, 1]."""
    return np.round(np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()


def sent_rate_hz(shape: SpeechFormat, rate_hz: int) -> int:
    """The rate at which a format carries audio of this rate: its own, or the next one that the format has."""
    known = {"opus": OPUS_RATES_HZ, "mp3": MP3_RATES_HZ}.get(shape)
    if known is None or rate_hz in known:
        return rate_hz
    return next((rate for rate in known if rate > rate_hz), known[-1])


class Encoder(Protocol):
    """One stream of a format."""

    def add(self, samples: Samples) -> bytes:
        """The bytes that can be sent once these samples, (n,) in [-1, 1], are added."""
        ...

    def finish(self) -> bytes:
        """The last bytes; nothing is added afterwards."""
        ...


def encoder(shape: SpeechFormat, rate_hz: int) -> Encoder:
    """An encoder for samples at `rate_hz`, of a format that is not of AT_ONCE."""
    if shape == "pcm":
        return _Pcm()
    if shape == "wav":
        return _Pcm(wav_header(rate_hz))
    return _Packed(shape, rate_hz)


def whole(shape: SpeechFormat, samples: Samples, rate_hz: int) -> bytes:
    """A file of all the samples, which says its length where its format can."""
    if shape == "pcm":
        return pcm16(samples)
    file, rate = io.BytesIO(), sent_rate_hz(shape, rate_hz)
    with _writing(file, shape, rate) as writing:
        writing.write(samples if rate == rate_hz else soxr.resample(samples, rate_hz, rate))
    return file.getvalue()


def _writing(file: io.IOBase, shape: SpeechFormat, rate_hz: int) -> soundfile.SoundFile:
    container, subtype = CONTAINERS[shape]
    settings = {"bitrate_mode": "CONSTANT", "compression_level": 0.5} if shape == "mp3" else {}
    return soundfile.SoundFile(file, "w", rate_hz, 1, subtype, format=container, **settings)


def wav_header(rate_hz: int) -> bytes:
    """The header of mono 16-bit PCM whose length is not known."""
    layout = struct.pack("<IHHIIHH", 16, 1, 1, rate_hz, 2 * rate_hz, 2, 16)
    return b"RIFF" + struct.pack("<I", _UNKNOWN) + b"WAVEfmt " + layout + b"data" + struct.pack("<I", _UNKNOWN)


class _Pcm:
    """Samples as they are, after a header."""

    def __init__(self, header: bytes = b"") -> None:
        self._header = header

    def add(self, samples: Samples) -> bytes:
        header, self._header = self._header, b""
        return header + pcm16(samples)

    def finish(self) -> bytes:
        return b""


class _Outlet(io.RawIOBase):
    """A file for libsndfile that keeps what is appended until it is taken; what is written again is dropped."""

    def __init__(self) -> None:
        self._fresh = bytearray()
        self._position = self._end = 0

    def write(self, data: object) -> int:
        content = bytes(data)  # type: ignore[call-overload]
        if self._position == self._end:
            self._fresh += content
            self._end += len(content)
        self._position += len(content)
        return len(content)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._end}[whence]
        return self._position

    def tell(self) -> int:
        return self._position

    def read(self, _size: int = -1) -> bytes:
        return b""

    def take(self) -> bytes:
        taken = bytes(self._fresh)
        self._fresh.clear()
        return taken


class _Packed:
    """A format that libsndfile packs."""

    def __init__(self, shape: SpeechFormat, rate_hz: int) -> None:
        rate = sent_rate_hz(shape, rate_hz)
        self._resampler = soxr.ResampleStream(rate_hz, rate, 1, dtype="float32") if rate != rate_hz else None
        self._outlet = _Outlet()
        self._file = _writing(self._outlet, shape, rate)

    def add(self, samples: Samples) -> bytes:
        if self._resampler is not None:
            samples = self._resampler.resample_chunk(samples)
        self._file.write(samples)
        self._file.flush()
        return self._outlet.take()

    def finish(self) -> bytes:
        if self._resampler is not None:
            self._file.write(self._resampler.resample_chunk(np.zeros(0, dtype=np.float32), last=True))
        self._file.close()
        return self._outlet.take()
