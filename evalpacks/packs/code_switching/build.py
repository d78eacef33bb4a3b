"""Build the pack code-switching: English with Spanish or French inside one utterance, by one speaker.

Boundary: evalpacks.packs.synthetic writes; planning is pure.
Invariants: languages change between two words without a silence; the language of every part is in the table.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import yaml

from evalpacks.packs.making import Progress, read_card
from evalpacks.packs.synthetic import Speaker, Studio, Utterance, cast, record_pack

SEED = 20261122
ACCENTS = ("us", "british")
SENTENCES_A_SPEAKER = 4
VOICES = {"es": "es-419", "fr": "fr"}
"""Language beside English -> voice of espeak-ng."""


class Part(NamedTuple):
    """Words of one language."""

    language: str
    text: str


def build(out: Path, *, studio: Studio, on_progress: Progress | None = None) -> Path:
    """Write the pack into the folder `out`, replacing one that is there, and return it."""
    phrases = yaml.safe_load(Path(__file__).with_name("phrases.yaml").read_text(encoding="utf-8"))
    generator = np.random.default_rng(SEED)
    utterances = plan(cast(studio, ACCENTS, generator), phrases, generator)
    return record_pack(out, read_card(__file__), utterances, studio, on_progress=on_progress)


def plan(
    speakers: Sequence[Speaker], phrases: Mapping[str, Sequence[str]], generator: np.random.Generator
) -> list[Utterance]:
    """Every speaker says SENTENCES_A_SPEAKER sentences with each of the other languages, half with several switches."""
    few = [frame for frame in phrases["frames"] if _switches(frame) == 1]
    many = [frame for frame in phrases["frames"] if _switches(frame) > 1]
    utterances = []
    for speaker, other in product(speakers, VOICES):
        half = SENTENCES_A_SPEAKER // 2
        chosen = [*generator.choice(few, half, replace=False), *generator.choice(many, half, replace=False)]
        parts = (sentence(str(frame), other, phrases, generator) for frame in chosen)
        utterances += [_utterance(speaker, other, place, said) for place, said in enumerate(parts)]
    return utterances


def sentence(
    frame: str, other: str, phrases: Mapping[str, Sequence[str]], generator: np.random.Generator
) -> tuple[Part, ...]:
    """The parts of a frame with phrases of the other language in its gaps, each phrase once."""
    english = [text.strip() for text in frame.split("{}")]
    gaps = generator.choice(len(phrases[other]), size=len(english) - 1, replace=False)
    parts = [Part("en", english[0])]
    for gap, text in zip(gaps, english[1:], strict=True):
        parts += [Part(other, phrases[other][int(gap)]), Part("en", text)]
    return tuple(part for part in parts if part.text)


def _switches(frame: str) -> int:
    """How often the language changes in a frame."""
    return frame.count("{}") + sum(bool(text.strip()) for text in frame.split("{}")) - 1


def _utterance(speaker: Speaker, other: str, place: int, parts: tuple[Part, ...]) -> Utterance:
    return Utterance(
        utterance_id=f"{speaker.name}-{other}-{place}",
        speaker=speaker.name,
        text=" ".join(part.text for part in parts),
        lines=tuple(speaker.says(part.text, voice=VOICES.get(part.language)) for part in parts),
        columns={
            "pair": f"en-{other}",
            "switches": "1" if len(parts) == 2 else "2plus",
            "parts": json.dumps([part._asdict() for part in parts], ensure_ascii=False),
        },
        seed=SEED + place,
    )
