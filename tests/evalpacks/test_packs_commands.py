"""The card of the pack commands: every command has one intent, and different commands differ in intent or slots."""

from __future__ import annotations

import re
from collections import defaultdict
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from speech.corpus import ACCENTS, DIALECTS, TEMPLATES, command, write_pack

ROOT = Path(__file__).parents[2]
CARD = ROOT / "evalpacks/packs/commands/pack.yaml"
INTENTS = {name: re.compile(pattern) for name, pattern in yaml.safe_load(CARD.read_text())["intents"].items()}
SAME_MEANING = {"switch": "turn", "start": "play", "set": "play", "the": ""}
"""Words that change nothing of what is meant; the sentence's other words still do."""


def heard(text: str) -> list[tuple[str, dict[str, str | None]]]:
    """Every (intent, slots) that a text matches."""
    return [(name, found.groupdict()) for name, pattern in INTENTS.items() if (found := pattern.fullmatch(text))]


def grammar(accent: str) -> list[str]:
    """Every command that the grammar can make, in the accent's words."""
    dialect = DIALECTS.get(accent, {})
    sentences = (words for template in TEMPLATES for words in product(*template))
    return sorted({" ".join(dialect.get(word, word) for word in words) for words in sentences})


@pytest.mark.parametrize("accent", ["us", "scottish"])
def test_law_every_command_has_exactly_one_intent(accent: str) -> None:
    sentences = grammar(accent)
    assert len(sentences) > 300
    assert [text for text in sentences if len(heard(text)) != 1] == []


def test_law_commands_of_one_intent_and_slots_mean_the_same() -> None:
    meanings: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    for text in grammar("us"):
        meaning = sorted(SAME_MEANING.get(word, word) for word in text.split())
        meanings[repr(heard(text))].add(tuple(word for word in meaning if word))
    assert {key: found for key, found in meanings.items() if len(found) != 1} == {}


@pytest.mark.parametrize(
    ("text", "intent", "slots"),
    [
        ("turn off the kitchen light", "switch", {"state": "off", "room": "kitchen", "device": "light"}),
        ("switch the kitchen light off", "switch", {"state": "off", "room": "kitchen", "device": "light"}),
        ("pit aff the scullery licht", "switch", {"state": "aff", "room": "scullery", "device": "licht"}),
        ("play jazz", "media", {"action": "play", "subject": "jazz", "room": None}),
        ("stop the alarm", "silence", {"sounding": "alarm"}),
    ],
)
def test_slots_hold_what_the_command_names(text: str, intent: str, slots: dict[str, str | None]) -> None:
    assert heard(text) == [(intent, slots)]


@pytest.mark.parametrize("text", ["", "turn the light", "turn on the light please", "set the timer for", "channel"])
def test_what_is_no_command_has_no_intent(text: str) -> None:
    assert heard(text) == []


def test_every_accent_of_the_corpus_speaks_the_grammar() -> None:
    generator = np.random.default_rng(5)
    for accent in ACCENTS:
        assert {len(heard(command(generator, accent))) for _ in range(200)} == {1}


def test_the_table_says_when_speech_ends(tmp_path: Path) -> None:
    write_pack(tmp_path / "commands", CARD, seed=3, shares={"clean": 1}, rate_hz=8000)
    table = pd.read_parquet(tmp_path / "commands" / "utterances.parquet")
    silence_s = table["duration_s"] - table["speech_end_s"]
    assert len(table) == 48 * len(ACCENTS)
    assert ((silence_s > 0.04) & (silence_s < 0.26)).all()
    assert "word_ends_s" not in table
