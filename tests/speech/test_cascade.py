"""A small recogniser and a large one in one payload: who answers, and that the pair is what it says."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import yaml

from contracts.errors import Refused, WrongCall
from contracts.feature_contract import FeatureContract
from speech.cascade import Cascaded, plans, write_candidate, write_payload
from speech.honesty import check_causal
from speech.run import run_pack
from speech.runtimes import BatchRuntime, Partial, Samples, Stream, Transcript, load
from speech.runtimes.cascade import BatchCascadeRuntime, CascadeRuntime
from speech.weights import check_payload
from tests.speech.ctc_samples import babbling, shelf_of_two

PLAN = Cascaded(small="tiny", large="big", below=0.6, description="A test.")


class Parrot:
    """A runtime whose answer and confidence follow from the loudness of what it hears."""

    sample_rate_hz = 16_000
    streaming = True

    def __init__(self, name: str, *, confidence: bool = True) -> None:
        self.name = name
        self.heard: list[int] = []
        self._confidence = confidence

    def transcribe(self, audio: Samples) -> Transcript:
        self.heard.append(audio.size)
        return Transcript(self.name, confidence=float(np.abs(audio).max()) if self._confidence else None)

    def stream(self) -> Stream:
        return ParrotStream(self)


class ParrotStream:
    def __init__(self, parrot: Parrot) -> None:
        self._parrot = parrot
        self._kept: list[Samples] = []

    def accept(self, chunk: Samples) -> Partial | None:
        self._kept.append(chunk)
        return Partial(f"{self._parrot.name} {len(self._kept) // 2}", 1)

    def finish(self) -> Transcript:
        return self._parrot.transcribe(np.concatenate(self._kept))


def at(level: float) -> Samples:
    return np.full(1600, level, np.float32)


@pytest.mark.parametrize(
    ("level", "route"),
    [(0.9, "small"), (0.5, "small"), (0.49, "large"), (0.0, "large")],
    ids=["sure", "exactly at the bound", "under it", "nothing heard"],
)
def test_the_large_part_answers_what_the_small_one_is_not_sure_of(level: float, route: str) -> None:
    cascade = CascadeRuntime(Parrot("small"), Parrot("large"), below=0.5)
    heard = cascade.transcribe(at(level))
    assert (heard.route, heard.text) == (route, route)
    assert heard.confidence == pytest.approx(level)


def test_an_answer_without_a_confidence_is_never_sure() -> None:
    cascade = CascadeRuntime(Parrot("small", confidence=False), Parrot("large"), below=0.0)
    assert cascade.transcribe(at(1.0)).route == "large"


@pytest.mark.parametrize(("level", "route"), [(0.9, "small"), (0.1, "large")])
def test_a_stream_shows_the_small_part_and_commits_nothing(level: float, route: str) -> None:
    large = Parrot("large")
    stream = CascadeRuntime(Parrot("small"), large, below=0.5).stream()
    chunk = at(level)
    partials = []
    for _ in range(3):
        partials.append(stream.accept(chunk))
        chunk[:] = level  # a caller's buffer is the caller's
    assert partials == [Partial("small 0", 0), Partial("small 1", 0), None]
    assert stream.finish().text == route
    assert large.heard == ([3 * 1600] if route == "large" else [])


def test_what_a_caller_does_to_its_buffer_does_not_reach_the_large_part() -> None:
    large = Parrot("large")
    stream = CascadeRuntime(Parrot("small", confidence=False), large, below=0.5).stream()
    chunk = at(0.3)
    stream.accept(chunk)
    chunk[:] = 0.9
    assert stream.finish().confidence == pytest.approx(0.3)


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two candidates of untrained models."""

    def heard(seed: int, name: str) -> pd.DataFrame:
        return pd.DataFrame({"utterance_id": ["shared", name], "sha256": ["0" * 64, str(seed) * 64]})

    return shelf_of_two(tmp_path_factory.mktemp("candidates"), heard)


@pytest.fixture(scope="module")
def candidate(shelf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("cascade") / "both"
    write_candidate(shelf, target, "both", PLAN)
    return target


def test_a_candidate_holds_both_parts_byte_by_byte_and_says_so(shelf: Path, candidate: Path) -> None:
    check_payload(candidate / "payload")
    for part, name in (("small", "tiny"), ("large", "big")):
        copied = candidate / "payload" / "parts" / part / "weights.safetensors"
        assert copied.read_bytes() == (shelf / name / "payload" / "weights.safetensors").read_bytes()
    value = yaml.safe_load((candidate / "candidate.yaml").read_text())
    assert value["provenance"] == {"small": "tiny", "large": "big"}
    assert value["seeds"] == {"small_training": 0, "large_training": 1}
    assert sorted(pd.read_parquet(candidate / "data_manifest.parquet")["utterance_id"]) == ["big", "shared", "tiny"]
    card = (candidate / "MODEL_CARD.md").read_text()
    assert "About tiny." in card
    assert "About big." in card
    contract = FeatureContract.parse((candidate / "payload" / "feature_contract.json").read_bytes(), where="test")
    assert contract.sample_rate_hz == 16_000


def test_a_pair_streams_honestly_and_in_batches(candidate: Path) -> None:
    cascade = load(candidate / "payload")
    assert isinstance(cascade, BatchCascadeRuntime)
    assert isinstance(cascade, BatchRuntime)
    audio = [babbling(1.0, seed) for seed in range(6)]
    sure = sorted(first.confidence or 0.0 for first in cascade.small.transcribe_many(audio))
    cascade.below = (sure[2] + sure[3]) / 2  # half of the answers stand
    alone = [cascade.transcribe(one) for one in audio]
    assert {one.route for one in alone} == {"small", "large"}
    said = [(one.text, one.route) for one in alone]
    assert [(one.text, one.route) for one in cascade.transcribe_many(audio)] == said
    streams: list[Stream] = [cascade.stream() for _ in audio]
    for start in range(0, 16_000, 1_600):
        cascade.accept_many(streams, [one[start : start + 1_600] for one in audio])
    finals = [stream.finish() for stream in streams]
    assert [(final.text, final.route) for final in finals] == said
    assert check_causal(cascade, audio[0], chunk_ms=100) == ()


def test_a_pack_run_says_who_answered(candidate: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", babbling(0.5), 16_000, subtype="PCM_16")
    table = pd.DataFrame({"utterance_id": ["a"], "path": ["a.wav"]})
    outputs = run_pack(load(candidate / "payload"), table, tmp_path)
    assert outputs.columns.tolist() == ["utterance_id", "text", "confidence", "route"]
    assert outputs["route"][0] in ("small", "large")
    alone = run_pack(load(candidate / "payload" / "parts" / "small"), table, tmp_path)
    assert alone.columns.tolist() == ["utterance_id", "text", "confidence"]


def _swap(payload: Path) -> None:
    (payload / "parts" / "small").rename(payload / "parts" / "other")
    (payload / "parts" / "large").rename(payload / "parts" / "small")
    (payload / "parts" / "other").rename(payload / "parts" / "large")


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "parts change places": (_swap, "cascade.json names"),
    "a part is missing": (lambda payload: shutil.rmtree(payload / "parts" / "large"), "parts/large is"),
    "no settings": (lambda payload: (payload / "cascade.json").unlink(), "no cascade.json"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_parts_that_do_not_belong_together_are_refused(name: str, candidate: Path, tmp_path: Path) -> None:
    spoil, said = FAULTS[name]
    payload = Path(shutil.copytree(candidate / "payload", tmp_path / "payload"))
    spoil(payload)
    with pytest.raises(Refused, match="the parts of a cascade do not belong together") as raised:
        load(payload)
    assert said in raised.value.diagnostics()


def test_parts_that_hear_at_different_rates_make_no_cascade(shelf: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(shelf / "tiny" / "payload", tmp_path / "other"))
    contract = json.loads((other / "feature_contract.json").read_text()) | {"sample_rate_hz": 8_000}
    (other / "feature_contract.json").write_text(json.dumps(contract))
    with pytest.raises(Refused, match="hear at different rates") as raised:
        write_payload(tmp_path / "payload", other, shelf / "big" / "payload", 0.5)
    assert "small 8000 Hz, large 16000 Hz" in raised.value.diagnostics()


def test_a_wrong_key_of_a_plan_is_named() -> None:
    with pytest.raises(WrongCall) as raised:
        plans({"cascade": {"both": PLAN.model_dump(mode="json") | {"below": 1.5}}})
    assert "params.yaml, cascade.both.below" in raised.value.diagnostics()
