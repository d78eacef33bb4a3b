"""A runtime over a pack: tables in the order asked for, virtual time, resampling where it is declared."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas
import pytest
import soundfile

from contracts.errors import Corrupt, NotFound
from speech.memory import peak_memory_mb
from speech.run import hear, read_audio, run_pack, stream_pack, time_pack, time_stream
from speech.runtimes import Partial, Samples, Transcript


class CountingStream:
    """Says how many chunks it has heard; takes back a word in the third."""

    def __init__(self, told: list[str], name: str) -> None:
        self.chunks = 0
        self.samples = 0
        told.append(name)

    def accept(self, chunk: Samples) -> Partial | None:
        self.chunks += 1
        self.samples += chunk.size
        return {2: Partial("one two", 0), 3: Partial("one three", 1)}.get(self.chunks)

    def finish(self) -> Transcript:
        return Transcript(f"one three {self.samples}")


class CountingRuntime:
    """A runtime whose text is the number of samples it heard."""

    streaming = True

    def __init__(self, rate_hz: int = 16000, told: list[str] | None = None, name: str = "") -> None:
        self.sample_rate_hz = rate_hz
        self._told = told if told is not None else []
        self._name = name

    def transcribe(self, audio: Samples) -> Transcript:
        return Transcript(str(audio.size), confidence=0.5 if audio.size > 8000 else None)

    def stream(self) -> CountingStream:
        return CountingStream(self._told, self._name)


class ScriptedStream:
    """Shows what it was told, a partial a chunk."""

    def __init__(self, partials: list[Partial], final: str) -> None:
        self.partials = iter(partials)
        self.final = final

    def accept(self, chunk: Samples) -> Partial | None:
        assert chunk.size
        return next(self.partials)

    def finish(self) -> Transcript:
        return Transcript(self.final)


class ScriptedRuntime:
    streaming = True
    sample_rate_hz = 16000

    def __init__(self, partials: list[Partial], final: str) -> None:
        self.script = partials, final

    def transcribe(self, audio: Samples) -> Transcript:
        return Transcript(self.script[1] if audio.size else "")

    def stream(self) -> ScriptedStream:
        return ScriptedStream(*self.script)


@pytest.fixture
def pack(tmp_path: Path) -> tuple[pandas.DataFrame, Path]:
    (tmp_path / "audio").mkdir()
    rows = []
    for name, seconds in (("b", 1.0), ("a", 0.5), ("c", 0.25)):
        soundfile.write(tmp_path / f"audio/{name}.wav", np.zeros(round(16000 * seconds)), 16000, subtype="PCM_16")
        rows.append({"utterance_id": name, "path": f"audio/{name}.wav"})
    return pandas.DataFrame(rows), tmp_path


def test_outputs_stand_in_the_order_of_the_pack(pack: tuple[pandas.DataFrame, Path]) -> None:
    told: list[tuple[int, int]] = []
    table = run_pack(CountingRuntime(), *pack, on_progress=lambda done, total: told.append((done, total)))
    assert list(table.columns) == ["utterance_id", "text", "confidence"]
    assert table["utterance_id"].tolist() == ["b", "a", "c"]
    assert table["text"].tolist() == ["16000", "8000", "4000"]
    assert table["confidence"][0] == 0.5
    assert math.isnan(table["confidence"][1])
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_audio_is_resampled_to_the_rate_of_the_runtime(pack: tuple[pandas.DataFrame, Path]) -> None:
    table = run_pack(CountingRuntime(8000), *pack)
    assert table["text"].tolist() == ["8000", "4000", "2000"]


def test_runtimes_take_turns(pack: tuple[pandas.DataFrame, Path]) -> None:
    told: list[str] = []
    runtimes = {name: CountingRuntime(told=told, name=name) for name in ("stable", "candidate")}
    tables = time_pack(runtimes, *pack)
    assert told == ["stable", "candidate", "candidate", "stable", "stable", "candidate"]
    assert [tables[name]["utterance_id"].tolist() for name in runtimes] == [["b", "a", "c"]] * 2


def test_time_is_virtual(pack: tuple[pandas.DataFrame, Path]) -> None:
    timing = time_stream(CountingRuntime(), np.zeros(16000, np.float32), "u", chunk_ms=100)
    assert timing.audio_s == 1.0
    assert 200 <= timing.first_partial_ms < 250
    assert 200 <= timing.first_stable_ms < 250  # "one" stays; "two" is taken back
    assert 0 <= timing.final_ms < 50
    assert 0 < timing.compute_s < 0.05
    assert math.isnan(timing.endpoint_ms)


@pytest.mark.parametrize(
    ("texts", "first_s"),
    [
        (["x", "a b", "a c", "a c"], 0.2),
        (["a", "x a", "a", "a"], 0.3),  # the first "a" was taken back
        (["x b", "a b", "a b"], 0.1),  # the second word stood there from the first
        (["b a", "a b", "a"], 0.2),  # a word counts at its place
        (["x", "y", "a"], 0.2),  # only the final showed it
        (["a", ""], math.nan),
    ],
)
def test_the_first_stable_word_is_the_first_that_kept_its_place(texts: list[str], first_s: float) -> None:
    *partials, final = texts
    runtime = ScriptedRuntime([Partial(text, 0) for text in partials], final)
    timing = time_stream(runtime, np.zeros(1600 * len(partials), np.float32), "u", chunk_ms=100)
    assert timing.first_stable_ms == pytest.approx(first_s * 1000, abs=20, nan_ok=True)


def test_a_runtime_without_partials_is_late_and_has_no_first_partial() -> None:
    timing = time_stream(CountingRuntime(), np.zeros(1600, np.float32), "u", chunk_ms=100)
    assert math.isnan(timing.first_partial_ms)
    assert timing.first_stable_ms == pytest.approx(100 + timing.final_ms)


def test_endpoints_are_timed_from_the_end_of_the_last_word(pack: tuple[pandas.DataFrame, Path]) -> None:
    table, root = pack
    timings = time_pack(
        {"own": CountingRuntime()}, table.assign(speech_end_s=np.array([0.9, 0.3, None], dtype=object)), root
    )["own"]
    # The last change comes with the third chunk, at 0.3 s of audio; the rule fires 0.8 s later.
    assert timings["endpoint_ms"].tolist() == pytest.approx([200.0, 800.0, math.nan], nan_ok=True)


def test_a_stream_is_a_row_for_each_change_and_the_final(pack: tuple[pandas.DataFrame, Path]) -> None:
    told: list[tuple[int, int]] = []
    table = stream_pack(CountingRuntime(), *pack, on_progress=lambda done, total: told.append((done, total)))
    assert list(table.columns) == ["utterance_id", "heard_s", "text", "committed", "final"]
    assert table[table["utterance_id"] == "a"].to_numpy().tolist() == [
        ["a", 0.2, "one two", 0, False],
        ["a", 0.3, "one three", 1, False],
        ["a", 1.5, "one three 24000", 3, True],
    ]
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_no_audio_is_a_final_alone() -> None:
    (only,) = hear(CountingRuntime(), np.zeros(0, np.float32)).events
    assert (only.heard_s, only.text, only.final) == (0.0, "one three 0", True)


@pytest.mark.parametrize(
    ("chunk_ms", "silence_s", "heard"),
    [(100, 0.0, [0.2, 0.3, 0.5]), (125, 0.5, [0.25, 0.375, 1.0]), (1500, 1.0, [1.5]), (250, 0.0, [0.5, 0.5])],
)
def test_chunks_are_as_long_as_asked(
    pack: tuple[pandas.DataFrame, Path], chunk_ms: int, silence_s: float, heard: list[float]
) -> None:
    table, root = pack
    one = table[table["utterance_id"] == "a"]
    rows = stream_pack(CountingRuntime(), one, root, chunk_ms=chunk_ms, trailing_silence_s=silence_s)
    assert rows["heard_s"].tolist() == heard


def test_a_partial_that_says_the_same_again_is_no_change() -> None:
    runtime = ScriptedRuntime([Partial("one", 0), Partial("one", 0), Partial("one", 1)], "one")
    events = hear(runtime, np.zeros(4000, np.float32)).events
    assert [(event.heard_s, event.committed, event.final) for event in events] == [
        (0.1, 0, False),
        (0.25, 1, False),
        (0.25, 1, True),
    ]


def test_missing_and_broken_audio_are_named(tmp_path: Path) -> None:
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    soundfile.write(tmp_path / "stereo.wav", np.zeros((100, 2)), 16000)
    with pytest.raises(NotFound, match=r"an utterance's audio is missing\n  where: away.wav"):
        read_audio(tmp_path / "away.wav", 16000)
    with pytest.raises(Corrupt, match=r"an utterance's audio does not read\n  where: broken.wav"):
        read_audio(tmp_path / "broken.wav", 16000)
    with pytest.raises(Corrupt, match=r"several channels\n  where: stereo.wav\n  got: 2"):
        read_audio(tmp_path / "stereo.wav", 16000)


def test_memory_is_in_megabytes() -> None:
    assert 20 < peak_memory_mb() < 100_000
