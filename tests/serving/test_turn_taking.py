"""Turn-taking with overlapping speech, over the wire: whenever a user breaks in, what is heard next is new."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from serving.client import RunningGateway
from serving.encoding import pcm16
from tests.serving.conftest import Home, StartGateway, silence
from tests.serving.test_dialogue import BARGE_IN, END, SECOND, dialogue, turn, until

FAMILY = "taking"
WORK_MS = 15
ROUNDS = 12


@pytest.fixture(scope="module")
def gateway(home: Home, start_tiny: StartGateway) -> Iterator[RunningGateway]:
    """An assistant whose reply to two words takes three times WORK_MS to make."""
    folder = home.folder("taking", "alpha bravo charlie", task="dialogue", work_ms=WORK_MS)
    with start_tiny(home.root, serve={FAMILY: folder}) as started:
        yield started


@pytest.mark.parametrize("after_ms", [0, 10, 25, 40, 45, 50, 60, 90])
def test_a_barge_in_is_taken_whenever_it_comes(gateway: RunningGateway, home: Home, after_ms: int) -> None:
    """Before the reply, while it is spoken, in the moment in which it ends, and after."""

    async def run() -> list[tuple[str, int]]:
        async with dialogue(gateway, home.key, FAMILY) as (websocket, _):
            taken = []
            for _ in range(ROUNDS):
                await websocket.send(SECOND)
                await websocket.send(SECOND)
                await websocket.send(END)
                await asyncio.sleep(after_ms / 1000)
                await websocket.send(BARGE_IN)
                async with asyncio.timeout(5):
                    await until(websocket, "restarted")
                reply, _, _ = await turn(websocket)
                taken.append((reply["heard"], reply["turn"]))
            return taken

    taken = asyncio.run(run())
    assert [heard for heard, _ in taken] == ["alpha bravo"] * ROUNDS  # two words, not the four that were broken off
    assert [number for _, number in taken] == list(range(1, 2 * ROUNDS, 2))


def test_speech_over_a_reply_that_nobody_announces_is_not_heard(gateway: RunningGateway, home: Home) -> None:
    """A client that does not pass the barge-in on: its user is not heard, and is not mixed into the next turn."""

    async def run() -> str:
        async with dialogue(gateway, home.key, FAMILY) as (websocket, _):
            await websocket.send(SECOND)
            await websocket.send(END)
            for _ in range(5):
                await websocket.send(pcm16(silence(0.1)))
            await until(websocket, "done")
            reply, _, _ = await turn(websocket, 2)
            return str(reply["heard"])

    assert asyncio.run(run()) == "alpha bravo charlie alpha"
