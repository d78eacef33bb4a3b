"""The speaker encoder: the package's numbers, payloads that do not agree, audio without a voice, packs of vectors."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from safetensors.torch import load_file, save_file

from contracts.errors import Corrupt, Refused
from contracts.feature_contract import FeatureContract
from speech.ge2e import HIDDEN, MEAN, Hearing, SpeakerEncoder, SpeakerFrontEnd, mel_filters, partial_starts, voiced_part
from speech.kinds import Prompt, embedding
from speech.runtimes import OutputsNotFinite, Samples, load, load_model
from speech.runtimes.kinds import task_of
from speech.runtimes.resemblyzer import SpeakerEmbedder
from speech.speaker_candidates import pretrained
from speech.synthesis import speak_all
from tests.speech.speaker_samples import RATE_HZ, buzz, random_payload

TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def package() -> Any:
    """The package's encoder."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it imports names that SciPy will remove
        import resemblyzer
        import resemblyzer.audio

        return resemblyzer


@pytest.fixture(scope="module")
def speech() -> list[Samples]:
    said = [
        ("open the kitchen window", "en-us+Alex"),
        ("stop", "en-029+f4"),
        ("set the timer for three hours " * 3, "en"),
    ]
    voices = speak_all(said, RATE_HZ)
    paused = np.concatenate([voices[0], np.zeros(RATE_HZ, np.float32), voices[1] * 0.001, buzz(2.0) * 4])
    return [*voices, paused]


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> SpeakerEmbedder:
    model = load_model(random_payload(tmp_path_factory.mktemp("speaker") / "payload", dimension=12))
    assert isinstance(model, SpeakerEmbedder)
    return model


def test_vectors_are_those_of_the_package(package: Any, speech: list[Samples]) -> None:
    encoder = SpeakerEncoder(SpeakerFrontEnd().mels)
    encoder.load_state_dict(pretrained())
    hearing = Hearing(SpeakerFrontEnd(), encoder)
    theirs = package.VoiceEncoder("cpu", verbose=False)
    for audio in speech:
        wanted = package.preprocess_wav(audio)
        own = voiced_part(audio, SpeakerFrontEnd())
        assert own.size == wanted.size
        assert np.abs(hearing.vector(own) - theirs.embed_utterance(wanted)).max() < TOLERANCE


def test_filters_are_those_of_librosa() -> None:
    from librosa.filters import mel

    assert np.allclose(mel_filters(400, SpeakerFrontEnd()), mel(sr=RATE_HZ, n_fft=400, n_mels=40))


@pytest.mark.parametrize("samples", [0, 1, 160, 12_000, 25_600, 25_601, 38_000, 40_000, 64_000, 160_000])
def test_partial_utterances_begin_where_those_of_the_package_do(package: Any, samples: int) -> None:
    slices = package.VoiceEncoder.compute_partial_slices(samples, rate=1.3, min_coverage=0.75)[1]
    assert partial_starts(samples, SpeakerFrontEnd()) == [one.start for one in slices]


def test_a_vector_has_the_length_1_and_the_dimension_of_the_contract(embedder: SpeakerEmbedder) -> None:
    vector = embedder.embed(buzz(2.0))
    assert vector.shape == (12,)
    assert vector.dtype == np.dtype("float32")
    assert np.linalg.norm(vector) == pytest.approx(1.0, abs=1e-6)
    assert (embedder.dimension, embedder.space, task_of(embedder)) == (12, "random-12", "embedding")


def test_law_louder_speech_has_the_same_vector(embedder: SpeakerEmbedder) -> None:
    quiet = buzz(1.0) * 0.01
    assert embedder.embed(quiet * 2) == pytest.approx(embedder.embed(quiet), abs=1e-4)


@pytest.mark.parametrize(
    "audio",
    [np.zeros(0, np.float32), np.zeros(RATE_HZ, np.float32), buzz(0.02)],
    ids=["nothing", "silence", "under a window"],
)
def test_audio_without_a_voice_is_refused(embedder: SpeakerEmbedder, audio: Samples) -> None:
    with pytest.raises(Refused, match="nobody is heard to speak") as refusal:
        embedder.embed(audio)
    assert refusal.value.got == f"{audio.size / RATE_HZ:.2f} s of audio, no voice in it"


def test_a_vector_that_is_no_direction_says_so(tmp_path: Path) -> None:
    payload = random_payload(tmp_path / "payload", dimension=4)
    weights = load_file(payload / "weights.safetensors")
    save_file(weights | {"projection.weight": torch.zeros(4, HIDDEN)}, payload / "weights.safetensors")
    model = load_model(payload)
    assert isinstance(model, SpeakerEmbedder)
    with pytest.raises(OutputsNotFinite, match="a vector of length 0"):
        model.embed(buzz(1.0))


def rewrite(payload: Path, **changes: Any) -> None:
    contract = FeatureContract.parse((payload / "feature_contract.json").read_bytes())
    (payload / "feature_contract.json").write_bytes(contract.model_copy(update=changes).canonical())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"dimension": 256}, "dimension of weights and feature contract: 12 and 256"),
        ({"space": ""}, "feature_contract.json names no vector space"),
        ({"sample_rate_hz": 8000}, "sample_rate_hz of front end and feature contract: 16000 and 8000"),
        ({"front_end_checksum": "0" * 64}, f"feature contract: {SpeakerFrontEnd().digest()} and {'0' * 64}"),
    ],
)
def test_parts_that_disagree_are_named(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    payload = random_payload(tmp_path / "payload", dimension=12)
    rewrite(payload, **changes)
    with pytest.raises(Refused, match="the parts of the payload do not agree") as refusal:
        load_model(payload)
    assert said in refusal.value.got


def test_weights_of_another_encoder_are_named(tmp_path: Path) -> None:
    payload = random_payload(tmp_path / "payload")
    weights = load_file(payload / "weights.safetensors")
    del weights["linear.bias"]
    save_file(weights | {MEAN: torch.zeros(3)}, payload / "weights.safetensors")
    with pytest.raises(Refused, match="the parts of the payload do not agree") as refusal:
        load_model(payload)
    assert "tensor linear.bias: absent, expected (256,)" in refusal.value.got
    assert "tensor projection.mean: (3,), expected (256,)" in refusal.value.got


def test_a_payload_that_is_not_whole_or_not_safetensors_is_refused(tmp_path: Path) -> None:
    payload = random_payload(tmp_path / "payload")
    (payload / "weights.safetensors").write_bytes(b"no tensors")
    with pytest.raises(Corrupt, match="the weights are not safetensors"):
        load_model(payload)
    (payload / "front_end.json").unlink()
    with pytest.raises(Refused, match="the payload is not complete") as refusal:
        load_model(payload)
    assert refusal.value.got == "no front_end.json"


def test_an_embedder_does_not_transcribe(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="a model of another task"):
        load(random_payload(tmp_path / "payload"))


@pytest.fixture
def recordings(tmp_path: Path) -> pd.DataFrame:
    """A voice at 16 kHz, the same at 8 kHz, and silence."""
    for name, audio, rate_hz in (
        ("wide", buzz(1.5), RATE_HZ),
        ("narrow", buzz(1.5, rate_hz=8_000), 8_000),
        ("silent", np.zeros(RATE_HZ, np.float32), RATE_HZ),
    ):
        soundfile.write(tmp_path / f"{name}.wav", audio, rate_hz, subtype="PCM_16")
    names = ["wide", "narrow", "silent"]
    return pd.DataFrame({"utterance_id": names, "path": [f"{name}.wav" for name in names]})


def test_a_pack_gives_vectors_with_their_space_and_none_where_nobody_speaks(
    embedder: SpeakerEmbedder, recordings: pd.DataFrame, tmp_path: Path
) -> None:
    told: list[tuple[int, int]] = []
    table = embedding.run_pack(
        embedder, recordings, tmp_path, on_progress=lambda done, total: told.append((done, total))
    )
    assert list(table.columns) == ["utterance_id", "text", "confidence", "vector", "space"]
    assert [len(vector) for vector in table["vector"]] == [12, 12, 0]
    assert np.dot(table["vector"][0], table["vector"][1]) > 0.9
    assert set(table["space"]) == {"random-12"}
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_the_golden_answer_is_the_vector_and_its_space(
    embedder: SpeakerEmbedder, recordings: pd.DataFrame, tmp_path: Path
) -> None:
    answer = embedding.answer(embedder, Prompt(tmp_path / "wide.wav"))
    assert (answer.text, answer.label, len(answer.vector)) == ("", "random-12", 12)
    assert np.linalg.norm(answer.vector) == pytest.approx(1.0, abs=1e-6)


def test_timings_include_audio_that_is_refused(
    embedder: SpeakerEmbedder, recordings: pd.DataFrame, tmp_path: Path
) -> None:
    table = embedding.time_pack({"candidate": embedder}, recordings, tmp_path)["candidate"]
    assert table["utterance_id"].tolist() == recordings["utterance_id"].tolist()
    assert (table["compute_s"] > 0).all()


def test_warming_up_reaches_the_encoder(embedder: SpeakerEmbedder, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[int] = []

    def vector(_hearing: Hearing, voiced: Samples) -> Samples:
        heard.append(voiced.size)
        return np.ones(HIDDEN, np.float32)

    monkeypatch.setattr(Hearing, "vector", vector)
    embedding.warm(embedder)
    assert len(heard) == 1
