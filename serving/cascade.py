"""Cascade: a small model answers what it is sure of, the stable one the rest (coverage row 23).

Boundary: workers of one family; the route table says which is small and how sure is sure (contracts.routing.Cascade).
Invariants: a small model that is away, slow or fails never fails a request, the stable one answers; it may take a
second more than the audio lasts, and at most half of the time that a request has; audits begin after the answer, are
bounded, and are dropped rather than queued; what the two models said is compared by word edits and forgotten.

How often the router is wrong is counted: `soundcheck_cascade` by outcome. A *mistake* is an audited answer of the small
model's that the stable one would have given otherwise.
"""

from __future__ import annotations

import time
from typing import NamedTuple

from contracts.digest import Digest
from contracts.routing import bucket
from serving.background import MAX_AUDIO_S, Background
from serving.bundles import Loaded
from serving.calls import Call, Desk
from serving.link import Answer, Hearing, ServingFailure, WorkerGone
from serving.pool import Worker
from serving.shadow import word_edits
from speech.runtimes import Samples

MAX_AUDITS = 4
SMALL_SHARE, SMALL_S = 0.5, 1.0
"""What the small model may use before the stable one is asked: a share of a request's time, and at most so many seconds
beside the audio's own."""


class Heard(NamedTuple):
    """An answer, and the bundle whose answer it is."""

    bundle: Loaded
    answer: Answer


class Cascade:
    """Lets small models answer first."""

    def __init__(self, desk: Desk, *, limit: int = MAX_AUDITS) -> None:
        self._desk = desk
        self._background = Background(limit)

    async def hear(self, call: Call, operation: Hearing, samples: Samples, *, ends: float) -> Heard:
        """The answer to one utterance; `call.worker` is then the worker that gave it.

        Args:
            operation: what is wanted of it; a small model is asked for transcripts alone.
            samples: at the stable model's rate.
            ends: when the request's time is over, on the monotonic clock.

        Raises ServingFailure where no model answers.
        """
        sure = await self._small(call, samples, ends) if operation == "transcribe" else None
        if sure is not None:
            return sure
        deadline_s = ends - time.monotonic()
        answer = await call.worker.hear(operation, samples, deadline_s=deadline_s, priority=call.priority)
        bundle = await call.worker.description(self._desk.deadline_s)
        if call.first_answer is not None:
            call.cascade = "large"
            self._compare(call, call.first_answer, answer)
        return Heard(bundle, answer)

    async def _small(self, call: Call, samples: Samples, ends: float) -> Heard | None:
        """The small model's answer, None where there is none or it is not sure of it."""
        cascade = call.route.cascade
        if cascade is None:
            return None
        worker = self._ready(call, cascade.small)
        if worker is None or worker.bundle is None:
            self._count(call, "skipped")
            return None
        try:
            with worker.hold():
                deadline_s = min((ends - time.monotonic()) * SMALL_SHARE, SMALL_S + call.audio_s)
                answer = await worker.transcribe(samples, deadline_s=deadline_s, priority=call.priority)
        except (ServingFailure, WorkerGone):
            self._count(call, "skipped")
            return None
        call.confidence_before = answer.confidence
        if answer.confidence is not None and answer.confidence >= cascade.below:
            self._count(call, "small")
            call.cascade, call.worker = "small", worker
            return Heard(worker.bundle, answer)
        self._count(call, "escalated")
        call.first_answer = answer
        call.spend(worker.bundle, answer)
        return None

    def _ready(self, call: Call, small: Digest) -> Worker | None:
        """The small model's worker where it answers now, and hears audio at the rate the stable one does."""
        pool = call.family.pool
        if not pool.ready((small,)):
            return None
        worker, stable = pool.worker(small), call.worker.bundle
        fits = (
            worker.bundle is not None
            and stable is not None
            and worker.bundle.contract.sample_rate_hz == stable.contract.sample_rate_hz
        )
        return worker if fits else None

    @staticmethod
    def _compare(call: Call, small: Answer, large: Answer) -> int:
        words = large.text.split()
        call.cascade_edits = word_edits(words, small.text.split())
        call.cascade_words = len(words)
        return call.cascade_edits

    def _count(self, call: Call, outcome: str) -> None:
        self._desk.metrics.cascade.labels(call.family.name, outcome).inc()

    # ---- audits -------------------------------------------------------------------------------------------------
    def audit(self, call: Call, answer: Answer, samples: Samples) -> None:
        """Let the stable model hear some of what the small one answered, in the background. Never raises."""
        cascade, stable = call.route.cascade, call.table.stable
        if cascade is None or stable is None or call.cascade != "small":
            return
        if bucket(call.request_id, "audit") >= cascade.audit:
            return
        ready = call.audio_s <= MAX_AUDIO_S and call.family.pool.ready((stable,))
        if not ready or not self._background.start(lambda: self._audit(call, stable, answer, samples)):
            self._count(call, "audit_dropped")

    async def _audit(self, call: Call, stable: Digest, answer: Answer, samples: Samples) -> None:
        worker = call.family.pool.worker(stable)
        began = time.monotonic()
        audited = call.again(worker)
        audited.priority, audited.cascade, audited.confidence_before = "batch", "audit", answer.confidence
        try:
            with worker.hold():
                large = await worker.transcribe(samples, deadline_s=self._desk.deadline_s, priority="batch")
                bundle = await worker.description(self._desk.deadline_s)
        except (ServingFailure, WorkerGone):
            self._count(call, "audit_dropped")
            return
        audited.latency_ms = (time.monotonic() - began) * 1000
        self._desk.finish(audited, bundle, large)
        self._count(call, "audited")
        if self._compare(audited, answer, large):
            self._count(call, "mistake")
        self._desk.record(audited, status=200, arm="shadow")

    async def close(self) -> None:
        """Drop the audits that are under way."""
        await self._background.close()
