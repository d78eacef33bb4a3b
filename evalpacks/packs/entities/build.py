"""Build the pack entities: every sentence holds one number, amount, name, address, date or time, and says which.

Boundary: evalpacks.packs.synthetic writes; planning is pure.
Invariants: the text of an entity is a verbatim part of the reference, and stays one after every normaliser; numbers
are written as they are said; each speaker says each kind of entity equally often.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path

import numpy as np

from evalpacks.packs.entities.numbers import cardinal, ordinal
from evalpacks.packs.making import Progress, length_slice, read_card
from evalpacks.packs.synthetic import Speaker, Studio, Utterance, cast, record_pack

Generator = np.random.Generator

SEED = 20261121
SENTENCES_A_KIND = 1

FIRST_NAMES = (
    "Alice", "Benjamin", "Caroline", "Daniel", "Eleanor", "Frank", "Grace", "Henry", "Isabel", "James", "Katherine",
    "Louis", "Martin", "Nora", "Oliver", "Patricia", "Rachel", "Samuel", "Victoria", "William",
)  # fmt: skip
LAST_NAMES = (
    "Adams", "Baker", "Carter", "Dixon", "Ellis", "Foster", "Graham", "Harris", "Jackson", "Kennedy", "Lawson",
    "Mitchell", "Norton", "Parker", "Robinson", "Sullivan", "Turner", "Watson",
)  # fmt: skip
STREETS = ("Baker Street", "Chapel Lane", "Garden Road", "Harbour Street", "Mill Lane", "Park Avenue", "Station Road")
TOWNS = ("Boston", "Cambridge", "Dover", "Lincoln", "Manchester", "Oxford", "Plymouth", "Windsor")
MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip
CURRENCIES = (("dollars", "cents"), ("pounds", "pence"), ("euros", "cents"))
MINUTES = ("five past", "ten past", "quarter past", "half past", "twenty to", "quarter to", "ten to")
PARTS_OF_DAY = ("in the morning", "in the afternoon", "in the evening")

FRAMES: dict[str, tuple[str, ...]] = {
    "number": (
        "Your order number is {}.",
        "There were {} people in the hall.",
        "The reference that you need is {}, please keep it.",
        "{} copies were printed.",
    ),
    "amount": (
        "The total is {}.",
        "Please transfer {} to my savings account before noon.",
        "We were charged {} for the repair of the kitchen window.",
        "{} was paid.",
    ),
    "name": (
        "I would like to speak to {}.",
        "{} called about the contract while you were away.",
        "The appointment was made for {}, as far as I know.",
        "This is {}.",
    ),
    "address": (
        "Please send the parcel to {}.",
        "We live at {}.",
        "The taxi should come to {}, and the driver should ring the bell.",
        "The new office is at {}.",
    ),
    "date": (
        "The contract ends on {}.",
        "We will be on holiday until {}, so please call us after that.",
        "My birthday is on {}.",
        "Can the delivery be moved to {}, or is that too late?",
    ),
    "time": (
        "The meeting begins at {}.",
        "Wake me up at {}.",
        "The last train leaves at {}, and there is no bus after it.",
        "Dinner was ready at {}.",
    ),
}
"""Kind of entity -> sentences around it."""


def _number(generator: Generator) -> str:
    digits = int(generator.integers(2, 7))
    return cardinal(int(generator.integers(10 ** (digits - 1), 10**digits)))


def _amount(generator: Generator) -> str:
    whole, part = CURRENCIES[int(generator.integers(len(CURRENCIES)))]
    text = f"{cardinal(int(generator.integers(2, 1_000)))} {whole}"
    return f"{text} and {cardinal(int(generator.integers(2, 100)))} {part}" if generator.random() < 0.5 else text


def _name(generator: Generator) -> str:
    return f"{generator.choice(FIRST_NAMES)} {generator.choice(LAST_NAMES)}"


def _address(generator: Generator) -> str:
    return f"{cardinal(int(generator.integers(2, 200)))} {generator.choice(STREETS)} in {generator.choice(TOWNS)}"


def _date(generator: Generator) -> str:
    return f"{generator.choice(MONTHS)} {ordinal(int(generator.integers(1, 29)))}"


def _time(generator: Generator) -> str:
    hour = cardinal(int(generator.integers(1, 13)))
    return f"{generator.choice(MINUTES)} {hour} {generator.choice(PARTS_OF_DAY)}"


KINDS: dict[str, Callable[[Generator], str]] = {
    "number": _number,
    "amount": _amount,
    "name": _name,
    "address": _address,
    "date": _date,
    "time": _time,
}
"""Kind of entity -> one of it."""


def build(out: Path, *, studio: Studio, on_progress: Progress | None = None) -> Path:
    """Write the pack into the folder `out`, replacing one that is there, and return it."""
    generator = np.random.default_rng(SEED)
    utterances = plan(cast(studio, tuple(studio.accents), generator), generator)
    return record_pack(out, read_card(__file__), utterances, studio, on_progress=on_progress)


def plan(speakers: Sequence[Speaker], generator: Generator) -> list[Utterance]:
    """SENTENCES_A_KIND sentences of every kind by every speaker."""
    return [
        _utterance(speaker, kind, place, generator)
        for speaker, kind, place in product(speakers, KINDS, range(SENTENCES_A_KIND))
    ]


def _utterance(speaker: Speaker, kind: str, place: int, generator: Generator) -> Utterance:
    frame = str(generator.choice(FRAMES[kind]))
    entity = KINDS[kind](generator)
    entity = entity[0].upper() + entity[1:] if frame.startswith("{}") else entity
    text = frame.format(entity)
    return Utterance(
        utterance_id=f"{speaker.name}-{kind}-{place}",
        speaker=speaker.name,
        text=text,
        lines=(speaker.says(text),),
        columns={
            "entities": json.dumps([{"type": kind, "text": entity}]),
            "entity": kind,
            "length": length_slice(text),
            "accent": speaker.accent,
        },
        seed=int(generator.integers(1 << 31)),
    )
