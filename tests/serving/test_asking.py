"""Families of every task are asked alike, and what comes back is what golden outputs are compared by."""

from __future__ import annotations

import asyncio
from typing import get_args

import httpx
import numpy as np
import pytest

from contracts.bundle import GoldenAnswer
from contracts.errors import WrongCall
from contracts.policy import Task
from serving.asking import Asked, Door, asker
from serving.client import ApiFailure, RunningGateway
from speech.kinds import Prompt
from speech.sketch import sketch
from tests.serving.conftest import Home, silence, wav
from tests.serving.tiny_tasks import VOICE_RATE_HZ, TinyEmbedder, tone

SAID = np.concatenate([tone(0, 3), tone(1, 2)])


@pytest.fixture(scope="module")
def prompt(tmp_path_factory: pytest.TempPathFactory) -> Prompt:
    path = tmp_path_factory.mktemp("clips") / "a.wav"
    path.write_bytes(wav(silence(1.0) + 0.25))
    return Prompt(path, "one two three. four five.", "acme")


def door(gateway: RunningGateway, home: Home, task: Task) -> Door:
    return Door(gateway.base_url, "tiny" if task == "transcription" else task, home.key)


def ask(door: Door, task: Task, prompt: Prompt) -> Asked:
    async def asked() -> Asked:
        async with httpx.AsyncClient(timeout=20) as client:
            return await asker(task).ask(door, prompt, client=client)

    return asyncio.run(asked())


VECTOR = tuple(float(value) for value in TinyEmbedder().embed((silence(1.0) + 0.25).astype(np.float32)))
EXPECTED: dict[Task, GoldenAnswer] = {
    "transcription": GoldenAnswer("alpha bravo"),
    "synthesis": GoldenAnswer(vector=sketch(SAID, VOICE_RATE_HZ)),
    "embedding": GoldenAnswer(label="levels-1", vector=VECTOR),
    "classification": GoldenAnswer(label="loud", vector=(0.75, 0.25)),
}


@pytest.mark.parametrize("task", sorted(EXPECTED))
def test_an_answer_over_http(tasks: RunningGateway, home: Home, prompt: Prompt, task: Task) -> None:
    asked = ask(door(tasks, home, task), task, prompt)
    expected = EXPECTED[task]
    assert (asked.answer.text, asked.answer.label) == (expected.text, expected.label)
    assert asked.answer.vector == pytest.approx(expected.vector, abs=0.01)
    assert asked.bundles == {asked.bundle}
    assert (asked.route_version, asked.starved) == (0, False if task == "synthesis" else None)
    assert asked.latency_ms > 0


def test_speech_over_a_websocket_is_that_over_http(tasks: RunningGateway, home: Home, prompt: Prompt) -> None:
    own = door(tasks, home, "synthesis")
    streamed = asyncio.run(asker("synthesis").stream(own, prompt))
    asked = ask(own, "synthesis", prompt)
    assert streamed.answer == asked.answer
    assert streamed.bundle == asked.bundle
    assert streamed.first_ms is not None
    assert streamed.first_ms <= streamed.latency_ms


@pytest.mark.parametrize("task", ["embedding", "classification"])
def test_a_task_without_streams_says_so(prompt: Prompt, task: Task) -> None:
    assert not asker(task).streams
    with pytest.raises(WrongCall, match="this task has no stream"):
        asyncio.run(asker(task).stream(Door("", "", ""), prompt))


@pytest.mark.parametrize("task", sorted(EXPECTED))
def test_a_refusal_is_raised_with_its_code(tasks: RunningGateway, prompt: Prompt, task: Task) -> None:
    with pytest.raises(ApiFailure) as failure:
        ask(Door(tasks.base_url, "tiny", "nobody"), task, prompt)
    assert (failure.value.code, failure.value.status) == ("unauthorized", 401)


def test_there_is_a_way_to_ask_each_task() -> None:
    for task in get_args(Task):
        assert {"ask", "stream", "streams"} <= set(dir(asker(task)))
