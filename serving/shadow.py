"""Shadow copies: what the canary would have said, heard by nobody (R7, coverage rows 10 and 33).

Boundary: background tasks on the gateway's loop (serving/background.py).
Invariants: a copy begins after the user has the answer; at most `limit` copies are under way, more are dropped and
counted; the canary's worker hears it behind what users wait for; the two answers are compared by word edits and
forgotten.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence

from contracts.digest import Digest
from serving.background import MAX_AUDIO_S, Background
from serving.calls import Call, Desk
from serving.link import Answer, LinkStream, ServingFailure, WorkerGone
from serving.pool import Worker
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


class Shadow:
    """Makes shadow copies."""

    def __init__(self, desk: Desk, *, limit: int = MAX_COPIES) -> None:
        self._desk = desk
        self._background = Background(limit)

    def copy(self, call: Call, text: str, chunks: Sequence[Samples]) -> None:
        """Let the shadow bundle of the call's route hear the same chunks, in the background. Never raises."""
        bundle = call.route.shadow
        if bundle is None:
            return
        fits = call.audio_s <= MAX_COPY_S and call.family.pool.ready((bundle,))
        if not fits or not self._background.start(lambda: self._copy(call, bundle, text, chunks)):
            self._desk.metrics.shadow_dropped.labels(call.family.name).inc()

    async def _copy(self, call: Call, bundle: Digest, text: str, chunks: Sequence[Samples]) -> None:
        worker = self._desk.met(call.family.pool.worker(bundle), call.labels, call.request_id)
        began = time.monotonic()
        copied = call.again(worker)
        copied.priority = "batch"
        try:
            with worker.hold():
                answer = await self._hear(call.mode, worker, chunks)
                loaded = await worker.description(self._desk.deadline_s)
        except (ServingFailure, WorkerGone) as error:
            code = error.code if isinstance(error, ServingFailure) else "internal"
            self._desk.record(copied, status=500, error_code=code, arm="shadow")
            return
        copied.latency_ms = (time.monotonic() - began) * 1000
        final = self._desk.finish(copied, loaded, answer)
        words = text.split()
        edits = word_edits(words, final.text.split())
        self._desk.record(copied, status=200, arm="shadow", shadow_edits=edits, shadow_words=len(words))

    async def _hear(self, mode: str, worker: Worker, chunks: Sequence[Samples]) -> Answer:
        if mode == "http":
            return await worker.transcribe(chunks[0], deadline_s=self._desk.deadline_s, priority="batch")
        async with await worker.stream(deadline_s=self._desk.deadline_s, priority="batch") as stream:
            feeding = asyncio.create_task(self._feed(stream, chunks))
            try:
                while not isinstance(said := await stream.next(), Answer):
                    pass
            finally:
                feeding.cancel()
            return said

    @staticmethod
    async def _feed(stream: LinkStream, chunks: Sequence[Samples]) -> None:
        for chunk in chunks:
            await stream.feed(chunk)
        stream.end()

    async def close(self) -> None:
        """Drop the copies that are under way."""
        await self._background.close()
