"""Build the packs english-human and english-human-16k: the Asterisk voice prompts and their transcripts.

Purpose: real recorded speech with transcripts, from Debian packages and without root. The two packs hold the same clips
at 8 and at 16 kHz, so that rates can be compared on one voice and one text.
Boundary: fetches packages (SOUNDCHECK_NO_APT=1 forbids it), writes the pack's folder; what a clip says is pure.
Invariants: audio at 8 kHz is copied byte by byte (PCM16, mono), at 16 kHz it is what G.722 decodes to, nothing is
resampled; the same packages give the same pack digest; the folder appears whole or not at all.
Source: README.md beside this file.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from evalpacks.packs import debian
from evalpacks.packs.asterisk import ENGLISH, prompts, without_notes
from evalpacks.packs.making import Progress, audio_columns, length_slice, read_card, whole_folder, write_pack

Decode = Callable[[bytes], npt.NDArray[np.int16]]
"""G.722 at 64 kbit/s -> samples at WIDEBAND_HZ."""

WIDEBAND_HZ = 16_000
CONTENTS = {"digits": "number", "letters": "letter", "phonetic": "letter"}
SPOKEN_SYMBOLS = {"*": "star", "#": "pound"}
WIDEBAND_CARD = {
    "name": "english-human-16k",
    "title": "English telephone prompts, one human voice, 16 kHz",
    "source": "Debian packages asterisk-core-sounds-en-g722 (audio) and asterisk-core-sounds-en (transcripts)",
    "sample_rate_hz": WIDEBAND_HZ,
}
"""What the card of english-human-16k says otherwise than that of english-human."""


def build(
    out: Path,
    *,
    cache: Path,
    on_progress: Progress | None = None,
    on_fetch: debian.Fetching | None = None,
) -> Path:
    """Write english-human into the folder `out`, replacing one that is there, and return it.

    `cache` keeps the Debian packages and what they hold.

    Raises:
        DependencyFailed: the packages cannot be had, or hold something else than expected.
        Corrupt: a recording is not mono PCM16.
    """
    return _build(out, read_card(__file__), "wav", shutil.copyfile, cache, on_progress, on_fetch)


def build_wideband(
    out: Path,
    *,
    cache: Path,
    decode: Decode,
    on_progress: Progress | None = None,
    on_fetch: debian.Fetching | None = None,
) -> Path:
    """The same for english-human-16k; `decode` reads its recordings."""

    def store(source: Path, target: Path) -> None:
        store_wideband(source, target, decode)

    return _build(out, read_card(__file__) | WIDEBAND_CARD, "g722", store, cache, on_progress, on_fetch)


def store_wideband(source: Path, target: Path, decode: Decode) -> None:
    """Write a G.722 recording as PCM16."""
    import soundfile

    soundfile.write(target, decode(source.read_bytes()), WIDEBAND_HZ, subtype="PCM_16")


def spoken_text(transcript: str) -> str:
    """The words of a transcript: without notes in brackets, keys of the telephone written as they are said.

    >>> spoken_text("dash [-]"), spoken_text("(2 seconds of silence)"), spoken_text("press # to exit")
    ('dash', '', 'press pound to exit')
    """
    text = without_notes(transcript)
    for symbol, word in SPOKEN_SYMBOLS.items():
        text = text.replace(symbol, f" {word} ")
    return " ".join(text.split())


def _build(
    out: Path,
    card: Mapping[str, Any],
    ending: str,
    store: Callable[[Path, Path], object],
    cache: Path,
    on_progress: Progress | None,
    on_fetch: debian.Fetching | None,
) -> Path:
    """`store` writes a recording of the packages, named by its ending, as WAV."""
    found = prompts(ENGLISH, ending, cache, on_fetch)
    clips = found.spoken({clip: spoken_text(text) for clip, text in found.transcripts.items()})
    with whole_folder(out) as folder:
        rows = []
        for done, (clip, text) in enumerate(clips.items(), start=1):
            name = clip.replace("/", "-")
            store(found.recording(clip), folder / f"audio/{name}.wav")
            rows.append(audio_columns(folder, name) | _columns(clip, text))
            if on_progress is not None:
                on_progress(done, len(clips))
        write_pack(folder, card, rows)
    return out


def _columns(clip: str, text: str) -> dict[str, str]:
    return {
        "text": text,
        "speaker": ENGLISH.speaker,
        "language": ENGLISH.language,
        "length": length_slice(text),
        "content": CONTENTS.get(clip.partition("/")[0], "prompt"),
    }
