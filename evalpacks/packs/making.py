"""What the builders of packs share: a folder that appears whole, the columns of a recording, slices of length.

Boundary: reads and writes below the folder that is named.
Invariants: a pack's folder is there whole or not at all, and an older one stays until the new one is whole; a recording
is mono PCM16.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from contracts.digest import sha256_file
from contracts.errors import Corrupt
from evalpacks import pack

Progress = Callable[[int, int], None]
"""Called with (utterances done, utterances in all)."""


@contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """A folder beside `out`, with audio/, that takes its place when the block ends without an error."""
    partial = out.with_name(f".{out.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    (partial / "audio").mkdir(parents=True)
    try:
        yield partial
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    shutil.rmtree(out, ignore_errors=True)
    partial.rename(out)


def write_pack(folder: Path, card: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> None:
    """pack.yaml and utterances.parquet beside the audio that is already there."""
    import pandas

    pack.write(folder, card, pandas.DataFrame(rows))


def read_card(builder: str) -> dict[str, Any]:
    """The pack.yaml beside a builder's module (`__file__`), or beside any file."""
    card: dict[str, Any] = yaml.safe_load(Path(builder).with_name("pack.yaml").read_text(encoding="utf-8"))
    return card


def audio_columns(root: Path, utterance_id: str) -> dict[str, Any]:
    """What the table says of `audio/ID.wav`: id, path, digest, length and rate; raises Corrupt for another form."""
    import soundfile

    path = f"audio/{utterance_id}.wav"
    try:
        info = soundfile.info(root / path)
    except soundfile.LibsndfileError as error:
        raise Corrupt("a recording does not read", where=path, got=str(error.error_string)) from None
    if (info.channels, info.subtype) != (1, "PCM_16"):
        raise Corrupt(
            "a recording is in another form",
            where=path,
            got=f"{info.channels} channels, {info.subtype}",
            expected="1 channel, PCM_16",
        )
    return {
        "utterance_id": utterance_id,
        "path": path,
        "sha256": sha256_file(root / path),
        "duration_s": info.frames / info.samplerate,
        "sample_rate_hz": info.samplerate,
    }


def word_count(text: str) -> int:
    """Words that have a letter or a digit."""
    return sum(any(character.isalnum() for character in word) for word in text.split())


def length_slice(text: str) -> str:
    """The value of slice `length`: how many words the reference has.

    >>> [length_slice(text) for text in ("yes", "one two", "one two three", "a b c d e f g", "a b c d e f g h")]
    ['1-2', '1-2', '3-7', '3-7', '8plus']
    """
    words = word_count(text)
    return "1-2" if words <= 2 else "3-7" if words <= 7 else "8plus"
