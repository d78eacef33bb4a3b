"""Streaming output is heard, not copied: the trained recogniser passes, and each way to cheat is caught."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import WrongCall
from speech.honesty import check_causal
from speech.run import Event, hear, read_audio, run_pack, stream_pack
from speech.runtimes import Partial, Runtime, Samples, Stream, Transcript, load

REPOSITORY = Path(__file__).resolve().parents[2]
PAYLOAD = REPOSITORY / "candidates/asr-commands/v2/payload"
PACK = REPOSITORY / "data/packs/commands"
BATCH = "the stream asked for the batch transcript"
LATE = "no word was shown before all audio was heard"
COPIED = "the whole text was shown though speech was heard for "


@pytest.fixture(scope="module")
def runtime() -> Runtime:
    assert PAYLOAD.is_dir(), "the candidates are not trained; next step: make train"
    return load(PAYLOAD)


@pytest.fixture(scope="module")
def utterances() -> pandas.DataFrame:
    """Long commands in all accents and noises."""
    table = pandas.read_parquet(PACK / "utterances.parquet")
    return table[table["length"] == "long"].sort_values("utterance_id").iloc[::60].head(6)


@pytest.fixture(scope="module")
def recordings(utterances: pandas.DataFrame, runtime: Runtime) -> list[Samples]:
    return [read_audio(PACK / path, runtime.sample_rate_hz) for path in utterances["path"]]


class Gathering:
    """A stream that keeps its chunks; the cheats below differ in what they say of them."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.heard = np.zeros(0, np.float32)

    def accept(self, chunk: Samples) -> Partial | None:
        self.heard = np.concatenate([self.heard, chunk])
        return None

    def finish(self) -> Transcript:
        return self.runtime.transcribe(self.heard)


class AtTheEnd:
    """Says that it streams; answers from batch when the audio has ended."""

    streaming = True
    stream_kind: type[Gathering] = Gathering

    def __init__(self, inner: Runtime) -> None:
        self.inner = inner
        self.sample_rate_hz = inner.sample_rate_hz

    def transcribe(self, audio: Samples) -> Transcript:
        return self.inner.transcribe(audio)

    def stream(self) -> Stream:
        return self.stream_kind(self)


class Hidden(AtTheEnd):
    """The same, around the runtime's own `transcribe`."""

    def stream(self) -> Stream:
        return Gathering(self.inner)


class PeekingStream(Gathering):
    """Looks half a second past its chunk: a slice of an array knows the array that it is cut from."""

    def accept(self, chunk: Samples) -> Partial | None:
        super().accept(chunk)
        whole = chunk.base
        assert isinstance(whole, np.ndarray)
        return Partial(self.runtime.transcribe(whole[: self.heard.size + 8000]).text, 0)


class Peeking(AtTheEnd):
    def stream(self) -> Stream:
        return PeekingStream(self.inner)


class Dripping(AtTheEnd):
    """Has the batch texts of recordings and shows them word by word, known by their beginnings."""

    def __init__(self, inner: Runtime, recordings: list[Samples]) -> None:
        super().__init__(inner)
        self.known = {audio[:4800].tobytes(): inner.transcribe(audio).text.split() for audio in recordings}

    def stream(self) -> Stream:
        return DrippingStream(self.inner, self.known)


class DrippingStream(Gathering):
    def __init__(self, runtime: Runtime, known: dict[bytes, list[str]]) -> None:
        super().__init__(runtime)
        self.known = known
        self.shown = 0

    def accept(self, chunk: Samples) -> Partial | None:
        super().accept(chunk)
        self.shown += 1
        return Partial(" ".join(self.known.get(self.heard[:4800].tobytes(), [])[: self.shown]), 0)


class Hasty(AtTheEnd):
    """Hears honestly and commits to every word at once."""

    def stream(self) -> Stream:
        return HastyStream(self.inner)


class HastyStream(Gathering):
    def accept(self, chunk: Samples) -> Partial | None:
        super().accept(chunk)
        text = self.runtime.transcribe(self.heard).text
        return Partial(text, len(text.split()))


def test_the_trained_recogniser_hears(runtime: Runtime, recordings: list[Samples]) -> None:
    assert [check_causal(runtime, audio) for audio in recordings] == [()] * len(recordings)


@pytest.mark.parametrize(("kind", "fault"), [(AtTheEnd, BATCH), (Hidden, LATE)])
def test_an_answer_at_the_end_is_caught(
    runtime: Runtime, recordings: list[Samples], kind: type[AtTheEnd], fault: str
) -> None:
    assert all(check_causal(kind(runtime), audio) == (fault,) for audio in recordings)


def test_looking_ahead_is_caught(runtime: Runtime, recordings: list[Samples]) -> None:
    for audio in recordings:
        faults = check_causal(Peeking(runtime), audio)
        assert faults
        assert all("s change with the audio that follows" in fault for fault in faults)


def test_batch_texts_shown_bit_by_bit_are_caught(runtime: Runtime, recordings: list[Samples]) -> None:
    cheat = Dripping(runtime, recordings)
    for audio in recordings:
        (fault,) = check_causal(cheat, audio)
        assert fault.startswith(COPIED)


def test_a_word_that_was_committed_too_early_is_caught(runtime: Runtime, recordings: list[Samples]) -> None:
    faults = [fault for audio in recordings for fault in check_causal(Hasty(runtime), audio)]
    assert faults
    assert all(fault.startswith("a word committed at ") for fault in faults)


def test_too_short_an_utterance_cannot_be_cut(runtime: Runtime) -> None:
    with pytest.raises(WrongCall) as caught:
        check_causal(runtime, np.zeros(4800, np.float32))
    assert str(caught.value) == (
        "an utterance is too short to be cut\n  got: 0.30 s\n  expected: at least 4 chunks of 100 ms"
    )


@settings(deadline=None, max_examples=20)
@given(number=st.integers(0, 5), chunks=st.integers(1, 12), seed=st.integers(0, 2**32 - 1))
def test_partials_never_depend_on_later_audio(
    runtime: Runtime, recordings: list[Samples], number: int, chunks: int, seed: int
) -> None:
    audio, cut = recordings[number], chunks * 1600
    other = np.random.default_rng(seed).standard_normal(8000).astype(np.float32)
    replaced = np.concatenate([audio[:cut], other])

    def until(events: list[Event]) -> list[tuple[float, str, int]]:
        return [
            (one.heard_s, one.text, one.committed) for one in events if one.heard_s <= chunks / 10 and not one.final
        ]

    assert until(hear(runtime, audio).events) == until(hear(runtime, replaced).events)


def test_the_final_of_a_stream_is_computed_from_its_chunks(
    runtime: Runtime, utterances: pandas.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = run_pack(runtime, utterances, PACK)
    monkeypatch.setattr(runtime, "transcribe", None)
    streamed = stream_pack(runtime, utterances, PACK, trailing_silence_s=0.0)
    finals = streamed[streamed["final"]]
    assert finals["utterance_id"].tolist() == batch["utterance_id"].tolist()
    assert finals["text"].tolist() == batch["text"].tolist()
    first = streamed.drop_duplicates("utterance_id").set_index("utterance_id")["heard_s"]
    assert (first < 0.7 * utterances.set_index("utterance_id")["duration_s"]).all()
