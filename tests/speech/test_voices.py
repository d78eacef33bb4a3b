"""Voices: what is said of a text, that it sounds the same each time, and what a studio does to it."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import AlreadyExists, Refused, WrongCall
from contracts.feature_contract import FeatureContract
from speech import third_party_voices
from speech.runtimes import Samples, load_model
from speech.runtimes.espeak import EspeakVoice, VoiceSettings
from speech.runtimes.kinds import task_of
from speech.runtimes.studio_voice import PEAK, Polish, StudioVoice, polished
from speech.third_party_voices import PLAIN, POLISH, RECIPES, TITLES

TEXT = "Dr. Brown is here. Please wait, he will see you soon!"
OTHER = "We will be on holiday until Monday. Call after that."


def voice(**changes: Any) -> EspeakVoice:
    return EspeakVoice(VoiceSettings(**{**PLAIN, **changes}), TITLES)


def spoken(model: Any, text: str) -> Samples:
    return np.concatenate(list(model.speak(text)))


@pytest.fixture(scope="session")
def voices(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("voices")
    return {version: third_party_voices.build(version, folder / version) for version in RECIPES}


# ---- texts ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("splitter", "pieces"),
    [
        ("text", ["Doctor Brown is here. Please wait, he will see you soon!"]),
        ("sentences", ["Doctor Brown is here.", "Please wait, he will see you soon!"]),
        ("clauses", ["Doctor Brown is here.", "Please wait,", "he will see you soon!"]),
    ],
)
def test_a_text_is_cut_where_the_splitter_says(splitter: str, pieces: list[str]) -> None:
    assert voice(splitter=splitter).sentences(TEXT) == pieces


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("One.\nTwo.", ["One.", "Two."]),
        ('"Stop." He stopped.', ['"Stop.', "He stopped."]),
        ("Version 2.5 is out. It works.", ["Version 2.5 is out.", "It works."]),
        ("Yes. ... No.", ["Yes. ...", "No."]),
        ("Who? Me? Yes!", ["Who?", "Me?", "Yes!"]),
        ("A\x00B", ["A B"]),
    ],
)
def test_sentences(text: str, pieces: list[str]) -> None:
    assert voice(splitter="sentences").sentences(text) == pieces


def test_without_a_lexicon_the_stop_of_a_title_ends_a_sentence() -> None:
    bare = EspeakVoice(VoiceSettings(**{**PLAIN, "splitter": "sentences"}), {})
    assert bare.sentences("Dr. Brown is here.") == ["Dr.", "Brown is here."]


@pytest.mark.parametrize("text", ["Mrs.X is not Mrs. X", "Prof. or Profs.", "xDr. Dr."])
def test_a_lexicon_writes_out_whole_words_alone(text: str) -> None:
    said = " ".join(voice().sentences(text))
    assert (
        said
        == {
            "Mrs.X is not Mrs. X": "Mrs.X is not Missus X",
            "Prof. or Profs.": "Professor or Profs.",
            "xDr. Dr.": "xDr. Doctor",
        }[text]
    )


@pytest.mark.parametrize("splitter", ["text", "sentences", "clauses"])
@given(text=st.text(alphabet="abZ19 .,!?;:\"'()", min_size=1, max_size=60))
@settings(deadline=None, max_examples=60)
def test_no_word_is_dropped_and_every_piece_has_one(splitter: str, text: str) -> None:
    if not any(sign.isalnum() for sign in text):
        return
    pieces = voice(splitter=splitter).sentences(text)
    letters = [sign for sign in text if sign.isalnum()]
    assert [sign for piece in pieces for sign in piece if sign.isalnum()] == letters
    assert all(any(sign.isalnum() for sign in piece) for piece in pieces)


@pytest.mark.parametrize("text", ["", "  ", "...", "?!", "\n"])
def test_a_text_without_words_is_refused_before_anything_is_said(text: str) -> None:
    with pytest.raises(Refused) as refused:
        voice().speak(text)
    assert refused.value.diagnostics() == (
        "a text has nothing to say\n"
        f"  got: {len(text)} characters without a letter or a digit\n"
        "  expected: words\n"
        "  next step: send a text with words"
    )


# ---- speech ---------------------------------------------------------------------------------------------------------
def test_a_sentence_is_a_chunk_with_the_pause_after_it() -> None:
    chunks = list(voice(splitter="sentences", pause_s=0.25).speak(TEXT))
    assert len(chunks) == 2
    assert not chunks[0][-6000:].any()
    assert chunks[1][-6000:].any()
    assert all(chunk.dtype == np.float32 and np.abs(chunk).max() <= 1 for chunk in chunks)


def test_a_text_sounds_the_same_whatever_was_said_before() -> None:
    model = voice(splitter="sentences")
    first = spoken(model, TEXT)
    spoken(voice(pitch=80, rate_wpm=300), OTHER)
    assert np.array_equal(spoken(model, TEXT), first)


def test_a_text_sounds_the_same_while_others_are_spoken() -> None:
    model = voice(splitter="sentences")
    alone = {text: spoken(model, text) for text in (TEXT, OTHER)}
    halfway = model.speak(OTHER)
    begun = [next(halfway)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda _: spoken(model, TEXT), range(8)))
    assert all(np.array_equal(one, alone[TEXT]) for one in together)
    assert np.array_equal(np.concatenate([*begun, *halfway]), alone[OTHER])


def test_speech_that_nobody_waits_for_leaves_nothing_behind() -> None:
    model = voice(splitter="sentences")
    begun = model.speak(OTHER)
    next(begun)
    begun.close()  # type: ignore[attr-defined]
    assert np.array_equal(spoken(model, TEXT), spoken(model, TEXT))


def test_rate_pitch_and_sample_rate_are_those_of_the_settings() -> None:
    plain = spoken(voice(), OTHER)
    assert spoken(voice(rate_wpm=350), OTHER).size < 0.7 * plain.size
    assert not np.array_equal(spoken(voice(pitch=60), OTHER)[:1000], plain[:1000])
    assert spoken(voice(sample_rate_hz=16_000), OTHER).size == pytest.approx(plain.size * 16 / 24, abs=2)


def test_gain_clips_at_full_scale() -> None:
    loud = spoken(voice(gain_db=14.0), OTHER)
    assert np.abs(loud).max() == 1.0
    assert np.count_nonzero(np.abs(loud) == 1.0) > 100


# ---- the studio -----------------------------------------------------------------------------------------------------
POLISHED = Polish(**POLISH)


def test_a_studio_plays_nothing_before_everything_is_made() -> None:
    model = StudioVoice(voice(), POLISHED)
    assert model.sentences(TEXT) == ["Doctor Brown is here. Please wait, he will see you soon!"]
    chunks = list(model.speak(TEXT))
    assert len(chunks) == 1
    assert chunks[0].size == spoken(voice(), TEXT).size + round(POLISHED.room_s * model.sample_rate_hz)
    assert np.array_equal(spoken(model, TEXT), chunks[0])


@given(seed=st.integers(0, 99), size=st.integers(600, 4_000), gain=st.floats(1e-4, 1.0))
@settings(deadline=None, max_examples=20)
def test_the_level_is_that_of_the_settings_and_no_peak_is_clipped(seed: int, size: int, gain: float) -> None:
    noise = (np.random.default_rng(seed).standard_normal(size) * gain).astype(np.float32)
    out = polished(noise, 24_000, POLISHED)
    assert np.abs(out).max() <= PEAK + 1e-6
    assert 20 * np.log10(np.sqrt((out.astype(np.float64) ** 2).mean())) <= POLISHED.level_db + 0.01


def test_silence_stays_finite() -> None:
    assert np.isfinite(polished(np.zeros(4_000, np.float32), 24_000, POLISHED)).all()


def test_a_room_rings_on() -> None:
    click = np.zeros(4_800, np.float32)
    click[2_000] = 0.5
    dry, wet = (polished(click, 24_000, Polish(**{**POLISH, "room": room, "breath": 0.0})) for room in (0.0, 0.5))
    assert np.abs(wet[4_800:]).sum() > 10 * np.abs(dry[4_800:]).sum()


# ---- payloads -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("version", RECIPES)
def test_every_candidate_loads_and_speaks_at_the_rate_of_its_contract(voices: dict[str, Path], version: str) -> None:
    payload = voices[version] / "payload"
    contract = FeatureContract.parse((payload / "feature_contract.json").read_bytes())
    model = load_model(payload)
    assert task_of(model) == "synthesis"
    assert model.sample_rate_hz == contract.sample_rate_hz == 24_000
    assert contract.accepted_rates_hz == (24_000,)


def test_a_family_changes_the_description_and_not_the_payload(voices: dict[str, Path], tmp_path: Path) -> None:
    other = third_party_voices.build("studio", tmp_path / "studio", "tts-en-narration")
    ours = voices["studio"]
    for path in sorted((ours / "payload").iterdir()):
        assert (other / "payload" / path.name).read_bytes() == path.read_bytes()
    assert "family: tts-en-narration" in (other / "candidate.yaml").read_text()
    assert "family: tts-en\n" in (ours / "candidate.yaml").read_text()


def test_a_folder_of_something_else_is_left(tmp_path: Path) -> None:
    third_party_voices.build("v1", tmp_path / "v")
    assert third_party_voices.build("v1", tmp_path / "v").is_dir()
    with pytest.raises(AlreadyExists) as refused:
        third_party_voices.build("v2", tmp_path / "v")
    assert refused.value.got == "v1"
    with pytest.raises(WrongCall) as unknown:
        third_party_voices.build("v9", tmp_path / "w")
    assert unknown.value.diagnostics() == (
        "unknown version of the voice\n  got: v9\n  expected: v1 or v2 or v3 or loud or studio"
    )


@pytest.mark.parametrize(
    ("file", "content", "got"),
    [
        ("voice.json", {**PLAIN, "pitch": 120}, "pitch: Input should be less than or equal to 99"),
        ("voice.json", {**PLAIN, "speed": 2}, "speed: Extra inputs are not permitted"),
        ("voice.json", {**PLAIN, "voice": "en-nobody"}, "espeak-ng has no such voice"),
        ("lexicon.json", ["Dr."], "lexicon.json is not a mapping of written to spoken forms"),
    ],
)
def test_a_malformed_payload_is_refused(tmp_path: Path, file: str, content: object, got: str) -> None:
    payload = third_party_voices.build("v2", tmp_path / "v2") / "payload"
    (payload / file).write_text(json.dumps(content))
    with pytest.raises(Refused) as refused:
        load_model(payload)
    assert (refused.value.what, refused.value.got) == ("a voice cannot be loaded", got)


def test_a_studio_takes_no_sentences(voices: dict[str, Path], tmp_path: Path) -> None:
    payload = third_party_voices.build("studio", tmp_path / "studio") / "payload"
    (payload / "voice.json").write_text(json.dumps({**PLAIN, "splitter": "sentences"}))
    with pytest.raises(Refused) as refused:
        load_model(payload)
    assert refused.value.diagnostics() == (
        "a narration voice speaks a text at once\n"
        "  where: payload: voice.json\n"
        "  got: splitter sentences\n"
        "  expected: splitter text\n"
        "  next step: correct voice.json"
    )
    (payload / "polish.json").write_text("{}")
    with pytest.raises(Refused, match="a narration voice cannot be loaded"):
        load_model(payload)


def test_the_command_line_builds_a_candidate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert third_party_voices.main(["v1", "--out", str(tmp_path / "v1")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'v1'}\n"
    assert third_party_voices.main(["v2", "--out", str(tmp_path / "v1")]) == 1
    assert "the folder holds something else" in capsys.readouterr().err
