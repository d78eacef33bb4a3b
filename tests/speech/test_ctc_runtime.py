"""The runtime: streaming equals offline, and a payload whose parts disagree is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from contracts.errors import Corrupt, Refused
from speech.runtimes import BatchRuntime, OutputsNotFinite, Partial, Runtime, load
from speech.runtimes.moonshine import best_token
from speech.weights import check_payload
from tests.speech.ctc_samples import TOKENS, babbling, overflowing_payload, random_payload


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> BatchRuntime:
    loaded = load(random_payload(tmp_path_factory.mktemp("payload")))
    assert isinstance(loaded, BatchRuntime)
    return loaded


def streamed(runtime: Runtime, audio: np.ndarray[Any, Any], sizes: list[int]) -> tuple[str, list[Partial]]:
    stream = runtime.stream()
    partials: list[Partial | None] = []
    start = 0
    while start < audio.size:
        size = sizes[len(partials) % len(sizes)] if sizes else audio.size
        partials.append(stream.accept(audio[start : start + size]))
        start += size
    return stream.finish().text, [partial for partial in partials if partial is not None]


@settings(deadline=None, max_examples=25)
@given(sizes=st.lists(st.integers(1, 6000).map(lambda size: max(size, 160)), min_size=1, max_size=5))
def test_streaming_gives_the_offline_text(runtime: Runtime, sizes: list[int]) -> None:
    audio = babbling(2.0)
    offline = runtime.transcribe(audio)
    text, partials = streamed(runtime, audio, sizes)
    assert offline.text
    assert text == offline.text
    for partial, committed in partials:
        assert partial.split()[:committed] == text.split()[:committed]


@settings(deadline=None, max_examples=25)
@given(lengths=st.lists(st.sampled_from((0, 1, 160, 4_000, 16_000, 31_999, 48_000)), min_size=1, max_size=6))
def test_what_is_said_does_not_depend_on_what_is_heard_beside_it(runtime: BatchRuntime, lengths: list[int]) -> None:
    utterances = [babbling(3.0, seed=seed)[:length] for seed, length in enumerate(lengths)]
    together = runtime.transcribe_many(utterances)
    for transcript, utterance in zip(together, utterances, strict=True):
        alone = runtime.transcribe(utterance)
        assert transcript.text == alone.text
        assert [word[:3] for word in transcript.words] == [word[:3] for word in alone.words]
        assert transcript.confidence == pytest.approx(alone.confidence, abs=1e-3)


@settings(deadline=None, max_examples=15)
@given(sizes=st.lists(st.lists(st.sampled_from((0, 1, 160, 1_600, 3_333)), min_size=3, max_size=9), max_size=5))
def test_streams_that_are_heard_together_say_what_each_says_alone(
    runtime: BatchRuntime, sizes: list[list[int]]
) -> None:
    streams = [runtime.stream() for _ in sizes]
    audio = [babbling(3.0, seed=seed) for seed, _ in enumerate(sizes)]
    starts = [0 for _ in sizes]
    for turn in range(max(map(len, sizes), default=0)):
        speaking = [index for index, steps in enumerate(sizes) if turn < len(steps)]
        ends = [starts[index] + sizes[index][turn] for index in speaking]
        chunks = [audio[index][starts[index] : end] for index, end in zip(speaking, ends, strict=True)]
        assert len(runtime.accept_many([streams[index] for index in speaking], chunks)) == len(speaking)
        for index, end in zip(speaking, ends, strict=True):
            starts[index] = end
    for index, stream in enumerate(streams):
        assert stream.finish().text == runtime.transcribe(audio[index][: starts[index]]).text


def test_a_call_that_fails_leaves_every_stream_as_it_was(tmp_path: Path) -> None:
    runtime = load(random_payload(tmp_path))
    assert isinstance(runtime, BatchRuntime)
    audio = babbling(1.0)
    broken = np.full(1_600, np.nan, np.float32)
    whole, other = runtime.stream(), runtime.stream()
    runtime.accept_many([whole, other], [audio[:8_000], audio[:8_000]])
    for _ in range(3):
        with pytest.raises(OutputsNotFinite):
            runtime.accept_many([whole, other], [audio[8_000:9_600], broken])
    whole.accept(audio[8_000:])
    assert whole.finish().text == runtime.transcribe(audio).text != ""


def test_no_audio_is_no_word_and_streams_do_not_disturb_each_other(runtime: Runtime) -> None:
    audio = babbling(1.0, seed=3)
    alone = runtime.transcribe(audio)
    first, second = runtime.stream(), runtime.stream()
    for start in range(0, audio.size, 1600):
        first.accept(audio[start : start + 1600])
        second.accept(babbling(0.1, seed=start))
    assert first.finish() == alone
    assert runtime.stream().accept(np.zeros(0, np.float32)) is None


def test_words_are_in_order_and_within_the_audio(runtime: Runtime) -> None:
    transcript = runtime.transcribe(babbling(2.0))
    ends = [word.end_s for word in transcript.words]
    assert ends == sorted(ends)
    assert all(0 <= word.start_s < word.end_s <= 2.0 + 0.32 for word in transcript.words)
    assert transcript.text == " ".join(word.word for word in transcript.words)
    assert transcript.confidence is not None


def test_the_runtime_is_chosen_by_its_engine_and_hears_sixteen_kilohertz(runtime: Runtime) -> None:
    assert runtime.sample_rate_hz == 16000
    assert runtime.streaming


def rewrite(path: Path, **changes: Any) -> None:
    value = json.loads(path.read_text())
    path.write_text(json.dumps({**value, **changes}))


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("front_end.json", {"mels": 41}, "mels of front_end.json and model.json: 41 and 40"),
        ("front_end.json", {"sample_rate_hz": 12000, "high_hz": 5900.0}, "sample_rate_hz of front_end.json"),
        ("front_end.json", {"floor": 1e-5}, "checksum of front_end.json and feature_contract.json"),
        ("tokenizer.json", {"tokens": TOKENS[:-1]}, "vocabulary_size of model.json: 4 and 5"),
        ("model.json", {"vocabulary_size": 6}, "vocabulary_size of model.json: 5 and 6"),
        (
            "feature_contract.json",
            {"hop_ms": 20.0},
            "hop_ms of front_end.json and feature_contract.json: 10.0 and 20.0",
        ),
        ("feature_contract.json", {"front_end_probe": [0.0] * 40}, "front-end probe:"),
        ("feature_contract.json", {"front_end_probe": [0.0] * 39}, "front-end probe: 40 bands and 39"),
    ],
    ids=["mels", "rate", "checksum", "tokens", "vocabulary", "hop", "probe", "bands"],
)
def test_parts_that_disagree_are_refused(tmp_path: Path, name: str, changes: dict[str, Any], message: str) -> None:
    payload = random_payload(tmp_path)
    rewrite(payload / name, **changes)
    with pytest.raises(Refused, match="the parts of the payload do not agree") as caught:
        load(payload)
    assert message in caught.value.got


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    payload = random_payload(tmp_path)
    rewrite(payload / "model.json", hidden=11)
    with pytest.raises(Refused, match=r"output.weight has shape \(5, 10\), model.json means \(5, 11\)"):
        load(payload)


def test_weights_with_nan_are_refused(tmp_path: Path) -> None:
    payload = random_payload(tmp_path)
    weights = load_file(payload / "weights.safetensors")
    weights["output.bias"][0] = torch.nan
    save_file(weights, payload / "weights.safetensors")
    with pytest.raises(Refused, match=r"output\.bias holds NaN or infinity"):
        load(payload)


def test_finite_weights_whose_outputs_overflow_are_named_as_what_they_are(tmp_path: Path) -> None:
    payload = overflowing_payload(tmp_path)
    check_payload(payload)
    overflowing = load(payload)
    with pytest.raises(OutputsNotFinite) as raised:
        overflowing.transcribe(babbling(1.0))
    assert str(raised.value) == (
        "the model's outputs are not finite\n"
        "  where: a loaded payload\n"
        "  got: NaN or infinity among its log probabilities\n"
        "  expected: finite log probabilities for every audio\n"
        "  next step: look at the largest weights of each layer, and export the candidate again from a training run "
        "that did not diverge"
    )
    with pytest.raises(OutputsNotFinite):
        overflowing.stream().accept(babbling(0.5))


@pytest.mark.parametrize("fault", [np.inf, np.nan])
def test_logits_of_moonshine_that_are_not_finite_have_no_best_token(fault: float) -> None:
    with pytest.raises(OutputsNotFinite):
        best_token(np.array([0.5, fault, -1.0], np.float32))
    with pytest.raises(OutputsNotFinite):
        best_token(np.full(3, -np.inf, np.float32))
    token, log_probability = best_token(np.array([0.0, -np.inf, 0.0], np.float32))  # a token that is ruled out
    assert (token, round(log_probability, 6)) == (0, -0.693147)


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    payload = random_payload(tmp_path)
    (payload / "decoder.json").unlink()
    with pytest.raises(Refused, match=r"the payload is not complete\n  where: payload\n  got: no decoder\.json"):
        load(payload)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("weights.safetensors", b"\x80\x04not safetensors", "the weights are not safetensors"),
        ("tokenizer.json", b"{}", "the tokenizer does not parse"),
        ("decoder.json", b"[]", "a document is of another kind"),
    ],
)
def test_a_file_that_does_not_parse_is_corrupt(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    payload = random_payload(tmp_path)
    (payload / name).write_bytes(content)
    with pytest.raises(Corrupt, match=message):
        load(payload)


def test_a_decoder_alone_can_be_released(tmp_path: Path) -> None:
    payload = random_payload(tmp_path)
    before = load(payload).transcribe(babbling(2.0))
    rewrite(payload / "decoder.json", least_confidence=1.0)
    assert before.text
    assert load(payload).transcribe(babbling(2.0)).text == ""
