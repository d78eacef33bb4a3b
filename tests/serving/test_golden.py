"""Golden outputs of every task: what counts as the same answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from contracts.bundle import Golden, GoldenAnswer, GoldenFixture
from serving.golden import compare, prompts
from speech.kinds import Prompt

FIXTURE = GoldenFixture(fixture_id="f1", audio="audio/000.wav", text="turn it on", label="acme-3", vector=(0.5, -0.25))


@pytest.mark.parametrize(
    ("answer", "tolerance", "same"),
    [
        (GoldenAnswer("turn it on", "acme-3", (0.5, -0.25)), {}, True),
        (GoldenAnswer("turn it off", "acme-3", (0.5, -0.25)), {}, False),
        (GoldenAnswer("turn it off", "acme-3", (0.5, -0.25)), {"max_word_edits": 1}, True),
        (GoldenAnswer("turn it on", "acme-4", (0.5, -0.25)), {"max_word_edits": 9, "max_distance": 9.0}, False),
        (GoldenAnswer("turn it on", "acme-3", (0.5, -0.26)), {}, False),
        (GoldenAnswer("turn it on", "acme-3", (0.5, -0.26)), {"max_distance": 0.011}, True),
        (GoldenAnswer("turn it on", "acme-3", (0.5,)), {"max_distance": 9.0}, False),  # another dimension
        (GoldenAnswer("turn it on", "acme-3", (0.5, float("nan"))), {"max_distance": 9.0}, False),
    ],
)
def test_what_counts_as_the_same_answer(answer: GoldenAnswer, tolerance: dict[str, Any], same: bool) -> None:
    golden = Golden.model_validate({"max_word_edits": 0, "fixtures": (FIXTURE,), **tolerance})
    proof = compare(golden, [answer])
    assert (proof.equal, proof.expected) == (int(same), 1)
    assert proof.different == (() if same else ("f1",))


def test_a_fixture_is_asked_as_its_task_is() -> None:
    spoken = GoldenFixture(fixture_id="f2", audio="", text="", prompt="Good morning.", vector=(1.0,))
    turn = FIXTURE.model_copy(update={"slices": {"tenant": "acme"}})
    golden = Golden(max_word_edits=0, fixtures=(FIXTURE, spoken, turn))
    assert prompts(golden, Path("bundle")) == [
        Prompt(Path("bundle/golden/audio/000.wav")),
        Prompt(None, "Good morning."),
        Prompt(Path("bundle/golden/audio/000.wav"), tenant="acme"),
    ]


def test_fixtures_of_transcription_keep_the_bytes_that_they_had_before_other_tasks() -> None:
    golden = Golden(max_word_edits=0, fixtures=(GoldenFixture(fixture_id="f1", audio="a.wav", text="on"),))
    assert golden.canonical() == (
        b'{"fixtures":[{"audio":"a.wav","fixture_id":"f1","slices":{},"text":"on"}],"kind":"golden","max_word_edits":0}'
    )
