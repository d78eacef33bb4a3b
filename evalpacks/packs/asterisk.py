"""Voice prompts of the Asterisk telephone exchange, as Debian packages hold them: recordings and their transcripts.

Boundary: reads unpacked packages (evalpacks.packs.debian); what is said in a clip is a pure function of its transcript.
Invariants: a transcript is kept as published but for notes in brackets, which nobody says.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from contracts.errors import DependencyFailed
from evalpacks.packs import debian
from evalpacks.packs.making import word_count

SOUNDS = "usr/share/asterisk/sounds"
_NOTE = re.compile(r"\[[^]]*\]|\([^)]*\)|<[^>]*>")


class Edition(NamedTuple):
    """The prompts of one language: who speaks, where they lie, and under which licence."""

    language: str
    folder: str
    speaker: str
    licence: str

    @property
    def text_package(self) -> str:
        """The package of the transcripts."""
        return f"asterisk-core-sounds-{self.language}"

    @property
    def transcripts_file(self) -> str:
        """The transcripts in it."""
        return f"usr/share/doc/{self.text_package}/core-sounds-{self.language}.txt.gz"


ENGLISH = Edition("en", "en_US_f_Allison", "allison-smith", "CC-BY-SA-3.0")
SPANISH = Edition("es", "es_MX_f_Allison", "allison-smith", "CC-BY-SA-3.0")
FRENCH = Edition("fr", "fr_CA_f_June", "june-wallack", "CC-BY-SA-3.0")
ITALIAN = Edition("it", "it_IT_m_Carlo", "carlo-flora", "CC-BY-3.0")
RUSSIAN = Edition("ru", "ru_RU_f_IvrvoiceRU", "ivrvoice-ru", "CC-BY-3.0")


class Prompts(NamedTuple):
    """The clips of an edition: name -> transcript as published, and the folder and ending of their recordings."""

    transcripts: dict[str, str]
    folder: Path
    ending: str

    def recording(self, clip: str) -> Path:
        """Where the clip's recording lies, if there is one."""
        return self.folder / f"{clip}.{self.ending}"

    def spoken(self, texts: Mapping[str, str]) -> dict[str, str]:
        """Of clips and what is said in them, those that have a recording and a word; tones and silences have none."""
        return {
            clip: text for clip, text in sorted(texts.items()) if word_count(text) and self.recording(clip).is_file()
        }


def prompts(edition: Edition, ending: str, cache: Path, on_fetch: debian.Fetching | None = None) -> Prompts:
    """The clips of an edition in one form (`wav`: PCM16 at 8 kHz, `g722`: 16 kHz), fetched where the cache lacks them.

    Raises:
        DependencyFailed: the packages cannot be had, or hold something else than expected.
    """
    source = debian.unpack((f"{edition.text_package}-{ending}", edition.text_package), cache, on_fetch)
    try:
        with gzip.open(source / edition.transcripts_file, "rt", encoding="utf-8-sig") as stream:
            transcripts = parse_transcripts(stream.read().splitlines())
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise DependencyFailed(
            f"the package {edition.text_package} has no readable transcripts",
            where=edition.transcripts_file,
            got=type(error).__name__,
            expected="gzip-compressed UTF-8 text",
            next_step="remove cache/debian of the home folder and build the pack again",
        ) from None
    return Prompts(transcripts, source / SOUNDS / edition.folder, ending)


def parse_transcripts(lines: list[str]) -> dict[str, str]:
    """Clip -> transcript of a file core-sounds-LANGUAGE.txt: `clip: text`; `;` begins a comment."""
    pairs = (line.partition(":") for line in lines if line.strip() and not line.startswith(";"))
    return {clip.strip(): text.strip() for clip, _, text in pairs}


def without_notes(transcript: str) -> str:
    """A transcript without what stands in brackets.

    >>> without_notes("dash [-]"), without_notes("(2 seconds of silence)")
    ('dash', '')
    """
    return " ".join(_NOTE.sub(" ", transcript).split())
