"""Build the pack robustness: every sentence once under every condition, so that each condition is paired with `clean`.

Boundary: evalpacks.packs.synthetic writes; planning is pure; what a condition does is the studio's.
Invariants: one base utterance differs between conditions in nothing but the condition: text, voice, pitch, speed and
seed are the same, and the column `base` names it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from evalpacks.packs.english_synthetic.build import sentences
from evalpacks.packs.making import Progress, length_slice, read_card, word_count
from evalpacks.packs.synthetic import Line, Speaker, Studio, Utterance, cast, record_pack

SEED = 20261123
CONDITIONS = ("clean", "12khz", "clipped", "mulaw-8khz", "far-field", "babble")
SPEAKERS = 72
SENTENCES_A_SPEAKER = 2
OTHER_VOICES = 4
"""Voices of the babble."""


def build(out: Path, *, studio: Studio, on_progress: Progress | None = None) -> Path:
    """Write the pack into the folder `out`, replacing one that is there, and return it."""
    generator = np.random.default_rng(SEED)
    texts = [text for text in sentences() if word_count(text) >= 3]
    speakers = cast(studio, tuple(studio.accents), generator)
    utterances = plan(speakers[:: len(speakers) // SPEAKERS], texts, generator)
    return record_pack(out, read_card(__file__), utterances, studio, on_progress=on_progress)


def plan(speakers: Sequence[Speaker], texts: Sequence[str], generator: np.random.Generator) -> list[Utterance]:
    """SENTENCES_A_SPEAKER texts of every speaker under every condition."""
    utterances: list[Utterance] = []
    for speaker in speakers:
        others = [person for person in speakers if person is not speaker]
        for place, index in enumerate(generator.choice(len(texts), size=SENTENCES_A_SPEAKER, replace=False)):
            base = _base(speaker, place, texts[int(index)], _babble(others, texts, generator), generator)
            utterances += [_under(base, condition) for condition in CONDITIONS]
    return utterances


def _babble(others: Sequence[Speaker], texts: Sequence[str], generator: np.random.Generator) -> tuple[Line, ...]:
    crowd = generator.choice(len(others), size=OTHER_VOICES, replace=False)
    said = generator.choice(len(texts), size=OTHER_VOICES, replace=False)
    return tuple(others[int(person)].says(texts[int(text)]) for person, text in zip(crowd, said, strict=True))


def _base(
    speaker: Speaker, place: int, text: str, background: tuple[Line, ...], generator: np.random.Generator
) -> Utterance:
    name = f"{speaker.name}-{place}"
    return Utterance(
        utterance_id=name,
        speaker=speaker.name,
        text=text,
        lines=(speaker.says(text),),
        columns={"base": name, "length": length_slice(text), "accent": speaker.accent},
        seed=int(generator.integers(1 << 31)),
        background=background,
    )


def _under(base: Utterance, condition: str) -> Utterance:
    return base._replace(
        utterance_id=f"{base.utterance_id}-{condition}",
        condition=condition,
        background=base.background if condition == "babble" else (),
        columns={**base.columns, "condition": condition},
    )
