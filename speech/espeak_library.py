"""espeak-ng without a memory: a library of its own for every text.

Purpose: the library keeps its state in globals (the flutter of the voice goes on from text to text), so that what it
says depends on what it said before. A library that nobody spoke with says the same each time.
Boundary: loads copies of the shared library of espeakng-loader, each a file that is gone once it is loaded.
Invariants: a copy is a library of its own, apart from every other in the process, so that several texts may be spoken
at once; a copy is used for one text and unloaded. One is kept ready for each voice, made after a text was spoken, so
that the next text does not wait for it.
Source: dlopen(3): one library per file, told by device and inode.
"""

from __future__ import annotations

import _ctypes
import ctypes
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from contracts.errors import DependencyFailed, WrongCall
from speech.synthesis import _CALLBACK, Synthesizer

_RETRIEVE = 2

_ready: dict[str, FreshLibrary] = {}
_taking = threading.Lock()


class FreshLibrary(Synthesizer):
    """A copy of the library that has said nothing yet, with a voice and its dictionary; WrongCall for no voice."""

    def __init__(self, voice: str) -> None:
        import espeakng_loader

        with tempfile.NamedTemporaryFile(prefix="soundcheck-espeak-", suffix=".so") as copy:
            shutil.copyfile(espeakng_loader.get_library_path(), copy.name)
            self._library = ctypes.CDLL(copy.name)
        self._libc = ctypes.CDLL(None)
        self._pieces = []
        self._starts = []
        self._callback = _CALLBACK(self._keep)
        data = espeakng_loader.get_data_path().encode()
        self.sample_rate_hz = self._library.espeak_Initialize(_RETRIEVE, 0, data, 0)
        if self.sample_rate_hz <= 0:
            raise DependencyFailed(
                "espeak-ng did not start", got=f"code {self.sample_rate_hz}", expected="a sample rate"
            )
        self._library.espeak_SetSynthCallback(self._callback)
        if self._library.espeak_SetVoiceByName(voice.encode()) != 0:
            self.close()
            raise WrongCall("espeak-ng has no such voice", got=repr(voice), expected="a voice of its data folder")

    def close(self) -> None:
        """Unload the copy; nothing can be said with it afterwards."""
        self._library.espeak_Terminate()
        _ctypes.dlclose(self._library._handle)


@contextmanager
def fresh_library(voice: str) -> Iterator[FreshLibrary]:
    """A library for one text; it is unloaded afterwards, and another one made ready."""
    with _taking:
        library = _ready.pop(voice, None)
    library = library or FreshLibrary(voice)
    try:
        yield library
    finally:
        library.close()
        _make_ready(voice)


def _make_ready(voice: str) -> None:
    with _taking:
        if voice not in _ready:
            _ready[voice] = FreshLibrary(voice)
