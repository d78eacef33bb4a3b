"""The benchmark of turns on two questions, against the real gateway; how turns are timed; what is not measured."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from benchmarks import turn_engine, turn_latency
from benchmarks.turn_engine import Question, Turn
from benchmarks.turn_latency import Round
from serving.asking.dialogue import FRAME_MS
from speech.runtimes import Samples, Transcript
from speech.runtimes.kinds import Reply

RATE_HZ = 16_000
FRAME = RATE_HZ * FRAME_MS // 1000
QUESTION = Question(Path("0.pcm"), "library")
TURN = Turn(4.0, 9.0, "when", "at ten.", "5a")


class Slow:
    """An assistant that needs `hears_s` for each chunk, and `speaks_s` before each of two chunks of speech."""

    task = "dialogue"
    sample_rate_hz = voice_rate_hz = RATE_HZ

    def __init__(self, hears_s: float = 0.0, speaks_s: float = 0.0) -> None:
        self._hears_s, self._speaks_s = hears_s, speaks_s
        self.chunks: list[int] = []
        self.tenants: list[str] = []

    def turn(self, tenant: str = "") -> Slow:
        self.tenants.append(tenant)
        return self

    def accept(self, chunk: Samples) -> None:
        time.sleep(self._hears_s)
        self.chunks.append(chunk.size)

    def reply(self) -> Reply:
        return Reply(Transcript("when"), "at ten.")

    def speak(self) -> Iterator[Samples]:
        for _ in range(2):
            time.sleep(self._speaks_s)
            yield np.full(100, 0.5, np.float32)


class Answers:
    """A peer that always answers the same."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self.asked: list[tuple[Question, float]] = []

    def ask(self, question: Question, *, cadence: float) -> Turn:
        self.asked.append((question, cadence))
        return self._turn


def direct(model: Slow, frames: int, cadence: float) -> Turn:
    return turn_engine.direct(cast(Any, model), bytes(2 * FRAME * frames), "library", cadence)


@pytest.mark.slow
def test_every_figure_of_the_issue_is_measured() -> None:
    said: list[str] = []
    figures = turn_latency.quick(said.append).figures
    held = {name: figure.must for name, figure in figures.items() if figure.must is not None}
    assert held == {"added_first_audio_p50_ms": 5.0, "added_turn_p50_ms": 5.0}
    assert all(len(figure.runs) == 5 for figure in figures.values())
    assert all(figure.value > 0 for name, figure in figures.items() if not name.startswith("added"))
    assert figures["engine_turn_p50_ms"].value > figures["engine_first_audio_p50_ms"].value
    assert said


def test_the_engine_hears_the_chunks_of_a_client_at_its_pace() -> None:
    model = Slow()
    began = time.perf_counter()
    turn = turn_engine.direct(cast(Any, model), bytes(2 * FRAME * 5 // 2), "library", 1.0)
    assert model.chunks == [FRAME, FRAME, FRAME // 2]
    assert model.tenants == ["library"]
    assert time.perf_counter() - began >= 2 * FRAME_MS / 1000
    assert turn.said == ("when", "at ten.", turn.sound)


def test_a_turn_is_timed_from_the_end_of_speech_to_the_first_audio_and_to_the_last() -> None:
    turn = direct(Slow(speaks_s=0.05), 2, 1.0)
    assert turn.first_ms >= 50
    assert turn.done_ms >= turn.first_ms + 50


def test_what_an_engine_is_behind_counts() -> None:
    # Three chunks of 100 ms, each heard in 200 ms: the last was due at 200 ms and is heard at 600 ms.
    assert direct(Slow(hears_s=0.2), 3, 1.0).first_ms >= 390


def test_the_overhead_is_of_the_same_question() -> None:
    # The sides' own medians are 100 ms and 103 ms; of the questions, one by one, the gateway took 2 ms more.
    engine = [TURN._replace(first_ms=ms, done_ms=ms) for ms in (10.0, 100.0, 200.0)]
    more_ms = ((2.0, 6.0), (3.0, 7.0), (1.0, 5.0))
    gateway = [
        turn._replace(first_ms=turn.first_ms + first, done_ms=turn.done_ms + done)
        for turn, (first, done) in zip(engine, more_ms, strict=True)
    ]
    figures = turn_latency.figures_of([Round(engine, gateway)] * 5)
    assert figures["engine_first_audio_p50_ms"].value == 100.0
    assert figures["gateway_first_audio_p50_ms"].value == 103.0
    assert (figures["added_first_audio_p50_ms"].value, figures["added_first_audio_p50_ms"].reached) == (2.0, True)
    assert (figures["added_turn_p50_ms"].value, figures["added_turn_p50_ms"].reached) == (6.0, False)
    assert figures["added_turn_p95_ms"].must is None


@pytest.mark.parametrize(
    ("other", "differs"),
    [
        (TURN._replace(heard="then"), "heard"),
        (TURN._replace(text="at two."), "text"),
        (TURN._replace(text="at two.", sound="b0"), "text, sound"),
    ],
)
def test_no_figure_of_a_gateway_that_answers_otherwise(other: Turn, differs: str) -> None:
    with pytest.raises(AssertionError, match=f"^question 0: the gateway's turn is not the engine's in {differs}$"):
        turn_latency._refuse_other_turns(Answers(TURN), Answers(other), [QUESTION])


def test_a_gateway_that_answers_alike_may_take_its_time() -> None:
    engine, gateway = Answers(TURN), Answers(TURN._replace(first_ms=90.0))
    turn_latency._refuse_other_turns(engine, gateway, [QUESTION])
    assert engine.asked == gateway.asked == [(QUESTION, 0.0)]  # compared, and warm


def test_questions_are_of_every_tenant_and_end_in_silence(tmp_path: Path) -> None:
    recorded = turn_latency.recorded(tmp_path, 6)
    assert {one.tenant for one in recorded} == {"library", "clinic", "transit"}
    samples = np.frombuffer(recorded[0].pcm.read_bytes(), "<i2")
    silence = round(turn_latency.SILENCE_S * RATE_HZ)
    assert not samples[-silence:].any()
    assert np.abs(samples[:-silence]).max() > 1_000


def test_an_engine_that_ended_is_no_turn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with (
        turn_engine.start(tmp_path) as engine,
        pytest.raises(AssertionError, match=r"^the engine's process ended with status 1$"),
    ):
        engine.ask(QUESTION, cadence=0.0)
