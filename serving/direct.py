"""What a worker answers to a golden fixture, whatever its task, in the parts that answers are compared by.

Boundary: workers of a pool; a recording is decoded as the API decodes it.
Invariants: asked in the batch class, behind what users wait for.
"""

from __future__ import annotations

import asyncio

import numpy as np

from contracts.bundle import GoldenAnswer
from serving.audio import decode
from serving.bundles import Loaded
from serving.calls import OPERATIONS
from serving.link import Chunk, Replied, ServingFailure, Spoken
from serving.pool import Worker
from speech.kinds import Prompt
from speech.runtimes import Samples
from speech.sketch import sketch

FEED_S = 1.0


async def answer(worker: Worker, bundle: Loaded, prompt: Prompt, deadline_s: float) -> GoldenAnswer:
    """The worker's answer within so many seconds; raises ServingFailure and WorkerGone."""
    if worker.task == "synthesis":
        samples = await _said(worker, prompt.text, deadline_s)
        return GoldenAnswer(vector=sketch(samples, worker.facts["voice_rate_hz"]))
    assert prompt.path is not None
    content = await asyncio.to_thread(prompt.path.read_bytes)
    clip = (await asyncio.to_thread(decode, content, bundle.contract)).samples
    if worker.task == "dialogue":
        return await _replied(worker, clip, prompt.tenant, deadline_s)
    heard = await worker.hear(OPERATIONS[worker.task], clip, deadline_s=deadline_s, priority="batch")
    return GoldenAnswer(heard.text, heard.label or worker.facts.get("space", ""), heard.vector)


async def _said(worker: Worker, text: str, deadline_s: float) -> Samples:
    said: list[Samples] = []
    async with worker.speak(text, deadline_s=deadline_s, priority="batch") as speech, asyncio.timeout(deadline_s):
        while not isinstance(chunk := await speech.next(), Spoken):
            if isinstance(chunk, Chunk):
                said.append(chunk.samples)
    return np.concatenate(said)


async def _replied(worker: Worker, clip: Samples, tenant: str, deadline_s: float) -> GoldenAnswer:
    """What was understood and replied; what follows, the speech, is not waited for."""
    step = round(FEED_S * worker.facts["rate_hz"])
    async with await worker.stream(deadline_s=deadline_s, priority="batch", tenant=tenant) as turn:
        try:
            async with asyncio.timeout(deadline_s):
                for offset in range(0, clip.size, step):
                    await turn.feed(clip[offset : offset + step])
                    await turn.next()
                turn.end()
                while not isinstance(said := await turn.next(), Replied):
                    pass
        except TimeoutError:
            raise ServingFailure("deadline", "the turn was not answered within its deadline") from None
    return GoldenAnswer(f"{said.heard.text}\n{said.text}", ",".join(said.citations))
