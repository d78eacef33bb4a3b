"""Build the packs robustness and commands-robustness: every text once under every condition, paired with `clean`.

Boundary: evalpacks.packs.synthetic writes; planning is pure; what a condition does is the studio's.
Invariants: one base utterance differs between conditions in nothing but the condition: text, voice, pitch, speed and
seed are the same, and the column `base` names it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evalpacks.packs.english_synthetic.build import sentences
from evalpacks.packs.making import Progress, length_slice, read_card, word_count
from evalpacks.packs.synthetic import Line, Speaker, Studio, Utterance, cast, record_pack

Choose = Callable[[str, int, np.random.Generator], Sequence[str]]
"""(accent, count, generator) -> so many different texts that a speaker of the accent may say."""

SEED = 20261123
CONDITIONS = ("clean", "12khz", "clipped", "mulaw-8khz", "far-field", "babble")
SPEAKERS = 72
SENTENCES_A_SPEAKER = 2
COMMANDS_A_SPEAKER = 4
OTHER_VOICES = 4
"""Voices of the babble."""
COMMANDS_CARD = {
    "name": "commands-robustness",
    "title": "The same voice commands, clean and under five conditions of microphone, room and line",
    "source": "the command grammar of speech/corpus.py, spoken by espeak-ng (package espeakng-loader), changed by "
    "speech/conditions.py",
    "min_support": {"speakers": SPEAKERS, "words": 1000},
    "notes": "72 test speakers of the pack commands (12 of each accent), four commands each, every one under every "
    "condition (column base). The conditions are those of the pack robustness, and its limits hold here too.",
}
"""What the card of commands-robustness says otherwise than that of robustness."""


def build(out: Path, *, studio: Studio, on_progress: Progress | None = None) -> Path:
    """Write the pack robustness into the folder `out`, replacing one that is there, and return it."""
    texts = [text for text in sentences() if word_count(text) >= 3]

    def choose(_accent: str, count: int, generator: np.random.Generator) -> list[str]:
        return [texts[int(index)] for index in generator.choice(len(texts), size=count, replace=False)]

    return _record(out, read_card(__file__), studio, choose, SENTENCES_A_SPEAKER, on_progress)


def build_commands(out: Path, *, studio: Studio, choose: Choose, on_progress: Progress | None = None) -> Path:
    """The same for commands-robustness, with the intents of the pack commands; `choose` gives commands."""
    intents = read_card(str(Path(__file__).parents[1] / "commands" / "pack.yaml"))["intents"]
    card = read_card(__file__) | COMMANDS_CARD | {"intents": intents}
    return _record(out, card, studio, choose, COMMANDS_A_SPEAKER, on_progress)


def _record(
    out: Path,
    card: Mapping[str, Any],
    studio: Studio,
    choose: Choose,
    texts_a_speaker: int,
    on_progress: Progress | None,
) -> Path:
    generator = np.random.default_rng(SEED)
    speakers = cast(studio, tuple(studio.accents), generator)
    utterances = plan(speakers[:: len(speakers) // SPEAKERS], choose, texts_a_speaker, generator)
    return record_pack(out, card, utterances, studio, on_progress=on_progress)


def plan(
    speakers: Sequence[Speaker], choose: Choose, texts_a_speaker: int, generator: np.random.Generator
) -> list[Utterance]:
    """So many texts of every speaker under every condition."""
    utterances: list[Utterance] = []
    for speaker in speakers:
        others = [person for person in speakers if person is not speaker]
        for place, text in enumerate(choose(speaker.accent, texts_a_speaker, generator)):
            base = _base(speaker, place, text, _babble(others, choose, generator), generator)
            utterances += [_under(base, condition) for condition in CONDITIONS]
    return utterances


def _babble(others: Sequence[Speaker], choose: Choose, generator: np.random.Generator) -> tuple[Line, ...]:
    crowd = [others[int(place)] for place in generator.choice(len(others), size=OTHER_VOICES, replace=False)]
    said = choose(crowd[0].accent, OTHER_VOICES, generator)
    return tuple(person.says(text) for person, text in zip(crowd, said, strict=True))


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
