"""Build the pack assistant-questions: questions to a tenant's documents, with the facts that a right reply holds.

Boundary: evalpacks.packs.synthetic writes; planning is pure, after the questions beside this module are read.
Invariants: every question is asked equally often, give or take one; the recording that an utterance speaks over is of
the same tenant and another question; what the documents say is not known here (a test compares).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import yaml

from evalpacks.packs.making import Progress, read_card
from evalpacks.packs.synthetic import Line, Speaker, Studio, Utterance, cast, record_pack

Generator = np.random.Generator

SEED = 20261127
VARIANTS = ("Alex", "Denis", "Hugo", "Lee", "Reed", "adam", "benjamin", "david", "edward", "f4", "m3", "m6")
"""Voices of which a small recogniser (Moonshine tiny) understands more than half: who is not understood at all says
nothing of what is answered."""
QUESTIONS_A_SPEAKER = 4
CONDITIONS = ("clean", "clean", "mulaw-8khz", "babble")
"""Of the questions of one speaker, in turn."""
OTHER_VOICES = 2
"""Voices of the babble."""
INTERRUPTS_EVERY = 5


class Question(NamedTuple):
    """One question of questions.yaml."""

    tenant: str
    topic: str
    text: str
    answer: list[str]
    cites: list[str]


def questions() -> list[Question]:
    """Those of every tenant."""
    listed = yaml.safe_load(Path(__file__).with_name("questions.yaml").read_text(encoding="utf-8"))
    return [Question(tenant=tenant, **entry) for tenant, entries in listed.items() for entry in entries]


def build(out: Path, *, studio: Studio, on_progress: Progress | None = None) -> Path:
    """Write the pack into the folder `out`, replacing one that is there, and return it."""
    generator = np.random.default_rng(SEED)
    speakers = [one for one in cast(studio, tuple(studio.accents), generator) if one.variant in VARIANTS]
    return record_pack(out, read_card(__file__), plan(speakers, generator), studio, on_progress=on_progress)


def plan(speakers: Sequence[Speaker], generator: Generator) -> list[Utterance]:
    """QUESTIONS_A_SPEAKER questions by every speaker, each under its condition."""
    asked = islice(_rounds(questions(), generator), len(speakers) * QUESTIONS_A_SPEAKER)
    said: list[Utterance] = []
    for place, question in enumerate(asked):
        speaker = speakers[place // QUESTIONS_A_SPEAKER]
        others = [one for one in speakers if one is not speaker]
        others = [others[int(number)] for number in generator.choice(len(others), OTHER_VOICES, replace=False)]
        over = _earlier(said, question) if place % INTERRUPTS_EVERY == INTERRUPTS_EVERY - 1 else ""
        said.append(_utterance(speaker, question, place, generator, others, over))
    return said


def _rounds(listed: Sequence[Question], generator: Generator) -> Iterator[Question]:
    """All questions again and again, each time in another order, so that every kind is asked by many speakers."""
    while True:
        yield from (listed[int(place)] for place in generator.permutation(len(listed)))


def _earlier(said: Sequence[Utterance], question: Question) -> str:
    """The recording of the last question of the same tenant that is another one and has an answer; "" where none is."""
    return next(
        (
            f"audio/{one.utterance_id}.wav"
            for one in reversed(said)
            if one.columns["tenant"] == question.tenant
            and one.text != question.text
            and one.columns["answerable"] == "yes"
        ),
        "",
    )


def _utterance(
    speaker: Speaker, question: Question, place: int, generator: Generator, others: Sequence[Speaker], over: str
) -> Utterance:
    condition = CONDITIONS[place % QUESTIONS_A_SPEAKER]
    seed = int(generator.integers(1 << 31))
    return Utterance(
        utterance_id=f"{speaker.name}-{place:03d}",
        speaker=speaker.name,
        text=question.text,
        lines=(speaker.says(question.text),),
        columns={
            "tenant": question.tenant,
            "topic": question.topic,
            "noise": condition,
            "answerable": "yes" if question.answer else "no",
            "accent": speaker.accent,
            "answer": json.dumps(question.answer),
            "cites": json.dumps(question.cites),
            "interrupts": over,
        },
        seed=seed,
        condition=condition,
        background=tuple(_murmur(other) for other in others) if condition == "babble" else (),
    )


def _murmur(other: Speaker) -> Line:
    return other.says("Then we went home and looked for the keys that were left on the table by the window.")
