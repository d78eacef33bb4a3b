"""Spoken descriptions of the stamps of Tux Paint, as a Debian package holds them.

Boundary: reads the unpacked package (evalpacks.packs.debian).
Invariants: a recording without a description in its language is left out, and so is what others than the contributor
of a language recorded (letters and digits, as the package's changelog says); a recording is there once.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from contracts.digest import sha256_file

PACKAGE = "tuxpaint-stamps-default"
LICENCE = "GPL-2"
LANGUAGES = ("es", "fr", "ru")
"""Of the languages that somebody recorded nearly all stamps in, those that the packs have other voices of."""
PEAK = 0.99
"""Highest level that is written."""
_STAMPS = "usr/share/tuxpaint/stamps"
_OTHERS_VOICES = "symbols"


class Stamp(NamedTuple):
    """A recorded description: a name, the recording (Ogg Vorbis), and what the text file says."""

    name: str
    recording: Path
    text: str


def stamps(package: Path, language: str) -> list[Stamp]:
    """Every recording of a language with its description, sorted by place.

    Several stamps may have one recording: the first stands for all, none where their descriptions differ.
    """
    alike: dict[str, list[Stamp]] = {}
    for stamp in _described_stamps(package, language):
        alike.setdefault(sha256_file(stamp.recording), []).append(stamp)
    return [found[0] for found in alike.values() if len({stamp.text for stamp in found}) == 1]


def _described_stamps(package: Path, language: str) -> Iterator[Stamp]:
    folder = package / _STAMPS
    ending = f"_desc_{language}.ogg"
    for recording in sorted(folder.rglob(f"*{ending}")):
        place = recording.relative_to(folder)
        stamp = recording.name.removesuffix(ending)
        description = recording.with_name(f"{stamp}.txt")
        if place.parts[0] == _OTHERS_VOICES or not description.is_file():
            continue
        text = described(description.read_text(encoding="utf-8", errors="replace"), language)
        if text:
            yield Stamp("-".join((*place.parent.parts, stamp)), recording, text)


def described(description: str, language: str) -> str:
    """What a stamp's text file says in a language, empty where it says nothing.

    >>> described("A cat.\\nes.utf8=Un gato.\\nfr.utf8=Un chat.", "fr")
    'Un chat.'
    """
    prefix = f"{language}.utf8="
    return next((line[len(prefix) :].strip() for line in description.splitlines() if line.startswith(prefix)), "")


def store(recording: Path, target: Path, rate_hz: int) -> None:
    """Ogg Vorbis at any rate, one channel or two, as mono PCM16 at `rate_hz`; made quieter where it would clip."""
    import soundfile
    import soxr

    samples, present_hz = soundfile.read(recording, dtype="float32", always_2d=True)
    heard = soxr.resample(samples.mean(axis=1), present_hz, rate_hz, quality="HQ")
    soundfile.write(target, heard / max(1.0, float(np.abs(heard).max(initial=0.0)) / PEAK), rate_hz, subtype="PCM_16")
