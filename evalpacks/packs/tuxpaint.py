"""Spoken descriptions of the stamps of Tux Paint, as a Debian package holds them.

Boundary: reads the unpacked package (evalpacks.packs.debian).
Invariants: a recording without a description in its language is left out, and so is what others than the contributor
of a language recorded (letters and digits, as the package's changelog says).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PACKAGE = "tuxpaint-stamps-default"
LICENCE = "GPL-2"
LANGUAGES = ("es", "fr", "ru")
"""Of the languages that somebody recorded nearly all stamps in, those that the packs have other voices of."""
_STAMPS = "usr/share/tuxpaint/stamps"
_OTHERS_VOICES = "symbols"


class Stamp(NamedTuple):
    """A recorded description: a name, the recording (Ogg Vorbis), and what the text file says."""

    name: str
    recording: Path
    text: str


def stamps(package: Path, language: str) -> Iterator[Stamp]:
    """Every stamp that is described and spoken in a language, sorted by place."""
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
    """Ogg Vorbis at any rate, one channel or two, as mono PCM16 at `rate_hz`."""
    import soundfile
    import soxr

    samples, present_hz = soundfile.read(recording, dtype="float32", always_2d=True)
    heard = soxr.resample(samples.mean(axis=1), present_hz, rate_hz, quality="HQ")
    soundfile.write(target, heard.clip(-1.0, 1.0), rate_hz, subtype="PCM_16")
