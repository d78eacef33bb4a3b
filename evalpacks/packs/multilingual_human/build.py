"""Build the pack multilingual-human: telephone prompts (Asterisk) and descriptions of pictures (Tux Paint).

Purpose: real recorded speech in Spanish, French, Italian and Russian, two voices a language where there are two.
Boundary: fetches Debian packages (SOUNDCHECK_NO_APT=1 forbids it), writes the pack's folder; which clips are used is
a pure function of their transcripts.
Invariants: a clip is used only where its transcript says in letters what is spoken; the same packages give the same
pack digest; the folder appears whole or not at all.
Source: README.md beside this file.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from evalpacks.packs import debian, tuxpaint
from evalpacks.packs.asterisk import FRENCH, ITALIAN, RUSSIAN, SPANISH, Edition, prompts
from evalpacks.packs.english_human.build import WIDEBAND_HZ, Decode, store_wideband
from evalpacks.packs.making import (
    Progress,
    audio_columns,
    length_slice,
    read_card,
    whole_folder,
    word_count,
    write_pack,
)

EDITIONS = (SPANISH, FRENCH, ITALIAN, RUSSIAN)
NOT_SPEECH = ("beep", "confbridge-join", "confbridge-leave", "letters/", "phonetic/", "silence/")
"""Clips of sounds, and of letters that a transcript writes in several ways."""
SCRIPTS = {"ru": "CYRILLIC"}
"""Language -> the script of its letters, as Unicode names it; the others are written in Latin letters."""

_NOT_AS_SPOKEN = re.compile(r"[\d\[\](){}<>/\\#*$%&+=@|\ufffd]|\?(?=\S|\s+[^\W\d_A-ZÀ-ÞА-Я])")
"""Digits, notes and signs, which are said in several ways or not at all; a question mark inside a sentence was a letter
once."""


class Clip(NamedTuple):
    """A recording somewhere on this machine, and what the table says of it."""

    utterance_id: str
    store: Callable[[Path], None]
    text: str
    speaker: str
    language: str
    origin: str
    licence: str


def build(
    out: Path,
    *,
    cache: Path,
    decode: Decode,
    on_progress: Progress | None = None,
    on_fetch: debian.Fetching | None = None,
) -> Path:
    """Write the pack into the folder `out`, replacing one that is there, and return it.

    `cache` keeps the Debian packages and what they hold; `decode` reads G.722.

    Raises:
        DependencyFailed: the packages cannot be had, or hold something else than expected.
    """
    clips = [clip for edition in EDITIONS for clip in _prompts(edition, cache, decode, on_fetch)]
    package = debian.unpack((tuxpaint.PACKAGE,), cache, on_fetch)
    clips += [clip for language in tuxpaint.LANGUAGES for clip in _stamps(package, language)]
    with whole_folder(out) as folder:
        rows = []
        for done, clip in enumerate(clips, start=1):
            clip.store(folder / f"audio/{clip.utterance_id}.wav")
            rows.append(audio_columns(folder, clip.utterance_id) | _columns(clip))
            if on_progress is not None:
                on_progress(done, len(clips))
        write_pack(folder, read_card(__file__), rows)
    return out


def says_what_is_spoken(text: str, language: str) -> bool:
    """Whether a transcript can be compared letter by letter with what a recogniser hears.

    >>> says_what_is_spoken("Marque 1 para", "es"), says_what_is_spoken("il tempo sar? esattamente", "it")
    (False, False)
    >>> says_what_is_spoken("Quale cartella?", "it"), says_what_is_spoken("Asterisk включен", "ru")
    (True, False)
    """
    letters = [character for character in text if character.isalpha()]
    script = SCRIPTS.get(language, "LATIN")
    return (
        word_count(text) > 0
        and not _NOT_AS_SPOKEN.search(text)
        and all(unicodedata.name(letter, "").startswith(script) for letter in letters)
    )


def _prompts(edition: Edition, cache: Path, decode: Decode, on_fetch: debian.Fetching | None) -> Iterator[Clip]:
    found = prompts(edition, "g722", cache, on_fetch)
    texts = {
        clip: text
        for clip, text in found.transcripts.items()
        if says_what_is_spoken(text, edition.language) and not clip.startswith(NOT_SPEECH)
    }
    for clip, text in found.spoken(texts).items():
        yield Clip(
            utterance_id=f"{edition.language}-asterisk-{clip.replace('/', '-')}",
            store=partial(store_wideband, found.recording(clip), decode=decode),
            text=text,
            speaker=edition.speaker,
            language=edition.language,
            origin="asterisk",
            licence=edition.licence,
        )


def _stamps(package: Path, language: str) -> Iterator[Clip]:
    for stamp in tuxpaint.stamps(package, language):
        if says_what_is_spoken(stamp.text, language):
            yield Clip(
                utterance_id=f"{language}-tuxpaint-{stamp.name}",
                store=partial(tuxpaint.store, stamp.recording, rate_hz=WIDEBAND_HZ),
                text=stamp.text,
                speaker=f"tuxpaint-{language}",
                language=language,
                origin="tuxpaint",
                licence=tuxpaint.LICENCE,
            )


def _columns(clip: Clip) -> dict[str, Any]:
    return {
        "text": clip.text,
        "speaker": clip.speaker,
        "language": clip.language,
        "length": length_slice(clip.text),
        "origin": clip.origin,
        "licence": clip.licence,
    }
