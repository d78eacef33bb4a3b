"""Unmistakable strings in what is private, and the search for them in everything below a home folder (faults 62, 63).

A project's pack is made private: speakers, some transcripts and all audio files carry a plant, and its card does not
allow transcripts to be shown. What is kept on purpose is told apart by digest (golden fixtures) or by folder (keys).
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile
import yaml
from pyarrow import parquet

from evalpacks.pack import load, write

PLANT = "quuxzibar"
"""Part of every string that is planted; no word of any language, no part of any digest."""
SESSION = f"session-of-{PLANT}"
FILE_NAME = f"{PLANT}.wav"
EVERY_TRANSCRIPT = 6
"""In one transcript of so many the last word is planted, and so in the longest utterance, which reports would show."""
_VOICES = 12
_RUN_BYTES = 32


class Searched(NamedTuple):
    """What a search has found: plants by the file that holds them, and the folders of the home that were read."""

    found: dict[str, str]
    read: dict[str, int]


def plant(pack_root: Path) -> None:
    """Make a pack private, and plant strings in its transcripts, its speakers' names and the tags of its audio."""
    table = load(pack_root).utterances.copy()
    table["speaker"] = f"{PLANT} " + table["speaker"]
    chosen = (table.index % EVERY_TRANSCRIPT == 0) | (table.index == table["duration_s"].idxmax())
    table.loc[chosen, "text"] = table.loc[chosen, "text"].str.replace(r"\S+$", PLANT, regex=True)
    table["sha256"] = [_tag(pack_root / path) for path in table["path"]]
    meta = yaml.safe_load((pack_root / "pack.yaml").read_text())
    write(pack_root, meta | {"show_transcripts": False}, table)


def _tag(path: Path) -> str:
    samples, rate_hz = soundfile.read(path, dtype="int16")
    with soundfile.SoundFile(path, "w", rate_hz, 1, subtype="PCM_16", format="WAV") as file:
        file.title = file.artist = f"tag of {PLANT}"
        file.write(samples)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def search(home: Path, *, kept: frozenset[str], secrets: dict[str, bytes], pack_root: Path) -> Searched:
    """Look for plants, secrets and samples of voices in every file below `home`.

    Args:
        kept: digests of files that may hold audio: golden fixtures, in the store and in caches.
        secrets: values by what they are; they may lie in HOME/keys alone.
        pack_root: the planted pack; utterances that are no golden fixture are searched for by their samples.
    """
    wanted = {"a plant": PLANT.encode()} | {f"a plant in base64, {at} on": text for at, text in _base64(PLANT)}
    voices = dict(_voices(pack_root, kept))
    found: dict[str, str] = {}
    read: dict[str, int] = {}
    for path in sorted(home.rglob("*")):
        if not path.is_file():
            continue
        place, content = path.relative_to(home), _content(path)
        if hashlib.sha256(path.read_bytes()).hexdigest() in kept:
            continue
        read[place.parts[0]] = read.get(place.parts[0], 0) + len(content)
        private = wanted | voices | ({} if place.parts[0] == "keys" else secrets)
        found |= {f"{place}: {what}": place.parts[0] for what, value in private.items() if value in content}
    return Searched(found, read)


def secrets(keys: Path) -> dict[str, bytes]:
    """Private keys and API keys of a home, by file: what stands between the lines of PEM, or all."""
    lines = {path.name: path.read_bytes().splitlines() for path in keys.iterdir() if path.suffix in (".key", ".api")}
    return {name: text[len(text) // 2] for name, text in lines.items()}


def holds(folder: Path, text: str) -> bool:
    """Whether any file below a folder holds a text: what a search finds nothing of must be able to be found."""
    return any(text.encode() in _content(path) for path in folder.rglob("*") if path.is_file())


def _content(path: Path) -> bytes:
    """A file's bytes; of Parquet, which compresses them, every value too. SQLite and its WAL keep text as it is."""
    content = path.read_bytes()
    if content[:4] == b"PAR1":
        content += repr(parquet.read_table(path, partitioning=None).to_pydict()).encode()
    return content


def _base64(text: str) -> Iterator[tuple[int, bytes]]:
    """A text as it stands within base64, wherever it begins: the characters that depend on nothing beside it."""
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + text.encode())
        last = (len(text) + before) // 3 * 4
        yield before, encoded[-(-before * 4 // 3) if before else 0 : last]


def _voices(pack_root: Path, kept: frozenset[str]) -> Iterator[tuple[str, bytes]]:
    """The loudest moment of some utterances, as WAV and as floats keep it."""
    table: Any = load(pack_root).utterances
    for row in table[~table["sha256"].isin(kept)].head(_VOICES).itertuples():
        samples, _ = soundfile.read(pack_root / row.path, dtype="int16")
        at = max(0, int(np.abs(samples).argmax()) - _RUN_BYTES // 4)
        run = samples[at : at + _RUN_BYTES // 2]
        yield f"the voice of {row.utterance_id}", run.tobytes()
        yield f"the voice of {row.utterance_id} as floats", (run / 32768).astype(np.float32).tobytes()
