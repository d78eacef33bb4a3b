"""A studio that hums: another sound for every line, voice and condition, without a synthesiser."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import soundfile

from evalpacks.packs.making import Progress
from evalpacks.packs.synthetic import Utterance

RATE_HZ = 16_000


class HummingStudio:
    """The names of the real studio's accents and as many variants; every word lasts `word_s`."""

    def __init__(self, word_s: float = 0.02) -> None:
        self.word_s = word_s
        self.accents: Mapping[str, str] = {
            "us": "en-us",
            "british": "en",
            "scottish": "en-gb-scotland",
            "rp": "en-gb-x-rp",
            "caribbean": "en-029",
            "lancashire": "en-gb-x-gbclan",
        }
        self.variants: Sequence[str] = [f"Person{number}" for number in range(24)]

    def record(
        self, scripts: Sequence[Utterance], folder: Path, on_progress: Progress | None = None
    ) -> Mapping[str, float]:
        ends_s = {}
        for done, script in enumerate(scripts, start=1):
            words = sum(len(line.text.split()) for line in script.lines)
            pitch_hz = 100 + zlib.crc32(repr((script.lines, script.condition, script.seed)).encode()) % 1_000
            ends_s[script.utterance_id] = script.lead_s + self.word_s * words
            second = 3_000 * np.sin(2 * np.pi * pitch_hz * np.arange(RATE_HZ) / RATE_HZ)
            hum = np.resize(second.astype(np.int16), round((ends_s[script.utterance_id] + script.trail_s) * RATE_HZ))
            soundfile.write(folder / f"audio/{script.utterance_id}.wav", hum, RATE_HZ, subtype="PCM_16")
            if on_progress is not None:
                on_progress(done, len(scripts))
        return ends_s
