"""The pack tts-prompts: what voices are given, and what the reference voice was given for it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from evalpacks import pack
from evalpacks.normalize import normalize
from evalpacks.packs.making import read_card
from evalpacks.packs.tts_prompts import build as tts
from speech.runtimes.espeak import EspeakVoice, VoiceSettings
from speech.third_party_voices import PLAIN, TITLES
from tests.evalpacks.fake_studio import HummingStudio

PROMPTS = [(domain, prompt) for domain, listed in tts.prompts().items() for prompt in listed]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> pack.Pack:
    return pack.load(tts.build(tmp_path_factory.mktemp("packs") / "tts-prompts", studio=HummingStudio()))


def test_texts_of_each_domain_by_one_voice(built: pack.Pack) -> None:
    assert built.utterances.groupby("domain").size().to_dict() == {
        **dict.fromkeys(tts.prompts(), 8),
        "abbreviation": 24,
    }
    assert len(tts.prompts()) == 6
    assert set(built.utterances["speaker"]) == {"reference-en-us"}
    assert built.utterances["text"].is_unique
    assert {name.partition("=")[2] for name in built.protected} == set(tts.prompts()) - {"word"}


def test_a_recording_is_as_long_as_its_speech(built: pack.Pack) -> None:
    words = {said.utterance_id: len(said.lines[0].text.split()) for said in tts.plan()}
    for row in built.utterances.to_dict("records"):
        assert row["duration_s"] == pytest.approx(0.02 * words[row["utterance_id"]], abs=1e-3)


@pytest.mark.parametrize(
    ("domain", "prompt"), PROMPTS, ids=[f"{domain}-{prompt.text[:12]}" for domain, prompt in PROMPTS]
)
def test_what_the_reference_says_is_what_is_written(domain: str, prompt: tts.Prompt) -> None:
    """A right voice has no errors: what a recogniser may hear of it is the reference text, after the normaliser."""
    assert bool(prompt.said) == (domain == "abbreviation")
    if prompt.said:
        assert "." not in prompt.said.rstrip(".")
        assert normalize(prompt.said, "english") == normalize(prompt.text, "english")


def test_the_lexicon_of_the_candidates_writes_out_every_title() -> None:
    voice = EspeakVoice(VoiceSettings(**PLAIN), TITLES)
    for prompt in tts.prompts()["abbreviation"]:
        assert voice.sentences(prompt.text) == [prompt.said]


def test_the_reference_voice_is_the_candidates_own() -> None:
    assert (PLAIN["voice"], PLAIN["rate_wpm"], PLAIN["pitch"]) == (tts.VOICE, tts.RATE_WPM, tts.PITCH)


def test_families_of_voices_are_held_to_its_slices() -> None:
    policies = yaml.safe_load((Path(__file__).parents[2] / "params.yaml").read_text())["families"]
    card = read_card(tts.__file__)
    for family in ("tts-en", "tts-en-narration"):
        gates = [gate for gate in policies[family]["quality"] if gate["pack"] == card["name"]]
        assert {gate["metric"] for gate in gates} == {
            "cer", "mos", "noise_mos", "speaker_similarity", "duration_error", "silence_share", "clipping",
        }  # fmt: skip
        assert any(gate["metric"] == "cer" and "domain=abbreviation" in gate["slices"] for gate in gates)
