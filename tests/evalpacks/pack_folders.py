"""A small pack on disk that nothing is wrong with, and ways to change it."""

from __future__ import annotations

import hashlib
import io
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import yaml

from evalpacks.pack import write

RATE_HZ = 8000
SPEAKERS = 20
PLANTED = "zanzibar marzipan"
"""Words of every text: none may show up in a message."""
CARD: dict[str, Any] = {
    "name": "tiny",
    "title": "A tiny pack",
    "source": "noise, made by a test",
    "licence": "CC0-1.0",
    "consent": "not needed: no person's voice",
    "languages": ["en"],
    "sample_rate_hz": [RATE_HZ],
    "slices": ["accent", "noise"],
    "protected": ["accent=us", "accent=scottish"],
    "min_support": {"speakers": 10, "words": 50},
}
FIRST = "u000"

Samples = npt.NDArray[np.int16]
Change = Callable[[pd.DataFrame], pd.DataFrame]


def noise(seed: int, seconds: float = 1.0, rate_hz: int = RATE_HZ) -> Samples:
    """Audible noise, other noise for another seed, shape (samples,)."""
    generator = np.random.default_rng(seed)
    return (3000 * generator.standard_normal(round(seconds * rate_hz))).astype(np.int16)


def wav(samples: Samples, *, rate_hz: int = RATE_HZ, channels: int = 1, width: int = 2) -> bytes:
    """A WAV file."""
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setparams((channels, width, rate_hz, 0, "NONE", ""))
        file.writeframes(samples.tobytes())
    return content.getvalue()


def make_folder(root: Path) -> Path:
    """The pack: 20 speakers of two accents, each clean and in noise, one second an utterance."""
    (root / "audio").mkdir(parents=True)
    rows = []
    for number in range(2 * SPEAKERS):
        content = wav(noise(number))
        name = f"u{number:03d}"
        (root / "audio" / f"{name}.wav").write_bytes(content)
        rows.append(
            {
                "utterance_id": name,
                "path": f"audio/{name}.wav",
                "text": f"{PLANTED} on {'abcdefghij'[number % 10]}",
                "speaker": f"s{number // 2:02d}",
                "duration_s": 1.0,
                "sample_rate_hz": RATE_HZ,
                "sha256": hashlib.sha256(content).hexdigest(),
                "language": "en",
                "accent": ("us", "scottish")[number // 2 % 2],
                "noise": ("clean", "5db")[number % 2],
            }
        )
    write(root, CARD, pd.DataFrame(rows))
    return root


def change_card(root: Path, **fields: Any) -> None:
    """Write pack.yaml with other fields; one that is None is left out."""
    card = {name: value for name, value in (CARD | fields).items() if value is not None}
    (root / "pack.yaml").write_text(yaml.safe_dump(card))


def change_table(root: Path, change: Change) -> None:
    """Write utterances.parquet changed."""
    path = root / "utterances.parquet"
    change(pd.read_parquet(path)).to_parquet(path, index=False)


def setting(column: str, *values: Any) -> Change:
    """Other values of a column in the first rows; a column that is not there is empty elsewhere."""

    def change(table: pd.DataFrame) -> pd.DataFrame:
        old = table[column].tolist() if column in table.columns else [None] * len(table)
        return table.assign(**{column: pd.Series([*values, *old[len(values) :]], dtype=object).infer_objects()})

    return change


def change_audio(root: Path, content: bytes, name: str = FIRST, **columns: Any) -> None:
    """Another recording, whose digest the table knows; `columns` are other values of its row."""
    (root / "audio" / f"{name}.wav").write_bytes(content)

    def change(table: pd.DataFrame) -> pd.DataFrame:
        row = table["utterance_id"] == name
        table.loc[row, "sha256"] = hashlib.sha256(content).hexdigest()
        for column, value in columns.items():
            table.loc[row, column] = value
        return table

    change_table(root, change)
