"""The third-party engines behind the Protocol of runtimes, on real payloads and real (synthetic) speech."""

from __future__ import annotations

import json
import math
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.digest import digest_of, sha256_file
from contracts.errors import AlreadyExists, DependencyFailed, Refused, WrongCall
from contracts.feature_contract import FeatureContract
from speech import third_party
from speech.runtimes import Runtime, Samples, Transcript, load
from speech.runtimes.moonshine import cut_at_quiet
from speech.runtimes.pocketsphinx import pcm16
from speech.weights import check_payload

VERSIONS = {"moonshine-tiny": "moonshine-tiny-0.1.0", "pocketsphinx": "pocketsphinx-5.1.1"}
SENTENCE = "Please close the door and turn on the light."


@pytest.fixture(scope="session")
def candidates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("candidates")
    for name, version in VERSIONS.items():
        third_party.build(name, folder / version)
    return folder


@pytest.fixture(scope="session")
def engines(candidates: Path) -> dict[str, Runtime]:
    return {name: load(candidates / version / "payload") for name, version in VERSIONS.items()}


@pytest.fixture(scope="session")
def speech() -> Samples:
    import soxr

    from speech.synthesis import Synthesizer

    synthesizer = Synthesizer()
    spoken = synthesizer.say(SENTENCE, voice="en-us")
    return np.asarray(soxr.resample(spoken.samples, synthesizer.sample_rate_hz, 16_000, quality="HQ"), np.float32)


def heard_in_chunks(runtime: Runtime, audio: Samples, size: int) -> tuple[list[str], str]:
    stream = runtime.stream()
    partials = [stream.accept(audio[at : at + size]) for at in range(0, len(audio), size)]
    assert all(partial.committed == 0 for partial in partials if partial)
    return [partial.text for partial in partials if partial], stream.finish().text


@pytest.mark.parametrize("name", VERSIONS)
def test_speech_is_heard(engines: dict[str, Runtime], speech: Samples, name: str) -> None:
    transcript = engines[name].transcribe(speech)
    assert 5 <= len(transcript.text.split()) <= 12
    assert transcript.confidence is not None
    assert 0 < transcript.confidence <= 1


def test_moonshine_hears_a_plain_sentence(engines: dict[str, Runtime], speech: Samples) -> None:
    assert engines["moonshine-tiny"].transcribe(speech).text == SENTENCE


def test_pocketsphinx_times_its_words(engines: dict[str, Runtime], speech: Samples) -> None:
    transcript = engines["pocketsphinx"].transcribe(speech)
    assert " ".join(word.word for word in transcript.words) == transcript.text
    ends = [time for word in transcript.words for time in (word.start_s, word.end_s)]
    assert ends == sorted(ends)
    assert ends[-1] <= len(speech) / 16_000 + 0.05
    assert all(word.confidence is not None and 0 <= word.confidence <= 1 for word in transcript.words)


@pytest.mark.parametrize("name", VERSIONS)
def test_law_chunks_do_not_change_the_text(engines: dict[str, Runtime], speech: Samples, name: str) -> None:
    runtime = engines[name]
    whole = runtime.transcribe(speech).text
    for size in (777, 16_000):
        partials, final = heard_in_chunks(runtime, speech, size)
        assert final == whole
        assert bool(partials) == runtime.streaming


@pytest.mark.parametrize("name", VERSIONS)
def test_law_what_was_heard_before_changes_nothing(engines: dict[str, Runtime], speech: Samples, name: str) -> None:
    runtime = engines[name]
    first = runtime.transcribe(speech)
    runtime.transcribe(np.random.default_rng(0).normal(0, 0.3, 16_000).astype(np.float32))
    assert runtime.transcribe(speech) == first


@pytest.mark.parametrize("name", VERSIONS)
def test_an_end_that_comes_twice_says_the_same(engines: dict[str, Runtime], speech: Samples, name: str) -> None:
    stream = engines[name].stream()
    stream.accept(speech)
    assert stream.finish() == stream.finish()


def test_streams_open_together_do_not_hear_each_other(engines: dict[str, Runtime], speech: Samples) -> None:
    runtime = engines["pocketsphinx"]
    whole = runtime.transcribe(speech).text
    one, other = runtime.stream(), runtime.stream()
    for at in range(0, len(speech), 8_000):
        one.accept(speech[at : at + 8_000])
        other.accept(np.zeros(8_000, np.float32))
    assert other.finish().text == ""
    assert one.finish().text == whole


SILENCES: list[tuple[str, Samples]] = [
    ("nothing", np.zeros(0, np.float32)),
    ("one sample", np.zeros(1, np.float32)),
    ("half a second", np.zeros(8_000, np.float32)),
    ("NaN", np.full(8_000, np.nan, np.float32)),
]


@pytest.mark.parametrize("name", VERSIONS)
@pytest.mark.parametrize("audio", [row[1] for row in SILENCES], ids=[row[0] for row in SILENCES])
def test_no_words_are_heard_in_digital_silence(engines: dict[str, Runtime], name: str, audio: Samples) -> None:
    transcript = engines[name].transcribe(audio)
    assert transcript == Transcript("")


@pytest.mark.parametrize("name", VERSIONS)
@pytest.mark.parametrize("value", [1.0, np.inf, 1e9])
def test_values_that_are_no_audio_do_no_harm(engines: dict[str, Runtime], name: str, value: float) -> None:
    transcript = engines[name].transcribe(np.full(4_000, value, np.float32))
    assert transcript.confidence is None or math.isfinite(transcript.confidence)


def test_pcm_is_clipped_and_nan_is_silence() -> None:
    audio = np.array([0, 1, -1, 2, -2, np.nan, np.inf, -np.inf], np.float32)
    assert np.frombuffer(pcm16(audio), "<i2").tolist() == [0, 32767, -32767, 32767, -32767, 0, 32767, -32767]


@given(st.integers(0, 3_000), st.integers(2, 900), st.integers(0, 9))
@settings(deadline=None)
def test_law_pieces_joined_are_the_audio(size: int, longest: int, seed: int) -> None:
    audio = np.random.default_rng(seed).normal(size=size).astype(np.float32)
    pieces = cut_at_quiet(audio, longest=longest)
    assert np.array_equal(np.concatenate(pieces), audio)
    assert all(len(piece) <= longest for piece in pieces)
    assert all(len(piece) > 0 for piece in pieces[:-1])


def test_long_audio_is_cut_where_it_is_quiet() -> None:
    audio = np.ones(32_000, np.float32)
    audio[18_000:22_000] = 0
    first, second = cut_at_quiet(audio, longest=24_000)
    assert 18_000 <= len(first) <= 22_000
    assert len(first) + len(second) == 32_000


def test_a_minute_and_more_is_heard_to_its_end(candidates: Path, speech: Samples, tmp_path: Path) -> None:
    payload = tmp_path / "payload"
    shutil.copytree(candidates / VERSIONS["moonshine-tiny"] / "payload", payload)
    decoder = json.loads((payload / "decoder.json").read_text())
    (payload / "decoder.json").write_text(json.dumps(decoder | {"window_s": 4.0}))
    pause = np.zeros(16_000, np.float32)
    text = load(payload).transcribe(np.concatenate([speech, pause, speech, pause, speech])).text
    assert text.lower().count("door") == 3


@pytest.mark.parametrize("name", VERSIONS)
def test_a_candidate_says_where_it_comes_from(candidates: Path, name: str) -> None:
    folder = candidates / VERSIONS[name]
    described = yaml.safe_load((folder / "candidate.yaml").read_text())
    assert described["family"] == "asr-en"
    assert described["version"] == VERSIONS[name]
    assert described["origin"] == "third_party"
    assert described["training_code_sha"] == "none: third party"
    assert described["licence"] in ("MIT", "BSD-2-Clause")
    assert not (folder / "data_manifest.parquet").exists()
    assert VERSIONS[name] in (folder / "MODEL_CARD.md").read_text()
    check_payload(folder / "payload")


@pytest.mark.parametrize("name", VERSIONS)
def test_a_candidates_parts_agree(candidates: Path, engines: dict[str, Runtime], name: str) -> None:
    payload = candidates / VERSIONS[name] / "payload"
    contract = FeatureContract.parse((payload / "feature_contract.json").read_bytes())
    assert contract.sample_rate_hz == engines[name].sample_rate_hz
    assert contract.front_end_checksum == digest_of(json.loads((payload / "front_end.json").read_text()))
    assert contract.accepted_rates_hz == (8_000, 16_000)


def test_law_the_same_package_gives_the_same_bytes(candidates: Path, tmp_path: Path) -> None:
    first = candidates / VERSIONS["moonshine-tiny"]
    second = third_party.build("moonshine-tiny", tmp_path / "again")
    third_party.build("moonshine-tiny", second)
    files = sorted(path.relative_to(first) for path in first.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(second) for path in second.rglob("*") if path.is_file())
    assert all(sha256_file(first / path) == sha256_file(second / path) for path in files)
    assert [path.name for path in tmp_path.iterdir()] == ["again"]


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(AlreadyExists, match="the folder holds something else"):
        third_party.build("pocketsphinx", tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_an_unknown_name_is_a_wrong_call(tmp_path: Path) -> None:
    with pytest.raises(WrongCall, match="moonshine-tiny or pocketsphinx"):
        third_party.build("whisper", tmp_path / "out")


def test_a_package_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(DependencyFailed, match="moonshine-voice is not installed"):
        third_party.build("moonshine-tiny", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command_line_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    assert third_party.main(["pocketsphinx", "--out", str(tmp_path / "other")]) == 1
    assert "next step: give another folder with --out" in capsys.readouterr().err
    assert third_party.main(["pocketsphinx", "--out", str(tmp_path / "new")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'new'}\n"


DAMAGE = [
    ("moonshine-tiny", "encoder.ort", "missing: encoder.ort"),
    ("moonshine-tiny", "tokens.json", "missing: tokens.json"),
    ("pocketsphinx", "acoustic/mdef", "missing: acoustic/mdef"),
    ("pocketsphinx", "language.lm.bin", "missing: language.lm.bin"),
]


@pytest.mark.parametrize(("name", "file", "got"), DAMAGE, ids=[row[1] for row in DAMAGE])
def test_a_payload_that_lacks_a_file_is_refused(
    candidates: Path, tmp_path: Path, name: str, file: str, got: str
) -> None:
    payload = tmp_path / "payload"
    shutil.copytree(candidates / VERSIONS[name] / "payload", payload)
    (payload / file).unlink()
    with pytest.raises(Refused, match="payload cannot be loaded") as refusal:
        load(payload)
    assert got in refusal.value.got
    assert "python -m speech.third_party" in refusal.value.next_step


@pytest.mark.parametrize("name", VERSIONS)
def test_a_damaged_payload_is_refused(candidates: Path, tmp_path: Path, name: str) -> None:
    payload = tmp_path / "payload"
    shutil.copytree(candidates / VERSIONS[name] / "payload", payload)
    target = payload / ("encoder.ort" if name == "moonshine-tiny" else "acoustic/mdef")
    target.write_bytes(target.read_bytes()[:1000])
    with pytest.raises(Refused):
        load(payload)


def test_engines_run_from_the_payload_alone(candidates: Path, speech: Samples, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "moonshine_voice", None)
    monkeypatch.setenv("POCKETSPHINX_PATH", "/nowhere")
    for version in VERSIONS.values():
        assert load(candidates / version / "payload").transcribe(speech).text
