"""Build the pack speaker-trials: who speaks, among synthetic voices that are enrolled.

Boundary: evalpacks.packs.synthetic writes; planning is pure.
Invariants: every speaker is enrolled by the same number of clean utterances and tried by one probe under each
condition, so that every probe has one target and as many non-targets as every other; no speaker says a text twice;
lengths and conditions are crossed over the speakers.
Source: the trial design of NIST speaker recognition evaluations (all probes against all enrolled models).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from evalpacks.packs.english_synthetic.build import sentences
from evalpacks.packs.making import Progress, length_slice, read_card
from evalpacks.packs.synthetic import Speaker, Studio, Utterance, cast, record_pack

SEED = 20261121
ACCENTS = ("us", "british", "scottish", "caribbean")
ENROLMENTS = 2
CONDITIONS = ("clean", "babble", "far-field", "mulaw-8khz")
LENGTHS = ("1-2", "3-7", "8plus")
ENROLLED_LENGTH = "8plus"
SOURCE = "espeak-ng"


def build(out: Path, *, studio: Studio, on_progress: Progress | None = None) -> Path:
    """Write the pack into the folder `out`, replacing one that is there, and return it."""
    speakers = cast(studio, ACCENTS, np.random.default_rng(SEED))
    return record_pack(out, read_card(__file__), plan(speakers), studio, on_progress=on_progress)


def plan(speakers: Sequence[Speaker]) -> list[Utterance]:
    """The enrolments and probes of every speaker."""
    texts = {length: [text for text in sentences() if length_slice(text) == length] for length in LENGTHS}
    return [said for number, speaker in enumerate(speakers) for said in _of(speaker, number, speakers, texts)]


def _of(speaker: Speaker, number: int, speakers: Sequence[Speaker], texts: dict[str, list[str]]) -> Iterator[Utterance]:
    """What one speaker says: first to be enrolled, then once under each condition."""
    said = [("clean", ENROLLED_LENGTH, "enrolment")] * ENROLMENTS
    said += [(name, LENGTHS[(number + place) % len(LENGTHS)], "probe") for place, name in enumerate(CONDITIONS)]
    for place, (condition, length, role) in enumerate(said):
        choice = texts[length]
        text = choice[(number + place) % len(choice)]
        other = speakers[(number + len(speakers) // 2) % len(speakers)]
        background = (other.says(texts[ENROLLED_LENGTH][number % len(texts[ENROLLED_LENGTH])]),)
        yield Utterance(
            utterance_id=f"{speaker.name}-{role}-{place}",
            speaker=speaker.name,
            text=text,
            lines=(speaker.says(text),),
            columns={"role": role, "accent": speaker.accent, "noise": condition, "length": length, "source": SOURCE},
            seed=SEED + 10 * number + place,
            condition=condition,
            background=background if condition == "babble" else (),
        )
