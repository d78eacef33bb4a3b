"""Detectors of speech: silero and ours behind the Protocol of classifiers, their clips, and how they are run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from contracts.errors import Corrupt, Refused, SoundcheckError, WrongCall
from speech import third_party
from speech.front_end import FrontEndConfig, LogMel
from speech.kinds import Prompt, kind
from speech.noise import set_level
from speech.runtimes import Samples, load, load_model
from speech.runtimes.kinds import Classifier, task_of
from speech.vad.clips import CLASSES, NON_SPEECH, RATE_HZ, SPEECH, mixed, plan
from speech.vad.export import write_payload
from speech.vad.model import ClipNet, ClipNetConfig
from speech.vad.recipe import Recipe, recipes
from speech.vad.sounds import SOUNDS
from speech.vad.train import Examples, train
from speech.weights import check_payload

torch.set_num_threads(1)  # these models are so small that threads would only wait for each other

CONFIG = ClipNetConfig(mels=40, channels=4, classes=CLASSES)
RECIPE = Recipe(description="A test.", channels=4, steps=40, batch=8, learning_rate=0.02, levels=("normal",), seed=1)
ENGINES = ("silero", "clip_net")


def tone(seconds: float, hz: float = 440.0) -> Samples:
    return (0.1 * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE_HZ)) / RATE_HZ)).astype(np.float32)


@pytest.fixture(scope="module")
def payloads(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("vad")
    third_party.build("silero-vad", folder / "silero")
    torch.manual_seed(0)
    own = folder / "own" / "payload"
    own.mkdir(parents=True)
    write_payload(own, ClipNet(CONFIG).eval(), CONFIG, FrontEndConfig())
    return {"silero": folder / "silero" / "payload", "clip_net": own}


@pytest.fixture(scope="module")
def models(payloads: dict[str, Path]) -> dict[str, Classifier]:
    return {name: cast(Classifier, load_model(payload)) for name, payload in payloads.items()}


@pytest.fixture(scope="module")
def speech() -> Samples:
    from speech.synthesis import speak_all

    (spoken,) = speak_all([("turn on the light in the kitchen", "en-us")], RATE_HZ)
    return set_level(spoken, -20.0)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_payload_is_allowed_and_its_scores_are_a_distribution(
    engine: str, payloads: dict[str, Path], models: dict[str, Classifier]
) -> None:
    check_payload(payloads[engine])
    model = models[engine]
    assert task_of(model) == "classification"
    assert model.classes == CLASSES
    for audio in (tone(1.0), np.zeros(8000, np.float32), np.zeros(1, np.float32), np.ones(160, np.float32)):
        label, scores = model.classify(audio)
        assert sum(scores) == pytest.approx(1.0)
        assert label == CLASSES[int(np.argmax(scores))]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_clip_s_scores_do_not_depend_on_what_was_heard_before(
    engine: str, models: dict[str, Classifier], speech: Samples
) -> None:
    model = models[engine]
    before = model.classify(tone(1.0))
    model.classify(speech)
    assert model.classify(tone(1.0)) == before


def test_silero_tells_speech_from_a_tone(models: dict[str, Classifier], speech: Samples) -> None:
    assert models["silero"].classify(speech).label == SPEECH
    assert models["silero"].classify(tone(2.0)).label == NON_SPEECH


def test_a_classifier_is_no_transcriber(payloads: dict[str, Path]) -> None:
    with pytest.raises(Refused, match="a model of another task"):
        load(payloads["silero"])


def _without(name: str) -> Callable[[Path], object]:
    return lambda payload: (payload / name).unlink()


def _with_classes(classes: list[str]) -> Callable[[Path], object]:
    def change(payload: Path) -> None:
        model = json.loads((payload / "model.json").read_text()) | {"classes": classes}
        (payload / "model.json").write_text(json.dumps(model))

    return change


FAULTS: dict[str, tuple[str, Callable[[Path], object], type[SoundcheckError], str]] = {
    "silero without its network": ("silero", _without("model.onnx"), Refused, "missing: model.onnx"),
    "silero with another network": (
        "silero", lambda payload: (payload / "model.onnx").write_bytes(b"nothing"), Refused, "cannot be loaded",
    ),
    "silero without classes": (
        "silero", lambda payload: (payload / "classifier.json").write_text("{}"), Refused, "classes",
    ),
    "ours without weights": ("clip_net", _without("weights.safetensors"), Refused, "no weights.safetensors"),
    "ours with other classes": (
        "clip_net", _with_classes(["a", "b", "c"]), Refused, "classes of model.json and feature_contract.json: 3 and 2",
    ),
    "ours with damaged weights": (
        "clip_net", lambda payload: (payload / "weights.safetensors").write_bytes(b"x"), Corrupt, "not safetensors",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_a_payload_that_does_not_fit_is_refused(name: str, payloads: dict[str, Path], tmp_path: Path) -> None:
    engine, spoil, error, said = FAULTS[name]
    payload = Path(shutil.copytree(payloads[engine], tmp_path / "payload"))
    spoil(payload)
    with pytest.raises(error) as raised:
        load_model(payload)
    assert said in raised.value.diagnostics()


def test_padding_behind_a_clip_changes_nothing() -> None:
    torch.manual_seed(0)
    model = ClipNet(CONFIG).eval()
    frames = torch.randn(2, 80, 40)
    lengths = torch.tensor([50, 80])
    alone = model(frames[:1, :50], lengths[:1])
    assert torch.allclose(model(frames, lengths)[0], alone[0], atol=1e-6)


def test_training_learns_and_gives_the_same_weights_again() -> None:
    generator = torch.Generator().manual_seed(0)
    classes = torch.arange(40) % 2
    features = torch.randn((40, 60, 40), generator=generator) * 0.3 + classes[:, None, None]
    examples = Examples(features, torch.full((40,), 60), classes)
    first, again = (train(examples, CONFIG, RECIPE) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    with torch.inference_mode():
        assert torch.equal(first(features, examples.lengths).argmax(1), classes)


def test_a_wrong_key_of_a_recipe_is_named() -> None:
    with pytest.raises(WrongCall) as raised:
        recipes({"tiny": RECIPE.model_dump(mode="json") | {"steps": 0}})
    assert "params.yaml, vad.detectors.tiny.steps" in raised.value.diagnostics()


def test_no_voice_and_no_sound_is_shared_by_training_and_pack() -> None:
    training, pack = (plan(7, split, per_voice=1, per_sound=3) for split in ("train", "test"))
    assert not {clip.variant for clip in training if clip.variant} & {clip.variant for clip in pack if clip.variant}
    assert not {clip.seed for clip in training} & {clip.seed for clip in pack}
    assert {clip.sound for clip in pack if clip.label == NON_SPEECH} == set(SOUNDS)
    speakers = [clip.speaker for clip in pack if clip.label == NON_SPEECH]
    assert len(set(speakers)) == len(speakers)


@pytest.mark.parametrize("sound", sorted(SOUNDS))
def test_a_clip_has_its_length_and_level_and_is_the_same_again(sound: str) -> None:
    clip = next(clip for clip in plan(7, "test", 1, 8) if clip.sound == sound and clip.label == NON_SPEECH)
    samples = mixed(clip, None)
    assert samples.size == round(clip.duration_s * RATE_HZ)
    assert np.isfinite(samples).all()
    assert np.abs(samples).max() <= 1
    assert np.array_equal(samples, mixed(clip, None))


def test_speech_is_in_its_clip_at_its_level(speech: Samples) -> None:
    clip = next(clip for clip in plan(7, "test", 4, 0) if clip.level == "quiet" and clip.snr == "clean")
    heard = mixed(clip, speech)
    level_db = 20 * np.log10(np.sqrt(np.mean(np.square(heard))))
    assert -53 < level_db < -43


def test_the_kind_runs_times_and_answers(models: dict[str, Classifier], tmp_path: Path) -> None:
    classification = kind("classification")
    assert classification.hears
    for name in ("a", "b", "c"):
        soundfile.write(tmp_path / f"{name}.wav", tone(0.5), RATE_HZ, subtype="PCM_16")
    table = pd.DataFrame({"utterance_id": ["a", "b", "c"], "path": ["a.wav", "b.wav", "c.wav"]})
    told: list[tuple[int, int]] = []
    model = models["clip_net"]
    outputs = classification.run_pack(model, table, tmp_path, on_progress=lambda *done: told.append(done))
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert outputs["text"].tolist() == ["", "", ""]
    assert set(outputs["predicted"]) <= set(CLASSES)
    assert outputs["confidence"].between(0.5, 1).all()

    timed = classification.time_pack(models, table, tmp_path)
    assert set(timed) == set(models)
    for rows in timed.values():
        assert rows["utterance_id"].tolist() == ["a", "b", "c"]
        assert (rows["final_ms"] > 0).all()
        assert rows["audio_s"].tolist() == [0.5, 0.5, 0.5]

    answer = classification.answer(model, Prompt(tmp_path / "a.wav"))
    assert (answer.text, answer.label) == ("", outputs["predicted"][0])
    assert max(answer.vector) == pytest.approx(outputs["confidence"][0])
    classification.warm(model)


def test_features_of_clips_of_all_levels_reach_the_network() -> None:
    """The front end has a floor; quiet speech must not be lost under it."""
    front_end = LogMel(FrontEndConfig())
    quiet = front_end.frames(torch.from_numpy(set_level(tone(0.5), -52.0)))
    silent = front_end.frames(torch.zeros(8000))
    assert float((quiet - silent).max()) > 0.5
