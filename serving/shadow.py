"""Shadow copies: what the canary would have said, heard by nobody (R7, coverage rows 10 and 33).

Boundary: background tasks on the gateway's loop (serving/background.py).
Invariants: a copy begins after the user has the answer; at most `limit` copies are under way, more are dropped and
counted; the canary's worker hears it behind what users wait for; the two answers are compared, where they can be, and
forgotten.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from contracts.bundle import GoldenAnswer
from contracts.digest import Digest
from contracts.policy import Task
from serving.background import MAX_AUDIO_S, Background
from serving.calls import OPERATIONS, Call, Desk
from serving.link import Answer, LinkStream, Replied, ServingFailure, WorkerGone
from serving.speech import chunks
from speech.runtimes import Samples

log = logging.getLogger(__name__)

MAX_COPIES = 4
MAX_COPY_S = MAX_AUDIO_S
"""Longer audio is not copied."""


def word_edits(first: Sequence[str], second: Sequence[str]) -> int:
    """The Levenshtein distance between two word sequences."""
    row = list(range(len(second) + 1))
    for index, word in enumerate(first, 1):
        diagonal, row[0] = row[0], index
        for column, other in enumerate(second, 1):
            diagonal, row[column] = row[column], min(row[column] + 1, row[column - 1] + 1, diagonal + (word != other))
    return row[-1]


def differences(task: Task, first: GoldenAnswer, second: GoldenAnswer) -> dict[str, Any]:
    """What two bundles said differently, as telemetry counts it: word edits of transcripts and replies, another class.

    Nothing where answers cannot be compared: vectors of two spaces, and audio.
    """
    if task in ("transcription", "dialogue"):
        words = first.text.split()
        return {"shadow_edits": word_edits(words, second.text.split()), "shadow_words": len(words)}
    if task == "classification":
        return {"shadow_edits": int(first.label != second.label), "shadow_words": 1}
    return {}


Compare = Callable[[Call], Coroutine[Any, Any, dict[str, Any]]]
"""Has a copy answered; gives the telemetry columns of what was compared."""


class Shadow:
    """Makes shadow copies."""

    def __init__(self, desk: Desk, *, limit: int = MAX_COPIES) -> None:
        self._desk = desk
        self._background = Background(limit)

    def copy(self, call: Call, said: GoldenAnswer, clips: Sequence[Samples]) -> None:
        """Let the shadow bundle of the call's route hear the same chunks, in the background. Never raises."""
        self._begin(call, lambda copied: self._copy(copied, said, clips))

    def speak(self, call: Call, text: str) -> None:
        """Let the shadow bundle say the same text, in the background; two voices' audio is not compared."""
        self._begin(call, lambda copied: self._say(copied, text))

    def _begin(self, call: Call, work: Compare) -> None:
        bundle = call.route.shadow
        if bundle is None:
            return
        fits = call.audio_s <= MAX_COPY_S and call.family.pool.ready((bundle,))
        if not fits or not self._background.start(lambda: self._recorded(call, bundle, work)):
            self._desk.metrics.shadow_dropped.labels(call.family.name).inc()

    async def _recorded(self, call: Call, bundle: Digest, work: Compare) -> None:
        """A copy's telemetry row, whatever became of it; `work` gives the columns of what was compared."""
        copied = call.again(self._desk.met(call.family.pool.worker(bundle), call.labels, call.request_id))
        copied.priority = "batch"
        try:
            with copied.worker.hold():
                compared = await work(copied)
        except (ServingFailure, WorkerGone) as error:
            code = error.code if isinstance(error, ServingFailure) else "internal"
            self._desk.record(copied, status=500, error_code=code, arm="shadow")
            return
        self._desk.record(copied, status=200, arm="shadow", **compared)

    async def _copy(self, copied: Call, said: GoldenAnswer, clips: Sequence[Samples]) -> dict[str, Any]:
        if copied.worker.task == "dialogue":
            return differences("dialogue", said, await self._reply(copied, clips))
        answer = await self._hear(copied, clips)
        loaded = await copied.worker.description(self._desk.deadline_s)
        copied.latency_ms = (time.monotonic() - copied.began) * 1000
        final = self._desk.finish(copied, loaded, answer)
        return differences(copied.worker.task, said, GoldenAnswer(final.text, answer.label, answer.vector))

    async def _reply(self, copied: Call, clips: Sequence[Samples]) -> GoldenAnswer:
        """What the shadow understands and replies; its speech is made too, and thrown away."""
        deadline_s, tenant = self._desk.deadline_s, copied.labels.get("tenant", "")
        bundle = await copied.worker.description(deadline_s)
        async with await copied.worker.stream(deadline_s=deadline_s, priority="batch", tenant=tenant) as turn:
            feeding = asyncio.create_task(self._feed(turn, clips))
            try:
                while not isinstance(said := await turn.next(), Replied):
                    pass
            finally:
                feeding.cancel()
            ended = time.monotonic()
            copied.work(said)
            heard = self._desk.finish(copied, bundle, said.heard).text
            text = self._desk.redacted(copied, bundle, said.text)
            async for _ in chunks(copied, turn, since=ended):
                pass
        copied.latency_ms = (time.monotonic() - ended) * 1000
        return GoldenAnswer(f"{heard}\n{text}")

    async def _say(self, copied: Call, text: str) -> dict[str, Any]:
        deadline_s = self._desk.deadline_s
        async with copied.worker.speak(text, deadline_s=deadline_s, priority="batch") as speech:
            async for _ in chunks(copied, speech, since=copied.began):
                pass
        copied.latency_ms = (time.monotonic() - copied.began) * 1000
        copied.audio_s = copied.made.spoken_s or 0.0
        return {}

    async def _hear(self, copied: Call, clips: Sequence[Samples]) -> Answer:
        worker = copied.worker
        if copied.mode == "http":
            operation = OPERATIONS[worker.task]
            return await worker.hear(operation, clips[0], deadline_s=self._desk.deadline_s, priority="batch")
        async with await worker.stream(deadline_s=self._desk.deadline_s, priority="batch") as stream:
            feeding = asyncio.create_task(self._feed(stream, clips))
            try:
                while not isinstance(said := await stream.next(), Answer):
                    pass
            finally:
                feeding.cancel()
            return said

    @staticmethod
    async def _feed(stream: LinkStream, clips: Sequence[Samples]) -> None:
        for chunk in clips:
            await stream.feed(chunk)
        stream.end()

    async def close(self) -> None:
        """Drop the copies that are under way."""
        await self._background.close()
