"""Route tables of families of other tasks: shadow copies, faults that are planted, bundles that are withdrawn."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pandas as pd
import pytest
from websockets.asyncio.client import ClientConnection

from contracts.bundle import GoldenAnswer
from contracts.policy import Task
from contracts.routing import CanaryRoute
from serving.asking import Door, asker
from serving.asking.dialogue import ROUTE as DIALOGUE
from serving.asking.synthesis import ROUTE as SPEECH
from serving.client import ApiFailure, RunningGateway, next_said, open_stream
from serving.presence import wait_for_version
from serving.shadow import differences
from serving.telemetry import read
from speech.kinds import Prompt
from tests.serving.conftest import RATE_HZ, Home, StartGateway, silence, wav
from tests.serving.test_switching import eventually

NAMES: dict[Task, str] = {
    "synthesis": "shadow-voice",
    "embedding": "shadow-vectors",
    "classification": "shadow-classes",
    "dialogue": "shadow-talk",
}


@pytest.fixture(scope="module")
def following(home: Home, start_tiny: StartGateway) -> Iterator[RunningGateway]:
    with start_tiny(home.root, families=list(NAMES.values()), options=("--poll-s", "0.05")) as gateway:
        yield gateway


@pytest.mark.parametrize(
    ("task", "differs"), [("synthesis", None), ("embedding", None), ("classification", False), ("dialogue", True)]
)
def test_a_shadow_is_compared_where_it_can_be_and_timed_everywhere(
    following: RunningGateway, home: Home, tmp_path: Any, task: Task, differs: bool | None
) -> None:
    family, since = NAMES[task], time.time()
    words = (
        ("alpha bravo", "alpha delta") if differs is None or task != "dialogue" else ("alpha bravo", "alpha bravo x")
    )
    stable, shadow = (home.bundle(f"{family}-{place}", one, family, task=task) for place, one in enumerate(words))
    table = home.point(family, stable, canary=CanaryRoute(bundle=shadow, stage="shadow", weight=1.0))
    wait_for_version(home.root, family, table.version, timeout_s=20)
    (tmp_path / "a.wav").write_bytes(wav(silence(1.5 if task == "dialogue" else 1.0)))
    prompt = Prompt(tmp_path / "a.wav", "one two.", "acme")

    async def ask() -> str:
        async with httpx.AsyncClient(timeout=20) as client:
            asked = await asker(task).ask(Door(following.base_url, family, home.key), prompt, client=client)
        return asked.bundle

    assert asyncio.run(ask()) == stable

    def copied() -> list[dict[Any, Any]]:
        rows = read(home.root / "telemetry", family, since)
        return rows[rows["arm"] == "shadow"].to_dict("records")

    (row,) = eventually(copied, timeout_s=25)
    assert (row["bundle"], row["status"], row["task"], row["priority"]) == (shadow, 200, task, "batch")
    assert row["latency_ms"] > 0
    assert row["cost_usd"] > 0
    if differs is None:
        assert pd.isna(row["shadow_edits"])
        assert pd.isna(row["shadow_words"])
    else:
        assert row["shadow_words"] > 0
        assert (row["shadow_edits"] > 0) == differs
    assert pd.notna(row["first_audio_ms"]) == (task in ("synthesis", "dialogue"))


@pytest.mark.parametrize(
    ("task", "first", "second", "found"),
    [
        ("transcription", GoldenAnswer("a b c"), GoldenAnswer("a x c"), {"shadow_edits": 1, "shadow_words": 3}),
        ("dialogue", GoldenAnswer("a\nb c"), GoldenAnswer("a\nb"), {"shadow_edits": 1, "shadow_words": 3}),
        ("classification", GoldenAnswer("", "x"), GoldenAnswer("", "y"), {"shadow_edits": 1, "shadow_words": 1}),
        ("classification", GoldenAnswer("", "x"), GoldenAnswer("", "x"), {"shadow_edits": 0, "shadow_words": 1}),
        ("embedding", GoldenAnswer("", "x", (1.0,)), GoldenAnswer("", "x", (1.0,)), {}),
        ("synthesis", GoldenAnswer(), GoldenAnswer(), {}),
    ],
)
def test_what_two_bundles_said_differently(
    task: Task, first: GoldenAnswer, second: GoldenAnswer, found: dict[str, int]
) -> None:
    assert differences(task, first, second) == found


AUDIO = (silence(3.0) * 32767).astype("<i2").tobytes()
TALKS: dict[Task, tuple[str, tuple[str | bytes, ...]]] = {
    "synthesis": (SPEECH, (json.dumps({"type": "start", "input": "word. " * 100}),)),
    "dialogue": (DIALOGUE, (json.dumps({"type": "start", "sample_rate": RATE_HZ}), AUDIO, '{"type": "end"}')),
}
"""Where a family of a task is made to speak, and by which messages."""


async def _until_refused(websocket: ClientConnection) -> str:
    """The code with which the server ends what it says."""
    try:
        while True:
            await next_said(websocket)
    except ApiFailure as failure:
        return failure.code


@pytest.mark.parametrize("task", sorted(TALKS))
def test_what_is_being_said_ends_when_its_bundle_is_withdrawn(home: Home, start_tiny: StartGateway, task: Task) -> None:
    """R7.6: nothing more is said by a bundle that a table closes."""
    family, (route, messages) = f"leaving-{task}", TALKS[task]
    old, new = (home.bundle(f"{family}-{name}", "alpha", family, task=task, work_ms=100) for name in ("old", "new"))
    home.point(family, old)

    async def run(gateway: RunningGateway) -> tuple[str, float]:
        async with open_stream(gateway.base_url, family, home.key, route=route) as websocket:
            for message in messages:
                await websocket.send(message)
            while not isinstance(await next_said(websocket), bytes):
                pass
            home.point(family, new, closed=(old,))
            began = time.monotonic()
            return await _until_refused(websocket), time.monotonic() - began

    with start_tiny(home.root, families=[family], options=("--poll-s", "0.05")) as gateway:
        code, took_s = asyncio.run(run(gateway))
    assert (code, took_s < 2) == ("withdrawn", True)
