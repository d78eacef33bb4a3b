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
from evalpacks.packs.synthetic import Speaker, Studio, Utterance, cast, record_pack

SEED = 20261123
ACCENT = "us"
CONDITIONS = ("clean", "12khz", "clipped", "mulaw-8khz", "far-field", "babble")
SENTENCES_A_SPEAKER = 5
OTHER_VOICES = 4
"""Voices of the babble."""


def build(out: Path, *, studio: Studio, on_progress: Progress | None = None) -> Path:
    """Write the pack into the folder `out`, replacing one that is there, and return it."""
    generator = np.random.default_rng(SEED)
    texts = [text for text in sentences() if word_count(text) >= 3]
    utterances = plan(cast(studio, (ACCENT,), generator), texts, generator)
    return record_pack(out, read_card(__file__), utterances, studio, on_progress=on_progress)


def plan(speakers: Sequence[Speaker], texts: Sequence[str], generator: np.random.Generator) -> list[Utterance]:
    """SENTENCES_A_SPEAKER texts of every speaker under every condition."""
    utterances: list[Utterance] = []
    for speaker in speakers:
        others = [person for person in speakers if person is not speaker]
        for place, index in enumerate(generator.choice(len(texts), size=SENTENCES_A_SPEAKER, replace=False)):
            crowd = generator.choice(len(others), size=OTHER_VOICES, replace=False)
            said_by_others = generator.choice(len(texts), size=OTHER_VOICES, replace=False)
            base = Utterance(
                utterance_id=f"{speaker.name}-{place}",
                speaker=speaker.name,
                text=texts[int(index)],
                lines=(speaker.says(texts[int(index)]),),
                columns={"base": f"{speaker.name}-{place}", "length": length_slice(texts[int(index)])},
                seed=int(generator.integers(1 << 31)),
                background=tuple(
                    others[int(person)].says(texts[int(text)])
                    for person, text in zip(crowd, said_by_others, strict=True)
                ),
            )
            utterances += [_under(base, condition) for condition in CONDITIONS]
    return utterances


def _under(base: Utterance, condition: str) -> Utterance:
    return base._replace(
        utterance_id=f"{base.utterance_id}-{condition}",
        condition=condition,
        background=base.background if condition == "babble" else (),
        columns={**base.columns, "condition": condition},
    )
