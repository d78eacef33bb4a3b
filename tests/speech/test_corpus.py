"""The corpus: plans follow from the seed, speakers are disjoint, slices are supported, degradation is exact."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import yaml

from contracts.errors import WrongCall
from speech.corpus import (
    ACCENTS,
    DIALECTS,
    WORDS,
    Utterance,
    command,
    degrade,
    non_speech_clips,
    plan_pack,
    plan_training,
    render,
    speech_bounds,
    word_ends,
)
from speech.noise import NOISES, NON_SPEECH, add_noise, narrowband, rms, set_level
from speech.synthesis import Synthesizer

ROOT = Path(__file__).parents[2]
SETTINGS = yaml.safe_load((ROOT / "params.yaml").read_text())["corpus"]


def packed() -> list[Utterance]:
    return plan_pack(SETTINGS["seed"], SETTINGS["pack_per_speaker"])


def test_plans_follow_from_the_seed() -> None:
    assert plan_training(3, 12) == plan_training(3, 12)
    assert plan_training(3, 12) != plan_training(4, 12)
    assert plan_pack(3, {"clean": 1}) == plan_pack(3, {"clean": 1})


def test_no_speaker_and_no_variant_of_the_pack_is_heard_in_training() -> None:
    training = plan_training(SETTINGS["seed"], SETTINGS["training_per_accent"])
    assert not {plan.speaker for plan in training} & {plan.speaker for plan in packed()}
    assert not {plan.variant for plan in training} & {plan.variant for plan in packed()}


def test_identifiers_are_unique() -> None:
    plans = [*plan_training(1, 60), *packed()]
    assert len({plan.utterance_id for plan in plans}) == len(plans)


def test_every_protected_slice_has_ten_speakers_and_150_words() -> None:
    card = yaml.safe_load((ROOT / "evalpacks/packs/commands/pack.yaml").read_text())
    speakers: dict[str, set[str]] = defaultdict(set)
    words: dict[str, int] = defaultdict(int)
    for plan in packed():
        for name in (f"accent={plan.accent}", f"noise={plan.noise}", f"accent={plan.accent}&noise={plan.noise}"):
            speakers[name].add(plan.speaker)
            words[name] += len(plan.text.split())
    assert len(card["protected"]) == 22
    for name in card["protected"]:
        assert len(speakers[name]) >= card["min_support"]["speakers"], name
        assert words[name] >= card["min_support"]["words"], name


def test_a_speaker_has_one_pitch_and_one_accent() -> None:
    by_speaker = defaultdict(set)
    for plan in packed():
        by_speaker[plan.speaker].add((plan.accent, plan.variant, plan.pitch))
    assert all(len(voices) == 1 for voices in by_speaker.values())
    assert len(by_speaker) == 48 * len(ACCENTS)


def test_commands_use_the_words_of_the_grammar_and_of_the_dialect() -> None:
    generator = np.random.default_rng(0)
    spoken = {accent: {word for _ in range(600) for word in command(generator, accent).split()} for accent in ACCENTS}
    assert set.union(*spoken.values()) == set(WORDS)
    assert not spoken["scottish"] & set(DIALECTS["scottish"])
    assert not spoken["us"] & set(DIALECTS["scottish"].values())


def test_commands_have_two_to_six_words() -> None:
    generator = np.random.default_rng(1)
    assert {len(command(generator).split()) for _ in range(400)} == {2, 3, 4, 5, 6}


@pytest.mark.parametrize("kind", NOISES)
@pytest.mark.parametrize("snr_db", [20.0, 5.0])
def test_noise_has_the_ratio_it_is_asked_for(kind: str, snr_db: float) -> None:
    generator = np.random.default_rng(2)
    speech = set_level(generator.standard_normal(16000).astype(np.float32), -30)
    noisy = add_noise(speech, kind, snr_db, 16000, np.random.default_rng(3))
    assert 20 * np.log10(rms(speech) / rms(noisy - speech)) == pytest.approx(snr_db, abs=0.05)


def test_the_telephone_removes_what_lies_over_four_kilohertz() -> None:
    seconds = np.arange(16000) / 16000
    high = (0.3 * np.sin(2 * np.pi * 6000 * seconds)).astype(np.float32)
    low = (0.3 * np.sin(2 * np.pi * 1000 * seconds)).astype(np.float32)
    assert rms(narrowband(high, 16000)) < 0.02
    assert rms(narrowband(low, 16000)) == pytest.approx(rms(low), rel=0.05)


def test_degrading_is_deterministic_and_never_clips() -> None:
    plan = packed()[0]._replace(noise="5db", codec="mulaw8k", level_db=-1.0)
    speech = np.random.default_rng(4).uniform(-1, 1, 8000).astype(np.float32)
    first, second = (degrade(plan, speech, 16000) for _ in range(2))
    assert np.array_equal(first, second)
    assert float(np.abs(first).max()) <= 0.99 + 1e-6
    assert first.size == 8000 + round(plan.lead_s * 16000) + round(plan.trail_s * 16000)


def test_words_said_as_one_share_their_time_by_letters() -> None:
    ends = word_ends("turn on the light", [(0, 0), (5, 1000), (12, 1800)], 0, 3000, 1000)
    assert ends == pytest.approx([1.0, 1.0 + 0.8 * 3 / 7, 1.8, 3.0])


def test_speech_bounds_cut_silence() -> None:
    signal = np.zeros(100, np.float32)
    signal[20:60] = 0.5
    assert speech_bounds(signal) == (20, 60)
    assert speech_bounds(np.zeros(7, np.float32)) == (0, 7)


def test_clips_without_speech_cover_silence_tones_and_every_noise() -> None:
    assert ("silence", "tone", *NOISES) == NON_SPEECH
    clips = non_speech_clips(9, 14, 16000)
    assert all(clip.shape == (48000,) and clip.dtype == np.float32 for clip in clips)
    assert [rms(clip) == 0 for clip in clips] == [index % 7 == 0 for index in range(14)]
    assert all(map(np.array_equal, clips, non_speech_clips(9, 14, 16000)))


def test_an_unknown_voice_is_refused() -> None:
    with pytest.raises(WrongCall, match=r"espeak-ng has no such voice\n  got: 'xx-nowhere'"):
        Synthesizer().say("hello", voice="xx-nowhere")


def test_rendered_audio_is_the_same_each_time(tmp_path: Path) -> None:
    plans = plan_pack(5, {"clean": 1, "5db": 1})[:4]
    tables = [render(plans, tmp_path / name, 16000) for name in ("first", "second")]
    assert tables[0] == tables[1]
    assert [row["utterance_id"] for row in tables[0]] == [plan.utterance_id for plan in plans]
    assert all(0.3 < row["duration_s"] < 5 and row["speaker"] for row in tables[0])
    assert all(row["word_ends_s"] == sorted(row["word_ends_s"]) for row in tables[0])
