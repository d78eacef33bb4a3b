"""espeak-ng through the library of espeakng-loader: text to speech in this process.

Boundary: calls the shared library that the wheel carries; no file is written, no network is used.
Invariants: an unknown voice is refused (the library keeps the last one silently and only returns 2); one instance a
process, because the library holds its state in globals. Samples depend on what was said before in the same process, and
those of variants with breath noise on more than that: callers that need the same samples each time start a process for
a fixed list of texts and leave those variants out.
Source: espeak-ng's speak_lib.h.
"""

from __future__ import annotations

import ctypes
import multiprocessing
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from contracts.errors import DependencyFailed, WrongCall

_RETRIEVE = 2
_UTF8 = 1
_BY_CHARACTER = 1
_PARAMETERS = {"rate": 1, "pitch": 3}
_EVENT_LAST, _EVENT_WORD = 0, 1


class _Event(ctypes.Structure):
    """espeak_EVENT of speak_lib.h."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position_ms", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),
    )


_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


class Spoken(NamedTuple):
    """Speech, shape (samples,) in [-1, 1], and where words start: (offset in the text, sample).

    Words that espeak-ng says as one (`in the`) have one start.
    """

    samples: npt.NDArray[np.float32]
    word_starts: tuple[tuple[int, int], ...]


class Synthesizer:
    """The espeak-ng library of this process."""

    def __init__(self) -> None:
        import espeakng_loader

        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        self._libc = ctypes.CDLL(None)
        self._pieces: list[npt.NDArray[np.int16]] = []
        self._starts: list[tuple[int, int]] = []
        self._callback = _CALLBACK(self._keep)
        data = espeakng_loader.get_data_path().encode()
        self.sample_rate_hz: int = self._library.espeak_Initialize(_RETRIEVE, 0, data, 0)
        if self.sample_rate_hz <= 0:
            raise DependencyFailed(
                "espeak-ng did not start", got=f"code {self.sample_rate_hz}", expected="a sample rate"
            )
        self._library.espeak_SetSynthCallback(self._callback)

    def say(self, text: str, *, voice: str, rate_wpm: int = 175, pitch: int = 50, seed: int = 0) -> Spoken:
        """Speech of a text at `sample_rate_hz`.

        Args:
            text: what is said.
            voice: language and variant, like `en-us+f3`.
            rate_wpm: words a minute, 80 to 450.
            pitch: 0 to 99.
            seed: of the C library's generator that breathy voices use.

        Raises:
            WrongCall: the voice does not exist.
            DependencyFailed: the library failed.
        """
        if self._library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise WrongCall("espeak-ng has no such voice", got=repr(voice), expected="a voice of its data folder")
        for name, value in (("rate", rate_wpm), ("pitch", pitch)):
            self._library.espeak_SetParameter(_PARAMETERS[name], value, 0)
        self._libc.srand(seed)
        self._pieces.clear()
        self._starts.clear()
        encoded = text.encode() + b"\0"
        code = self._library.espeak_Synth(encoded, len(encoded), 0, _BY_CHARACTER, 0, _UTF8, None, None)
        if code != 0 or self._library.espeak_Synchronize() != 0 or not self._pieces:
            raise DependencyFailed("espeak-ng did not speak", where=voice, got=f"code {code}", expected="samples")
        return Spoken((np.concatenate(self._pieces) / 32768).astype(np.float32), tuple(self._starts))

    def _keep(self, samples: Any, count: int, events: Any) -> int:
        if samples and count > 0:
            self._pieces.append(np.ctypeslib.as_array(samples, (count,)).copy())
        place = 0
        while events[place].type != _EVENT_LAST:
            if events[place].type == _EVENT_WORD:
                self._starts.append((events[place].text_position - 1, events[place].sample))
            place += 1
        return 0


def speak_all(spoken: Sequence[tuple[str, str]], rate_hz: int) -> list[npt.NDArray[np.float32]]:
    """Each (text, voice) as samples at `rate_hz`, said in order by a process of its own: the same samples each time."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_speak_all, (list(spoken), rate_hz))


def _speak_all(spoken: list[tuple[str, str]], rate_hz: int) -> list[npt.NDArray[np.float32]]:
    import soxr

    synthesizer = Synthesizer()
    said = [synthesizer.say(text, voice=voice).samples for text, voice in spoken]
    return [soxr.resample(samples, synthesizer.sample_rate_hz, rate_hz, quality="HQ") for samples in said]
