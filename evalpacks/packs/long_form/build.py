"""Build the pack long-form: sentences of one speaker, one after the other, with pauses as between sentences.

Boundary: evalpacks.packs.synthetic writes; planning is pure.
Invariants: no sentence is said twice in one utterance; the value of slice `duration` follows from the recording.
Source: pauses between read sentences last 0.4 to 1.0 s (Campione & Veronis 2002, the class of medium pauses).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from evalpacks.packs.making import Progress, read_card, word_count
from evalpacks.packs.synthetic import Speaker, Studio, Utterance, cast, record_pack

SEED = 20261124
ACCENT = "british"
PAUSE_S = (0.4, 1.0)
TARGETS_S = {"30-60s": 46.0, "60-120s": 88.0, "120-180s": 168.0}
"""Value of slice `duration` -> how long its utterances are planned; espeak-ng takes about four fifths of it."""
LONGEST_SPEAKERS = 12
"""Speakers of the longest utterances: half of all, because they are most of the pack's bytes."""


def build(out: Path, *, studio: Studio, on_progress: Progress | None = None) -> Path:
    """Write the pack into the folder `out`, replacing one that is there, and return it."""
    generator = np.random.default_rng(SEED)
    texts = Path(__file__).with_name("sentences.txt").read_text(encoding="utf-8").splitlines()
    utterances = plan(cast(studio, (ACCENT,), generator), texts, generator)
    return record_pack(
        out,
        read_card(__file__),
        utterances,
        studio,
        on_progress=on_progress,
        derive=lambda row: {"duration": duration_slice(row["duration_s"])},
    )


def duration_slice(seconds: float) -> str:
    """The value of slice `duration`.

    >>> [duration_slice(seconds) for seconds in (59.9, 60.0, 120.0)]
    ['30-60s', '60-120s', '120-180s']
    """
    return "30-60s" if seconds < 60 else "60-120s" if seconds < 120 else "120-180s"


def plan(speakers: Sequence[Speaker], texts: Sequence[str], generator: np.random.Generator) -> list[Utterance]:
    """One utterance of each planned length by every speaker, the longest by every second one."""
    step = len(speakers) // LONGEST_SPEAKERS
    return [
        _utterance(speaker, name, target_s, texts, generator)
        for number, speaker in enumerate(speakers)
        for name, target_s in TARGETS_S.items()
        if name != "120-180s" or number % step == 0
    ]


def _utterance(
    speaker: Speaker, name: str, target_s: float, texts: Sequence[str], generator: np.random.Generator
) -> Utterance:
    said, planned_s = [], 0.0
    for index in generator.permutation(len(texts)):
        if planned_s >= target_s:
            break
        text, pause_s = texts[int(index)], float(generator.uniform(*PAUSE_S))
        said.append(speaker.says(text, pause_s=pause_s))
        planned_s += word_count(text) * 60 / speaker.rate_wpm + pause_s
    return Utterance(
        utterance_id=f"{speaker.name}-{name}",
        speaker=speaker.name,
        text=" ".join(line.text for line in said),
        lines=tuple(said),
        columns={"use": "dictation"},
        seed=int(generator.integers(1 << 31)),
    )
