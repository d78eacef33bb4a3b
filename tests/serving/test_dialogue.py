"""`/v1/assistant` on a real gateway with a tiny assistant: turns, barge-in over what is spoken, tenants, redaction."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pandas as pd
import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from contracts import serving_api
from serving.asking.dialogue import ROUTE
from serving.client import ApiFailure, RunningGateway, next_said, open_stream
from serving.encoding import pcm16
from serving.telemetry import read
from tests.serving.conftest import RATE_HZ, Home, StartGateway, silence
from tests.serving.test_switching import eventually
from tests.serving.tiny_tasks import VOICE_RATE_HZ, WORD_S

SECOND = pcm16(silence(1.0))
"""Two words: `alpha bravo`, which are answered `bravo. alpha. for TENANT.`"""
END, CANCEL, BARGE_IN = ('{"type": "' + said + '"}' for said in ("end", "cancel", "barge_in"))

Talk = Callable[[ClientConnection], Coroutine[Any, Any, Any]]


@asynccontextmanager
async def dialogue(
    gateway: RunningGateway, key: str, family: str = "dialogue", **start: Any
) -> AsyncIterator[tuple[ClientConnection, dict[str, Any]]]:
    headers = {"X-Soundcheck-Session": "s", **start.pop("headers", {})}
    async with open_stream(gateway.base_url, family, key, headers, route=ROUTE) as websocket:
        await websocket.send(json.dumps({"type": "start", "sample_rate": RATE_HZ, **start}))
        ready = await next_said(websocket)
        assert isinstance(ready, dict)
        yield websocket, ready


async def until(websocket: ClientConnection, kind: str) -> tuple[dict[str, Any], list[dict[str, Any]], float]:
    """The next message of a kind, the messages before it, and the seconds of speech that came meanwhile."""
    messages: list[dict[str, Any]] = []
    speech = 0
    while True:
        said = await next_said(websocket)
        if isinstance(said, bytes):
            speech += len(said) // 2
        elif said["type"] == kind:
            return said, messages, speech / VOICE_RATE_HZ
        else:
            messages.append(said)


async def turn(websocket: ClientConnection, seconds: int = 1) -> tuple[dict[str, Any], dict[str, Any], float]:
    """Say so many seconds; the reply, `done`, and seconds of speech."""
    for _ in range(seconds):
        await websocket.send(SECOND)
    await websocket.send(END)
    reply, _, before = await until(websocket, "reply")
    done, _, speech_s = await until(websocket, "done")
    assert before == 0
    return reply, done, speech_s


def rows_of(home: Home, family: str, since: float, count: int) -> list[dict[str, Any]]:
    def found() -> list[dict[str, Any]]:
        rows = read(home.root / "telemetry", family, since)
        return [{str(name): value for name, value in row.items()} for row in rows.to_dict("records")]

    rows: list[dict[str, Any]] = eventually(lambda: rows if len(rows := found()) >= count else [], timeout_s=25)
    assert len(rows) == count
    return rows


def workers_of(gateway: RunningGateway, family: str) -> list[dict[str, Any]]:
    return list(gateway.status()["families"][family]["workers"].values())


def test_turns_follow_one_another_on_one_bundle(tasks: RunningGateway, home: Home) -> None:
    since = time.time()

    async def run() -> list[tuple[dict[str, Any], dict[str, Any], float]]:
        async with dialogue(tasks, home.key, headers={"X-Soundcheck-Tenant": "acme"}) as (websocket, ready):
            serving_api.AssistantReady.model_validate(ready)
            assert ready["voice_rate"] == VOICE_RATE_HZ
            turns = [await turn(websocket), await turn(websocket, 2)]
            assert {said["bundle"] for reply, done, _ in turns for said in (reply, done)} == {ready["bundle"]}
            assert turns[0][0]["request_id"] == ready["request_id"] != turns[1][0]["request_id"]
            return turns

    first, second = asyncio.run(run())
    for reply, done, _ in (first, second):
        serving_api.AssistantReply.model_validate(reply)
        serving_api.AssistantDone.model_validate(done)
    assert (first[0]["heard"], first[0]["text"]) == ("alpha bravo", "bravo. alpha. for acme.")
    assert second[0]["heard"] == "alpha bravo charlie alpha"
    assert (first[0]["citations"], first[0]["grounded"], first[0]["turn"]) == (["doc-1", "doc-2"], True, 0)
    assert first[2] == first[1]["audio_s"] == pytest.approx(4 * WORD_S)
    rows = rows_of(home, "dialogue", since, 2)
    assert [row["request_id"] for row in rows] == [reply["request_id"] for reply, _, _ in (first, second)]
    row = rows[0]
    assert (row["task"], row["mode"], row["status"], row["tenant"]) == ("dialogue", "stream", 200, "acme")
    assert (row["tokens"], row["grounded"], row["handoff"], row["citations"]) == (2, 1, 0, 2)
    assert (row["reply_words"], row["index_age_s"], row["barge_ins"]) == (4, 60.0, 0)
    assert (row["audio_s"], row["spoken_s"]) == (1.0, pytest.approx(4 * WORD_S))
    assert 0 < row["first_audio_ms"] <= row["latency_ms"]
    assert row["first_partial_ms"] > 0
    assert rows[1]["audio_s"] == 2.0


@pytest.fixture(scope="module")
def slow(home: Home, start_tiny: StartGateway) -> Any:
    """An assistant that thinks for a fifth of a second before each word, and one whose words are private."""
    folder = home.folder("slow-assistant", "alpha bravo charlie", task="dialogue", work_ms=200)
    words = "four one five five five one nine"
    private = home.folder("private-assistant", words, task="dialogue", filters={"redact_digits_over": 5})
    options = ("--deadline-s", "3", "--stream-limit", "2", "--drain-s", "1")
    with start_tiny(home.root, serve={"slow": folder, "private": private}, options=options) as gateway:
        yield gateway


def test_a_barge_in_stops_what_is_spoken_and_begins_the_next_turn(slow: RunningGateway, home: Home) -> None:
    since = time.time()

    async def run() -> None:
        async with dialogue(slow, home.key, "slow") as (websocket, ready):
            for _ in range(5):
                await websocket.send(SECOND)
            await websocket.send(END)
            await until(websocket, "reply")
            while isinstance(await next_said(websocket), dict):
                pass
            # The user speaks over the reply: 11 more sentences would take over 2 s.
            await websocket.send(SECOND)
            await websocket.send(BARGE_IN)
            began = time.monotonic()
            restarted, between, _ = await until(websocket, "restarted")
            assert time.monotonic() - began < 0.4
            assert between == []
            assert restarted["bundle"] == ready["bundle"]
            reply, done, speech_s = await turn(websocket)
            # What is heard is the new utterance alone, and nothing more is said of the old reply.
            assert reply["heard"] == "alpha bravo"
            assert (reply["turn"], reply["bundle"]) == (1, ready["bundle"])
            assert speech_s == pytest.approx(4 * WORD_S) == done["audio_s"]

    asyncio.run(run())
    broken_off, answered = rows_of(home, "slow", since, 2)
    assert (broken_off["status"], broken_off["barge_ins"]) == (200, 0)
    assert 0 < broken_off["spoken_s"] < 5 * WORD_S
    assert (answered["status"], answered["barge_ins"]) == (200, 1)
    assert [worker["streams"] for worker in workers_of(slow, "slow")] == [0]


def test_a_barge_in_before_the_end_begins_the_utterance_anew(tasks: RunningGateway, home: Home) -> None:
    since = time.time()

    async def run() -> None:
        async with dialogue(tasks, home.key, headers={"X-Soundcheck-Tenant": "globex"}) as (websocket, _):
            await websocket.send(SECOND)
            await websocket.send(SECOND)
            await until(websocket, "partial")
            await websocket.send(BARGE_IN)
            restarted, _, _ = await until(websocket, "restarted")
            assert restarted["audio_s"] == 2.0
            reply, _, _ = await turn(websocket)
            assert (reply["heard"], reply["text"]) == ("alpha bravo", "bravo. alpha. for globex.")

    asyncio.run(run())
    (row,) = rows_of(home, "dialogue", since, 1)
    assert (row["barge_ins"], row["audio_s"], row["status"]) == (1, 3.0, 200)


def test_a_barge_in_while_the_last_words_are_still_played(tasks: RunningGateway, home: Home) -> None:
    since = time.time()

    async def run() -> None:
        async with dialogue(tasks, home.key) as (websocket, _):
            await turn(websocket)
            await websocket.send(BARGE_IN)
            await until(websocket, "restarted")
            reply, _, _ = await turn(websocket)
            assert reply["turn"] == 1

    asyncio.run(run())
    assert [row["barge_ins"] for row in rows_of(home, "dialogue", since, 2)] == [0, 1]


def test_speech_while_the_reply_is_made_is_not_heard(slow: RunningGateway, home: Home) -> None:
    async def run() -> None:
        async with dialogue(slow, home.key, "slow") as (websocket, _):
            await websocket.send(SECOND)
            await websocket.send(END)
            await websocket.send(SECOND)  # a client whose microphone stays open
            await until(websocket, "done")
            reply, _, _ = await turn(websocket)
            assert reply["heard"] == "alpha bravo"

    asyncio.run(run())


@pytest.mark.parametrize("when", ["before a turn", "while hearing", "while speaking"])
def test_a_cancellation_ends_the_dialogue(slow: RunningGateway, home: Home, when: str) -> None:
    since = time.time()

    async def run() -> None:
        async with dialogue(slow, home.key, "slow") as (websocket, _):
            if when != "before a turn":
                await websocket.send(SECOND)
            if when == "while speaking":
                await websocket.send(END)
                await until(websocket, "reply")
            await websocket.send(CANCEL)
            await until(websocket, "cancelled")
            with pytest.raises(ConnectionClosed):
                await websocket.recv()
            assert websocket.close_code == 1000

    asyncio.run(run())
    if when != "before a turn":
        (row,) = rows_of(home, "slow", since, 1)
        assert (row["status"], row["error_code"]) == (499, "cancelled")
    assert eventually(lambda: not any(worker["streams"] for worker in workers_of(slow, "slow")))


def test_a_reply_that_redaction_changes_is_not_spoken(slow: RunningGateway, home: Home) -> None:
    since = time.time()

    async def run() -> tuple[dict[str, Any], dict[str, Any], float]:
        async with dialogue(slow, home.key, "private") as (websocket, _):
            return await turn(websocket, 4)

    reply, done, speech_s = asyncio.run(run())
    assert (reply["heard"], reply["spoken"]) == ("[number]", False)
    assert "[number]" in reply["text"]
    assert speech_s == done["audio_s"] == 0
    (row,) = rows_of(home, "private", since, 1)
    assert (row["status"], row["privacy_errors"]) == (200, 0)
    assert pd.isna(row["spoken_s"])


def test_the_tenant_of_a_key_is_not_the_client_s_to_choose(tasks: RunningGateway, home: Home) -> None:
    async def run() -> str:
        async with dialogue(tasks, home.tenant_key, headers={"X-Soundcheck-Tenant": "globex"}) as (websocket, _):
            reply, _, _ = await turn(websocket)
            text: str = reply["text"]
            return text

    assert asyncio.run(run()) == "bravo. alpha. for acme."


@pytest.mark.parametrize(
    ("messages", "code"),
    [((END,), "empty_audio"), (("nonsense",), "bad_request"), ((b"odd",), "bad_request")],
    ids=["an end without audio", "nonsense", "half a sample"],
)
def test_what_makes_no_sense_ends_the_dialogue_with_its_code(
    tasks: RunningGateway, home: Home, messages: tuple[str | bytes, ...], code: str
) -> None:
    async def run() -> None:
        async with dialogue(tasks, home.key) as (websocket, _):
            for message in messages:
                await websocket.send(message)
            with pytest.raises(ApiFailure) as failure:
                await next_said(websocket)
            assert failure.value.code == code

    asyncio.run(run())


def test_a_rate_that_the_model_does_not_hear_is_refused(tasks: RunningGateway, home: Home) -> None:
    async def run() -> None:
        async with dialogue(tasks, home.key, sample_rate=12_000) as (websocket, _):
            await websocket.send(SECOND)
            with pytest.raises(ApiFailure) as failure:
                await next_said(websocket)
            assert failure.value.code == "unsupported_rate"

    asyncio.run(run())


def test_another_task_is_refused_at_the_handshake(tasks: RunningGateway, home: Home) -> None:
    async def run() -> None:
        with pytest.raises(ApiFailure, match="ask it at POST /v1/audio/transcriptions") as failure:
            async with dialogue(tasks, home.key, "tiny"):
                pass
        assert failure.value.status == 400

    asyncio.run(run())
