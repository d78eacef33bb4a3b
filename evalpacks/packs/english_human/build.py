"""Build the pack english-human: the Asterisk voice prompts and their transcripts from two Debian packages.

Purpose: real recorded speech with transcripts, by `apt-get download` and without root.
Boundary: reads the environment (SOUNDCHECK_HOME, SOUNDCHECK_NO_APT), fetches packages, writes the pack's folder; which
clips are used and what they say are pure functions here.
Invariants: audio is copied byte by byte (PCM16, mono, 8 kHz), never resampled; the same packages give the same pack
digest; the folder appears whole or not at all.
Source: README.md beside this file.
"""

from __future__ import annotations

import gzip
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from contracts.digest import sha256_file
from contracts.errors import Corrupt, DependencyFailed
from evalpacks import pack
from evalpacks.packs.english_human import debian

Progress = Callable[[int, int], None]
"""Called with (clips done, clips in all)."""

AUDIO_PACKAGE = "asterisk-core-sounds-en-wav"
TEXT_PACKAGE = "asterisk-core-sounds-en"
AUDIO_FOLDER = "usr/share/asterisk/sounds/en_US_f_Allison"
TRANSCRIPTS = "usr/share/doc/asterisk-core-sounds-en/core-sounds-en.txt.gz"
SPEAKER = "allison-smith"
CONTENTS = {"digits": "number", "letters": "letter", "phonetic": "letter"}
SPOKEN_SYMBOLS = {"*": "star", "#": "pound"}
_NOTE = re.compile(r"\[[^]]*\]|\([^)]*\)|<[^>]*>")
_CARD = Path(__file__).with_name("pack.yaml")


def build(out: Path, *, cache: Path, on_progress: Progress | None = None) -> Path:
    """Write the pack into the folder `out`, replacing one that is there, and return it.

    `cache` keeps the Debian packages and what they hold.

    Raises:
        DependencyFailed: the packages cannot be had, or hold something else than expected.
        Corrupt: a recording is not mono PCM16.
    """
    import pandas

    source = debian.unpack((AUDIO_PACKAGE, TEXT_PACKAGE), cache)
    clips = usable_clips(_transcripts(source), lambda clip: (source / AUDIO_FOLDER / f"{clip}.wav").is_file())
    partial = out.with_name(f".{out.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    (partial / "audio").mkdir(parents=True)
    rows = []
    for done, (clip, text) in enumerate(sorted(clips.items()), start=1):
        rows.append(_row(clip, text, source / AUDIO_FOLDER / f"{clip}.wav", partial))
        if on_progress is not None:
            on_progress(done, len(clips))
    pack.write(partial, yaml.safe_load(_CARD.read_text(encoding="utf-8")), pandas.DataFrame(rows))
    shutil.rmtree(out, ignore_errors=True)
    partial.rename(out)
    return out


def usable_clips(transcripts: dict[str, str], has_audio: Callable[[str], bool]) -> dict[str, str]:
    """Clip -> what is said in it: clips that have audio and speech; tones, silences and monkeys are left out."""
    spoken = {clip: spoken_text(text) for clip, text in transcripts.items() if has_audio(clip)}
    return {clip: text for clip, text in spoken.items() if word_count(text)}


def parse_transcripts(lines: list[str]) -> dict[str, str]:
    """Clip -> transcript of the file core-sounds-en.txt: `clip: text`; `;` begins a comment."""
    pairs = (line.partition(":") for line in lines if line.strip() and not line.startswith(";"))
    return {clip.strip(): text.strip() for clip, _, text in pairs}


def spoken_text(transcript: str) -> str:
    """The words of a transcript: without notes in brackets, keys of the telephone written as they are said.

    >>> spoken_text("dash [-]"), spoken_text("(2 seconds of silence)"), spoken_text("press # to exit")
    ('dash', '', 'press pound to exit')
    """
    text = _NOTE.sub(" ", transcript)
    for symbol, word in SPOKEN_SYMBOLS.items():
        text = text.replace(symbol, f" {word} ")
    return " ".join(text.split())


def word_count(text: str) -> int:
    """Words that have a letter or a digit."""
    return sum(any(character.isalnum() for character in word) for word in text.split())


def length_slice(words: int) -> str:
    """The value of slice `length`.

    >>> [length_slice(words) for words in (1, 2, 3, 7, 8)]
    ['1-2', '1-2', '3-7', '3-7', '8plus']
    """
    return "1-2" if words <= 2 else "3-7" if words <= 7 else "8plus"


def _transcripts(source: Path) -> dict[str, str]:
    try:
        with gzip.open(source / TRANSCRIPTS, "rt", encoding="utf-8") as stream:
            return parse_transcripts(stream.read().splitlines())
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise DependencyFailed(
            f"the package {TEXT_PACKAGE} has no readable transcripts",
            where=TRANSCRIPTS,
            got=type(error).__name__,
            expected="gzip-compressed UTF-8 text",
            next_step="remove cache/debian of the home folder and build the pack again",
        ) from None


def _row(clip: str, text: str, source: Path, root: Path) -> dict[str, Any]:
    """Copy one recording into the pack and describe it."""
    import soundfile

    try:
        info = soundfile.info(source)
    except soundfile.LibsndfileError as error:
        raise Corrupt("a recording does not read", where=f"{clip}.wav", got=str(error.error_string)) from None
    if (info.channels, info.subtype) != (1, "PCM_16"):
        raise Corrupt(
            "a recording is in another form",
            where=f"{clip}.wav",
            got=f"{info.channels} channels, {info.subtype}",
            expected="1 channel, PCM_16",
        )
    name = clip.replace("/", "-")
    path = f"audio/{name}.wav"
    shutil.copyfile(source, root / path)
    return {
        "utterance_id": name,
        "path": path,
        "text": text,
        "speaker": SPEAKER,
        "duration_s": info.frames / info.samplerate,
        "sample_rate_hz": info.samplerate,
        "sha256": sha256_file(root / path),
        "language": "en",
        "length": length_slice(word_count(text)),
        "content": CONTENTS.get(clip.partition("/")[0], "prompt"),
    }
