"""Build the pack english-synthetic: English sentences of every length in six accents.

Boundary: evalpacks.packs.synthetic writes; planning is pure.
Invariants: every sentence is said, and every speaker says sentences of several lengths.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from evalpacks.packs.making import Progress, length_slice, read_card
from evalpacks.packs.synthetic import Speaker, Studio, Utterance, cast, record_pack

SEED = 20261120
SENTENCES_A_SPEAKER = 3


def build(out: Path, *, studio: Studio, on_progress: Progress | None = None) -> Path:
    """Write the pack into the folder `out`, replacing one that is there, and return it."""
    speakers = cast(studio, tuple(studio.accents), np.random.default_rng(SEED))
    return record_pack(out, read_card(__file__), plan(speakers), studio, on_progress=on_progress)


def sentences() -> list[str]:
    """The sentences of this pack, shortest first in groups of one length."""
    return Path(__file__).with_name("sentences.txt").read_text(encoding="utf-8").splitlines()


def plan(speakers: Sequence[Speaker]) -> list[Utterance]:
    """Who says what: every speaker says every n-th sentence, beginning one further than the speaker before."""
    texts = sentences()
    step = len(texts) // SENTENCES_A_SPEAKER
    return [
        Utterance(
            utterance_id=f"{speaker.name}-{place:02d}",
            speaker=speaker.name,
            text=texts[place],
            lines=(speaker.says(texts[place]),),
            columns={"length": length_slice(texts[place]), "accent": speaker.accent},
            seed=SEED + number,
        )
        for number, speaker in enumerate(speakers)
        for place in range(number % step, len(texts), step)
    ]
