"""Bad packs: each kind of fault alone in a pack that is whole otherwise gives one clear message, and says no text."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest

from contracts.errors import SoundcheckError
from evalpacks.checks.findings import RULES
from evalpacks.pack_check import check
from tests.evalpacks.pack_folders import (
    PLANTED,
    RATE_HZ,
    Change,
    change_audio,
    change_card,
    change_table,
    make_folder,
    noise,
    setting,
    wav,
)

Break = Callable[[Path], object]


class Bad(NamedTuple):
    """How a pack is broken, and the whole message."""

    name: str
    make: Break
    message: str


def card(**fields: object) -> Break:
    return lambda root: change_card(root, **fields)


def table(change: Change) -> Break:
    return lambda root: change_table(root, change)


def text(*values: str) -> Break:
    return table(setting("text", *values))


def audio(content: bytes, **columns: Any) -> Break:
    return lambda root: change_audio(root, content, **columns)


def remove(name: str) -> Break:
    return lambda root: (root / name).unlink()


def save(name: str, content: bytes) -> Break:
    return lambda root: (root / name).write_bytes(content)


def suite(*expectations: dict[str, object]) -> Break:
    return save("expectations/suite.json", json.dumps({"name": "own", "expectations": expectations}).encode())


def trained_on(**row: str) -> Break:
    """Training data of one row; what it has in common with the pack is a value of its first row."""

    def make(root: Path) -> None:
        shared = pd.read_parquet(root / "utterances.parquet").iloc[0]
        values = {name: shared[name] if value == "shared" else value for name, value in row.items()}
        pd.DataFrame([values]).to_parquet(root.parent / "trained.parquet")

    return make


def twice(root: Path) -> None:
    change_audio(root, (root / "audio" / "u001.wav").read_bytes())


def twice_with_silence(root: Path) -> None:
    change_audio(root, wav(np.concatenate([np.zeros(800, np.int16), noise(1)])), duration_s=1.1)


def few_speakers(root: Path) -> None:
    change_card(root, min_support={})
    change_table(root, lambda frame: frame.assign(speaker=[f"s{int(name[1:]) % 16}" for name in frame["speaker"]]))


def one_voice(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(noise=["babble" if speaker == "s03" else "clean" for speaker in frame["speaker"]])


def table_refusal(what: str, got: str = "", expected: str = "") -> str:
    lines = [f"the utterance table of pack 'tiny' {what}", "where: utterances.parquet"]
    lines += [f"got: {got}"] * bool(got) + [f"expected: {expected}"] * bool(expected)
    return "\n  ".join([*lines, "next step: build the pack again, or correct the table"])


def card_refusal(got: str) -> str:
    return (
        f"pack.yaml does not describe a pack\n  where: tiny/pack.yaml\n  got: {got}\n"
        "  expected: the fields of evalpacks.pack.PackMeta\n  next step: correct pack.yaml"
    )


def lacks(name: str) -> str:
    return (
        f"an eval pack lacks {name}\n  where: ROOT\n  expected: pack.yaml, utterances.parquet and audio/\n"
        "  next step: name the folder of a pack, or build the pack again"
    )


ONE = "1 utterance (u000)"
COLUMNS = "utterance_id, path, text, speaker, duration_s, sample_rate_hz, sha256, language"
LOUD = np.full(RATE_HZ, 32_767, np.int16)

REFUSED = [
    Bad("no card", remove("pack.yaml"), lacks("pack.yaml")),
    Bad("no table", remove("utterances.parquet"), lacks("utterances.parquet")),
    Bad("a card that is no YAML", save("pack.yaml", b"name: ["),
        "pack.yaml does not parse\n  where: tiny/pack.yaml\n  got: line 1\n  expected: YAML"),
    Bad("a card that is a list", save("pack.yaml", b"- name"),
        "pack.yaml is not a mapping\n  where: tiny/pack.yaml\n  got: list\n  expected: field: value"),
    Bad("a card that is no text", save("pack.yaml", b"\xff\xfe\x00"),
        "pack.yaml does not parse\n  where: tiny/pack.yaml\n  got: not YAML\n  expected: YAML"),
    Bad("no licence", card(licence=None), card_refusal("licence: Field required")),
    Bad("a consent that says nothing", card(consent=" "),
        card_refusal("consent: String should match pattern '\\S'")),
    Bad("no language", card(languages=[]),
        card_refusal("languages: Value should have at least 1 item after validation, not 0")),
    Bad("a field that does not exist", card(colour="red"), card_refusal("colour: Extra inputs are not permitted")),
    Bad("a slice named twice", card(protected=["accent=us", "accent=us"]),
        card_refusal("protected: Value error, a name stands there twice")),
    Bad("a pattern that is none", card(intents={"lamp": "("}),
        card_refusal("intents: Value error, the pattern of 'lamp' is no regular expression "
                     "(missing ), unterminated subpattern)")),
    Bad("a protected slice of no column", card(protected=["device=phone"]),
        "pack.yaml names a protected slice of a column that is no slice\n  where: pack.yaml of tiny\n"
        "  got: device=phone\n  expected: columns: accent, noise\n"
        "  next step: add the column to slices, or correct protected"),
    Bad("a protected slice of no form", card(protected=["accent"]),
        "a slice name is malformed\n  got: 'accent'\n  expected: overall or column=value&column=value"),
    Bad("a table that is no Parquet", save("utterances.parquet", b"id,text"),
        table_refusal("is not a Parquet table", got="ArrowInvalid")),
    Bad("a column is missing", table(lambda frame: frame.drop(columns="speaker")),
        table_refusal("lacks columns", "missing: speaker", COLUMNS)),
    Bad("no utterance", table(lambda frame: frame.iloc[:0]),
        table_refusal("is empty", "0 utterances", "at least one")),
    Bad("an id stands there twice", table(setting("utterance_id", "u001")),
        table_refusal("repeats an utterance_id", "2 rows (u001, u001)", "unique ids")),
    Bad("no text", text(" "), table_refusal("has an empty text", "1 row (u000)", "text in every row")),
    Bad("no speaker", table(setting("speaker", None)),
        table_refusal("has an empty speaker", "1 row (u000)", "text in every row")),
    Bad("an undeclared rate", table(setting("sample_rate_hz", 12_000)),
        table_refusal("has undeclared sample rates", "12000 Hz in 1 row (u000)", "8000 Hz")),
    Bad("no duration", table(setting("duration_s", float("nan"))),
        table_refusal("has a duration that is none", "1 row (u000)", "seconds above 0")),
    Bad("a digest that is none", table(setting("sha256", "abc")),
        table_refusal("has a malformed sha256", "1 row (u000)", "64 hexadecimal digits")),
    Bad("audio outside the pack", table(setting("path", "../u000.wav")),
        table_refusal("names audio outside the pack", "1 row (u000)", "audio/NAME.wav")),
    Bad("audio that is not there", remove("audio/u000.wav"),
        table_refusal("names audio that is not there", "1 row (u000)", "audio/NAME.wav")),
    Bad("a slice value of no form", table(setting("accent", "US English")),
        table_refusal("has a malformed slice value in accent", "1 row (u000)", "[a-z0-9][a-z0-9_.+-]*")),
    Bad("a suite that is none", save("expectations/suite.json", b"[]"),
        "the suite of a pack does not parse\n  where: expectations/suite.json of tiny\n"
        '  expected: JSON of a Great Expectations suite: {"name": ..., "expectations": [{"type", "kwargs"}]}\n'
        "  next step: correct it, or remove it: the standard suite runs in any case"),
    Bad("an expectation that is none", suite({"type": "expect_wonders", "kwargs": {}}),
        "a suite holds an expectation that Great Expectations cannot read\n"
        "  where: expectations/suite.json of tiny\n  got: expect_wonders\n"
        "  expected: a type of Great Expectations 1.x with its own arguments\n"
        "  next step: correct or remove the expectation"),
]  # fmt: skip

FOUND = [
    Bad("audio_digest", save("audio/u000.wav", wav(noise(99))), f"audio is not what its sha256 says: {ONE}"),
    Bad("unreadable_audio", audio(b"OggS nothing else"), f"audio is not a WAV file: {ONE}"),
    Bad("wrong_encoding", audio(wav(noise(99), width=1)), f"audio is not 16-bit PCM: {ONE}"),
    Bad("wrong_channels", audio(wav(noise(99), channels=2)), f"audio has more than one channel: {ONE}"),
    Bad("truncated_audio", audio(wav(noise(99))[:-100]), f"audio ends before its header says: {ONE}"),
    Bad("no_samples", audio(wav(noise(99, 0))), f"audio holds no samples: {ONE}"),
    Bad("wrong_rate", audio(wav(noise(99), rate_hz=16_000)),
        f"audio has another rate than sample_rate_hz says: {ONE}"),
    Bad("wrong_duration", audio(wav(noise(99, 2))), f"audio has another length than duration_s says: {ONE}"),
    Bad("silent_audio", audio(wav(noise(99) // 3000)), f"audio is silent from end to end: {ONE}"),
    Bad("mostly_silent", audio(wav(np.concatenate([noise(99, 0.08), np.zeros(7360, np.int16)]))),
        f"audio is silent for most of its time: {ONE}"),
    Bad("clipped_audio", audio(wav(np.where(np.arange(RATE_HZ) % 400 < 5, LOUD, noise(99)))),
        f"audio is clipped: {ONE}"),
    Bad("dc_offset", audio(wav(noise(99) + np.int16(1000))), f"audio has a DC offset: {ONE}"),
    Bad("duplicate_audio", twice, "audio stands in the pack more than once: 2 utterances (u000, u001)"),
    Bad("duplicate_recording", twice_with_silence,
        "recordings differ in their header or in the silence around them only: 2 utterances (u000, u001)"),
    Bad("stray_audio", save("audio/take2.wav", wav(noise(99))),
        "audio is in the folder but not in the table: 1 file (audio/take2.wav)"),
    Bad("no_words", text("..."), f"texts have neither letters nor digits: {ONE}"),
    Bad("broken_text", text("caf\ufffd"), f"texts have control or replacement characters: {ONE}"),
    Bad("markup", text("[laughs] hello"), f"texts have markup or notes in brackets: {ONE}"),
    Bad("timestamps", text("00:01:07 hello"), f"texts have timestamps: {ONE}"),
    Bad("foreign_letters", text("\u043cir"), f"texts have letters that their language is not written in: {ONE}"),
    Bad("not_composed", text("cafe\u0301"), f"texts are not in Unicode's composed form: {ONE}"),
    Bad("digits", text("36 degrees"), f"texts have digits, which the normaliser leaves as they are: {ONE}"),
    Bad("too_fast", text(f"{PLANTED} again and again and again"),
        f"texts are longer than a person can say in that time: {ONE}"),
    Bad("too_slow", audio(wav(noise(99, 8)), duration_s=8.0, text="a"),
        f"texts are short for their audio: {ONE}"),
    Bad("malformed_entities", table(setting("entities", '{"name": "Jo"}')),
        f"entities are not JSON of the declared form: {ONE}"),
    Bad("entity_not_in_text", table(setting("entities", '[{"type": "name", "text": "Jo"}]')),
        f"entities are not parts of their texts in order: {ONE}"),
    Bad("speech_end", table(lambda frame: setting("speech_end_s", 1.2)(frame.assign(speech_end_s=0.9))),
        f"speech_end_s is not within the audio: {ONE}"),
    Bad("no_intent", card(intents={"on": f"{PLANTED} on [b-j]"}),
        "texts match no intent of pack.yaml, so intent recall does not count them: "
        "4 utterances (u000, u010, u020, ...)"),
    Bad("two_intents", card(intents={"on": f"{PLANTED} on .", "first": f"{PLANTED} on a"}),
        "texts match several intents of pack.yaml: 4 utterances (u000, u010, u020, ...)"),
    Bad("idle_intent", card(intents={"on": f"{PLANTED} on .", "off": f"{PLANTED} off"}),
        "intents match no text: 1 intent (off)"),
    Bad("undeclared_language", table(setting("language", "es")),
        f"utterances have a language that pack.yaml does not declare: {ONE}"),
    Bad("idle_language", card(languages=["en", "es"]), "declared languages have no utterance: 1 language (es)"),
    Bad("no_protected_slice", card(protected=[]), "pack.yaml protects no slice"),
    Bad("empty_slice", card(protected=["accent=us", "accent=welsh"]),
        "protected or high-risk slices have no utterance: 1 slice (accent=welsh)"),
    Bad("little_support", card(min_support={"speakers": 11}),
        "protected slices have less than min_support: 2 slices (accent=us, accent=scottish)"),
    Bad("few_speakers", few_speakers,
        "protected slices have under 10 speakers, so results are conditional on these speakers: "
        "2 slices (accent=us, accent=scottish)"),
    Bad("one_speaker", table(one_voice), "slices hold one speaker's voice only: 1 slice (noise=babble)"),
    Bad("leaked_audio", trained_on(sha256="shared", speaker="other"),
        f"audio is in the training data (v1): {ONE}"),
    Bad("leaked_speaker", trained_on(sha256="0" * 64, speaker="shared"),
        "speakers are in the training data (v1): 1 speaker (s00)"),
    Bad("expectation", table(lambda frame: setting("licence", "")(frame.assign(licence="CC0-1.0"))),
        f"the table does not meet its suite (expect_column_values_to_match_regex on licence): {ONE}"),
]  # fmt: skip


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("good") / "tiny")


@pytest.fixture
def pack(good: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(good, tmp_path / "tiny"))


def said(root: Path) -> list[str]:
    """Everything that a check of the folder says."""
    trained = root.parent / "trained.parquet"
    manifests = {"v1": pd.read_parquet(trained)} if trained.is_file() else {}
    try:
        found = check(root, manifests=manifests, effect=0.03)
    except SoundcheckError as error:
        return [str(error).replace(str(root), "ROOT")]
    return [one.message for one in found.findings]


def test_nothing_is_wrong_with_the_pack_that_is_broken_below(pack: Path) -> None:
    assert said(pack) == []


@pytest.mark.parametrize("bad", [*REFUSED, *FOUND], ids=lambda bad: bad.name.replace(" ", "-"))
def test_a_bad_pack_gives_one_clear_message(pack: Path, bad: Bad) -> None:
    bad.make(pack)
    assert said(pack) == [bad.message]
    assert PLANTED not in bad.message


def test_an_expectation_that_people_added_is_run(pack: Path) -> None:
    suite({"type": "expect_column_values_to_be_between", "kwargs": {"column": "duration_s", "max_value": 0.5}})(pack)
    message = "the table does not meet its suite (expect_column_values_to_be_between on duration_s)"
    assert said(pack) == [f"{message}: 40 utterances (u000, u001, u002, ...)"]


def test_the_table_above_has_every_finding_once() -> None:
    assert [bad.name for bad in FOUND] == list(RULES)
    assert len(REFUSED) + len(FOUND) >= 60
