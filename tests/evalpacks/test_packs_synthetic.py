"""The synthetic packs: plans follow from their seed, slices have their support, every pack keeps its own laws."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
import yaml

from evalpacks import pack, slices
from evalpacks.normalize import normalize
from evalpacks.packs.code_switching import build as code_switching
from evalpacks.packs.english_synthetic import build as english
from evalpacks.packs.entities import build as entities
from evalpacks.packs.entities.numbers import cardinal, ordinal
from evalpacks.packs.long_form import build as long_form
from evalpacks.packs.making import word_count
from evalpacks.packs.robustness import build as robustness
from evalpacks.packs.synthetic import Utterance, cast
from speech.conditions import CONDITIONS
from speech.corpus import different_commands
from tests.evalpacks.fake_studio import HummingStudio

BUILDERS: dict[str, ModuleType] = {
    "english-synthetic": english,
    "entities": entities,
    "code-switching": code_switching,
    "long-form": long_form,
    "robustness": robustness,
}
SPOKEN = {
    "english-synthetic": (432, 144),
    "entities": (864, 144),
    "code-switching": (384, 48),
    "long-form": (60, 24),
    "robustness": (864, 72),
}
"""Pack -> utterances and speakers."""
ROOT = Path(__file__).parents[2]

Built = Callable[[str], pack.Pack]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("packs")
    kept: dict[str, pack.Pack] = {}

    def made(name: str) -> pack.Pack:
        if name not in kept:
            studio = HummingStudio(word_s=0.4) if name == "long-form" else HummingStudio()
            kept[name] = pack.load(BUILDERS[name].build(folder / name, studio=studio))
        return kept[name]

    return made


@pytest.mark.parametrize("name", BUILDERS)
def test_a_pack_has_its_speakers_and_every_protected_slice_its_support(built: Built, name: str) -> None:
    made = built(name)
    table = made.utterances
    assert (len(table), table["speaker"].nunique()) == SPOKEN[name]
    for protected, mask in slices.slice_masks(table, made.protected).items():
        chosen = table[mask]
        assert chosen["speaker"].nunique() >= made.meta.min_support["speakers"], protected
        assert sum(map(word_count, chosen["text"])) >= made.meta.min_support["words"], protected


@pytest.mark.parametrize("name", BUILDERS)
def test_a_pack_may_be_shown_and_says_when_speech_ends(built: Built, name: str) -> None:
    made = built(name)
    assert made.meta.name == name
    assert made.meta.show_transcripts
    assert made.meta.licence.startswith("CC0-1.0")
    assert ((made.utterances["duration_s"] - made.utterances["speech_end_s"]) > 0.29).all()
    assert all(normalize(text, "basic").strip() for text in made.utterances["text"])


class Listed(Exception):
    """What a builder would have recorded."""


class Listener(HummingStudio):
    def record(self, scripts: Sequence[Utterance], *_: object) -> dict[str, float]:
        raise Listed(tuple(scripts))


@pytest.mark.parametrize("name", BUILDERS)
def test_law_a_plan_follows_from_its_seed(name: str, tmp_path: Path) -> None:
    plans = []
    for _ in range(2):
        with pytest.raises(Listed) as listed:
            BUILDERS[name].build(tmp_path / name, studio=Listener())
        plans.append(listed.value.args[0])
    assert plans[0] == plans[1]
    assert len({script.utterance_id for script in plans[0]}) == SPOKEN[name][0]


def test_law_the_same_recordings_give_the_same_digest(built: Built, tmp_path: Path) -> None:
    again = code_switching.build(tmp_path / "again", studio=HummingStudio())
    assert pack.load(again).digest == built("code-switching").digest


def test_an_interrupted_build_leaves_the_older_pack(tmp_path: Path) -> None:
    class Silent(HummingStudio):
        def record(self, *_: object) -> dict[str, float]:
            raise KeyboardInterrupt

    out = tmp_path / "long-form"
    out.mkdir()
    (out / "pack.yaml").write_text("older")
    with pytest.raises(KeyboardInterrupt):
        long_form.build(out, studio=Silent())
    assert (out / "pack.yaml").read_text() == "older"
    assert [path.name for path in tmp_path.iterdir()] == ["long-form"]


def test_law_every_sentence_is_said_and_every_speaker_says_several_lengths(built: Built) -> None:
    table = built("english-synthetic").utterances
    assert set(table["text"]) == set(english.sentences())
    assert set(table.groupby("speaker")["length"].nunique()) == {2, 3}
    assert set(table.groupby("accent")["speaker"].nunique()) == {24}


def test_law_an_entity_is_a_part_of_its_sentence_after_every_normaliser(built: Built) -> None:
    for row in built("entities").utterances.itertuples():
        (entity,) = json.loads(str(row.entities))
        assert entity["type"] == row.entity
        assert entity["text"] in str(row.text)
        for normalizer in ("basic", "english"):
            words = f" {normalize(str(row.text), normalizer)} "
            assert f" {normalize(entity['text'], normalizer)} " in words, (row.utterance_id, normalizer)


def test_speakers_say_every_kind_of_entity_equally_often(built: Built) -> None:
    counts = built("entities").utterances.groupby(["speaker", "entity"]).size()
    assert set(counts) == {entities.SENTENCES_A_KIND}
    assert len(counts) == 144 * 6


@pytest.mark.parametrize(
    ("value", "said", "place"),
    [
        (1, "one", "first"),
        (12, "twelve", "twelfth"),
        (40, "forty", "fortieth"),
        (45, "forty five", "forty fifth"),
        (100, "one hundred", "one hundredth"),
        (999_999, "nine hundred ninety nine thousand nine hundred ninety nine", None),
    ],
)
def test_numbers_in_words(value: int, said: str, place: str | None) -> None:
    assert cardinal(value) == said
    if place is not None:
        assert ordinal(value) == place


def test_law_numbers_in_words_read_back_as_digits() -> None:
    generator = np.random.default_rng(3)
    for value in [0, 10, 19, 20, 101, 1_000, *map(int, generator.integers(0, 1_000_000, 200))]:
        assert normalize(cardinal(value), "english") == str(value)


def test_no_speaker_says_the_same_twice(built: Built) -> None:
    for name in ("english-synthetic", "entities", "code-switching"):
        table = built(name).utterances
        assert not table.duplicated(["speaker", "text"]).any(), name


def test_parts_of_code_switching_make_up_the_sentence_and_its_slices(built: Built) -> None:
    for row in built("code-switching").utterances.itertuples():
        parts = json.loads(str(row.parts))
        assert " ".join(part["text"] for part in parts) == row.text
        languages = [part["language"] for part in parts]
        assert all(first != second for first, second in pairwise(languages))
        assert {*languages} == {*str(row.pair).split("-")}
        assert row.switches == ("1" if len(parts) == 2 else "2plus")


def test_code_switching_speaks_each_part_with_the_voice_of_its_language_and_no_gap() -> None:
    phrases = yaml.safe_load((ROOT / "evalpacks/packs/code_switching/phrases.yaml").read_text(encoding="utf-8"))
    generator = np.random.default_rng(1)
    studio = HummingStudio()
    said = code_switching.plan(cast(studio, ("us",), generator)[:1], phrases, generator)
    voices = {line.voice.partition("+")[0] for utterance in said for line in utterance.lines}
    assert voices == {"en-us", "es-419", "fr"}
    assert {line.pause_s for utterance in said for line in utterance.lines} == {0.0}
    assert all(len({line.voice.partition("+")[2] for line in utterance.lines}) == 1 for utterance in said)


def test_no_sentence_is_said_twice_in_a_dictation_and_pauses_are_natural() -> None:
    generator = np.random.default_rng(1)
    texts = (ROOT / "evalpacks/packs/long_form/sentences.txt").read_text(encoding="utf-8").splitlines()
    for utterance in long_form.plan(cast(HummingStudio(), ("us",), generator), texts, generator):
        said = [line.text for line in utterance.lines]
        assert len(set(said)) == len(said)
        assert " ".join(said) == utterance.text
        assert all(0.4 <= line.pause_s <= 1.0 for line in utterance.lines)


def test_law_conditions_differ_in_nothing_but_the_condition(built: Built) -> None:
    table = built("robustness").utterances
    assert set(table["condition"]) == set(robustness.CONDITIONS) == set(CONDITIONS)
    bases = table.groupby("base")
    assert set(bases.size()) == {len(robustness.CONDITIONS)}
    for column in ("text", "speaker", "duration_s", "speech_end_s"):
        assert set(bases[column].nunique()) == {1}, column


def test_babble_is_of_other_speakers() -> None:
    generator = np.random.default_rng(1)
    speakers = cast(HummingStudio(), ("us",), generator)
    for utterance in robustness.plan(speakers, different_commands, 2, generator):
        assert bool(utterance.background) == (utterance.condition == "babble")
        own = {line.voice for line in utterance.lines}
        others = [line.voice for line in utterance.background]
        assert not own & set(others)
        assert len(set(others)) == len(others)


def test_the_commands_under_conditions_have_an_intent_each_and_the_accents_words(tmp_path: Path) -> None:
    made = pack.load(
        robustness.build_commands(tmp_path / "commands-robustness", studio=HummingStudio(), choose=different_commands)
    )
    table = made.utterances
    assert (made.name, len(table), table["speaker"].nunique()) == ("commands-robustness", 1_728, 72)
    assert not table[table["condition"] == "clean"].duplicated(["speaker", "text"]).any()
    matched = [sum(bool(re.fullmatch(intent, text)) for intent in made.meta.intents.values()) for text in table["text"]]
    assert set(matched) == {1}
    assert any("scullery" in text for text in table.loc[table["accent"] == "scottish", "text"])
    clean = table[table["condition"] == "clean"]
    assert sum(map(word_count, clean["text"])) >= made.meta.min_support["words"]


def test_cards_name_slices_that_exist(built: Built) -> None:
    for name in BUILDERS:
        made = built(name)
        known = set(slices.slice_names(pd.DataFrame(made.utterances), made.slices))
        assert {*made.protected, *made.high_risk} <= known, name
