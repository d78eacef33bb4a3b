"""One request or stream between ingress and telemetry: who, which bundle, how long, what is recorded about it.

Boundary: no network and no files of its own; the desk hands in keys, families, recorder and metrics.
Invariants: what is recorded holds no text; an answer leaves redacted by its own bundle's rules, and what would have
been taken out by stable's rules counts as a privacy error; what a worker still did for somebody who left is in the row,
which waits for it.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from contracts.digest import Digest
from contracts.policy import Task
from contracts.routing import Arm, Route, RouteTable
from contracts.serving_api import STATUS, ApiError
from contracts.telemetry import ClientEvent
from serving.bundles import Loaded
from serving.frames import Priority
from serving.ingress import Caller, Keys, LabelBook, Pseudonyms, Terms, Trace, session
from serving.leftovers import REQUEST, Leftovers
from serving.limits import Limiter
from serving.link import Answer, Chunk, Heard, Hearing, Replied, ServingFailure, Spoken
from serving.metrics import Metrics
from serving.planting import Planting
from serving.pool import Worker
from serving.preprocess import Acoustics
from serving.redaction import leaks, redact, redact_words
from serving.router import Family
from serving.telemetry import Recorder
from serving.tracing import Timing, Tracer
from serving.windows import Windows

RETRY_AFTER_S = 1.0
"""Where nothing is known of the queue."""

CLIENT_GONE_STATUS = 499
"""Recorded when the client left before its answer; never sent."""

SETTLE_S = 5.0
"""Longest that a row waits for what a worker still does, beside the time that its audio lasts: no step takes longer."""

ROUTES: dict[Task, str] = {
    "transcription": "POST /v1/audio/transcriptions or the WebSocket /v1/audio/stream",
    "synthesis": "POST /v1/audio/speech or the WebSocket /v1/audio/speech/stream",
    "embedding": "POST /v1/audio/embeddings",
    "classification": "POST /v1/audio/classifications",
    "dialogue": "the WebSocket /v1/assistant",
}
"""Where families of each task are asked."""


OPERATIONS: dict[Task, Hearing] = {"transcription": "transcribe", "embedding": "embed", "classification": "classify"}
"""What is asked of models that answer a whole recording."""


@dataclass(slots=True)
class Made:
    """What was said, and in a dialogue answered: columns of the telemetry row (contracts/telemetry.py)."""

    first_audio_ms: float | None = None
    starved: int | None = None
    spoken_s: float | None = None
    characters: int | None = None
    cached: int | None = None
    tokens: int | None = None
    handoff: int | None = None
    grounded: int | None = None
    citations: int | None = None
    reply_words: int | None = None
    barge_ins: int | None = None
    index_age_s: float | None = None


@dataclass(slots=True)
class Call:
    """A routed request. Times in milliseconds, `began` on the monotonic clock; counts fill in as it goes.

    `first_answer` is what a cascade's small model said before the stable one was asked; `spent_ms` and `spent_usd` are
    what that took, which `queue_ms` and `infer_ms` include and the stable model's price does not. `leftovers` is what
    was spent beside answers; the task that makes a call, and those that it begins, work for it.
    """

    trace: Trace
    mode: str
    family: Family
    table: RouteTable
    route: Route
    worker: Worker
    labels: dict[str, str]
    session_id: str
    admitted: float = 0.0
    began: float = field(default_factory=time.monotonic)
    deadline_s: float = 30.0
    priority: Priority = "interactive"
    degraded: Literal["no", "no_partials", "smaller"] = "no"
    audio_s: float = 0.0
    sent_rate_hz: int = 0
    acoustics: Acoustics | None = None
    preprocess_ms: float = 0.0
    postprocess_ms: float = 0.0
    latency_ms: float = 0.0
    first_partial_ms: float | None = None
    queue_ms: float = 0.0
    infer_ms: float = 0.0
    batch: int = 1
    worker_died: int = 0
    retries: int = 0
    partial_words: int = 0
    unstable_words: int = 0
    confidence: float | None = None
    privacy_errors: int = 0
    cascade: Literal["none", "small", "large", "audit"] = "none"
    cascade_edits: int | None = None
    cascade_words: int | None = None
    confidence_before: float | None = None
    first_answer: Answer | None = None
    spent_ms: float = 0.0
    spent_usd: float = 0.0
    made: Made = field(default_factory=Made)
    leftovers: Leftovers = field(default_factory=Leftovers)

    def __post_init__(self) -> None:
        """From here on the work of this task is for this call."""
        REQUEST.set(self.leftovers)

    @property
    def request_id(self) -> str:
        """What the request is called: its trace id."""
        return self.trace.request_id

    @property
    def bundle(self) -> Digest:
        """The bundle that answers."""
        return self.worker.digest

    def spend(self, bundle: Loaded, answer: Answer) -> None:
        """Count what an answer took that another model's will replace."""
        self.work(answer)
        self.spent_ms += answer.infer_ms
        self.spent_usd += answer.infer_ms / 1000 * bundle.cost_usd_per_s

    def work(self, done: Answer | Heard | Replied | Chunk | Spoken) -> None:
        """Count what the worker spent on a chunk, a reply or an answer, and what became of the worker."""
        self.queue_ms += done.queue_ms
        self.infer_ms += done.infer_ms
        self.batch = max(self.batch, done.batch)
        if isinstance(done, Answer):
            self.worker_died += done.worker_died
            self.retries += done.retries

    def take_leftovers(self) -> None:
        """Count what was spent beside answers, as far as it has been told."""
        left, self.leftovers = self.leftovers, Leftovers()
        self.queue_ms += left.queue_ms
        self.infer_ms += left.infer_ms
        self.spent_ms += left.infer_ms
        self.spent_usd += left.usd
        self.batch = max(self.batch, left.batch)

    def again(self, worker: Worker) -> Call:
        """The same audio, to be heard by another worker: what is known of the request, nothing of how it was answered.

        `began` is now.
        """
        return replace(
            self, worker=worker, began=time.monotonic(), latency_ms=0.0, first_partial_ms=None, queue_ms=0.0,
            infer_ms=0.0, batch=1, worker_died=0, retries=0, partial_words=0, unstable_words=0, confidence=None,
            privacy_errors=0, postprocess_ms=0.0, cascade="none", cascade_edits=None, cascade_words=None,
            confidence_before=None, first_answer=None, spent_ms=0.0, spent_usd=0.0,
            made=Made(characters=self.made.characters), leftovers=Leftovers(),
        )  # fmt: skip

    @property
    def ends(self) -> float:
        """When its time is over, on the monotonic clock."""
        return self.began + self.deadline_s


@dataclass(frozen=True)
class Final:
    """An answer that may leave: redacted text and words ([word, start_s, end_s, confidence])."""

    text: str
    words: list[list[Any]]
    confidence: float | None

    def later(self, begins_s: float) -> Final:
        """The same, of an utterance that begins at `begins_s` of the stream's audio."""
        words = [[word, start + begins_s, end + begins_s, sure] for word, start, end, sure in self.words]
        return replace(self, words=words) if begins_s else self

    def words_json(self) -> list[dict[str, Any]]:
        """The words in the form of the contract's `Word`."""
        return [{"word": word, "start": start, "end": end, "confidence": sure} for word, start, end, sure in self.words]


def heard_as(acoustics: Acoustics) -> dict[str, Any]:
    """The telemetry columns of what was measured: segments are counted, their times stay here."""
    segments = acoustics.segments
    return {**acoustics._asdict(), "segments": None if segments is None else len(segments)}


def retry_after_s(failure: ServingFailure) -> int | None:
    """After how many seconds asking again is of use; None where it changes nothing."""
    if STATUS[failure.code] not in (429, 503):
        return None
    wait_s = RETRY_AFTER_S if failure.retry_after_s is None else failure.retry_after_s
    return max(math.ceil(wait_s), 1)


def error_body(failure: ServingFailure) -> bytes:
    """The JSON body of a refusal, in the form the OpenAI client reads."""
    kind = "server_error" if STATUS[failure.code] >= 500 else "invalid_request_error"
    error = ApiError(
        code=failure.code, message=failure.message, type=kind, param=failure.param, retry_after_s=retry_after_s(failure)
    )
    return json.dumps({"error": error.model_dump()}).encode()


async def _settle(call: Call) -> None:
    with call.worker.hold():
        await call.leftovers.settle(SETTLE_S + call.audio_s)


def _is_finite(row: Mapping[str, Any]) -> bool:
    return all(math.isfinite(value) for value in row.values() if isinstance(value, float))


class Desk:
    """Admits calls and records them."""

    def __init__(
        self,
        *,
        families: Mapping[str, Family],
        keys: Keys,
        pseudonyms: Pseudonyms,
        recorder: Recorder,
        metrics: Metrics,
        windows: Windows,
        deadline_s: float,
        tracer: Tracer | None = None,
        limiter: Limiter | None = None,
        no_partials_at: float | None = None,
        planting: Planting | None = None,
    ) -> None:
        self.planting = planting
        self.families = families
        self.keys = keys
        self.recorder = recorder
        self.metrics = metrics
        self.windows = windows
        self.tracer = tracer
        self.deadline_s = deadline_s
        self.no_partials_at = no_partials_at
        self._limiter = limiter or Limiter(None)
        self._pseudonyms = pseudonyms
        self._settling: set[asyncio.Task[None]] = set()
        self._labels = LabelBook()

    def enter(self, authorization: str) -> Caller:
        """Who asks, let in at the rate of their key; ServingFailure `unauthorized` or `rate_limited`."""
        caller = self.keys.caller(authorization)
        self._limiter.enter(caller.name)
        return caller

    def family(self, name: str, task: Task) -> Family:
        """The family a request names, which does this task; ServingFailure `unknown_model` or `wrong_task`."""
        family = self.families.get(name)
        if family is None:
            known = ", ".join(sorted(self.families)) or "none"
            raise ServingFailure(
                "unknown_model", f"there is no such model; this gateway serves: {known}", param="model"
            )
        if family.task not in (None, task):
            raise ServingFailure(
                "wrong_task",
                f"{name!r} does {family.task}, not {task}: ask it at {ROUTES[family.task or task]}",
                param="model",
            )
        return family

    def admit(
        self,
        family: Family,
        caller: Caller,
        *,
        mode: str,
        trace: Trace,
        sent_session: str,
        sent_labels: Mapping[str, str],
        client: str,
        terms: Terms,
    ) -> Call:
        """Label and route a request of a known caller; ServingFailure `no_stable` or `withdrawn`."""
        admitted = time.monotonic()
        labels = self._labels.labels(sent_labels, caller)
        session_id = session(sent_session, caller, client)
        table, chosen, worker = family.choose(labels, session_id)
        worker = self.met(worker, labels, trace.request_id)
        call = Call(trace, mode, family, table, chosen, worker, labels, session_id, admitted=admitted)
        call.priority, call.deadline_s = terms
        if mode == "stream" or chosen.degraded == "smaller":
            call.degraded = chosen.degraded
        return call

    def met(self, worker: Worker, labels: Mapping[str, str], request_id: str) -> Worker:
        """The worker as a request meets it: itself, but for faults that a drill has planted."""
        return self.planting.strike(worker, labels, request_id) if self.planting else worker

    def finish(self, call: Call, bundle: Loaded, answer: Answer) -> Final:
        """Redact an answer and count what should not have been left in it."""
        text = self.redacted(call, bundle, answer.text)
        began = time.perf_counter()
        words = redact_words(answer.words, bundle.filters)
        call.postprocess_ms += (time.perf_counter() - began) * 1000
        call.confidence = answer.confidence
        if answer.route != "none" and call.cascade == "none":  # one of two bundles is told by the route table
            call.cascade = answer.route
        call.work(answer)
        return Final(text, words, answer.confidence)

    def redacted(self, call: Call, bundle: Loaded, text: str) -> str:
        """A text as it may leave; what stable's rules would have taken out counts as privacy errors."""
        began = time.perf_counter()
        left = redact(text, bundle.filters)
        filters, stable = bundle.filters, call.table.stable
        if stable is not None and stable != call.bundle:
            reference = call.family.pool.bundle(stable)  # a call may outlive the table that chose its bundle
            filters = reference.filters if reference is not None else filters
        call.privacy_errors += leaks(left, filters)
        call.postprocess_ms += (time.perf_counter() - began) * 1000
        return left

    def record(
        self,
        call: Call,
        *,
        status: int,
        error_code: str = "",
        arm: Arm | str | None = None,
        bundle: Digest | None = None,
        **more: object,
    ) -> None:
        """Hand a call's telemetry row to recorder and metrics; while a worker still works for it, once that is over."""
        more |= {"timestamp": time.time(), "status": status, "error_code": error_code}
        more |= {"arm": arm or call.route.arm, "bundle": bundle or call.bundle}
        if call.leftovers.settled:
            self._write(call, more)
            return

        def settled(task: asyncio.Task[None]) -> None:
            self._settling.discard(task)
            self._write(call, more)

        settling = asyncio.create_task(_settle(call))
        self._settling.add(settling)
        settling.add_done_callback(settled)

    async def close(self) -> None:
        """Record what still waits for a worker, as far as it is known."""
        for settling in list(self._settling):
            settling.cancel()
        await asyncio.gather(*self._settling, return_exceptions=True)

    def _write(self, call: Call, more: Mapping[str, object]) -> None:
        call.take_leftovers()
        loaded = call.worker.bundle
        price = loaded.cost_usd_per_s if loaded else 0.0
        row: dict[str, Any] = {
            "request_id": call.request_id,
            "session_id": self._pseudonyms.of(call.session_id),
            "family": call.family.name,
            "route_version": call.table.version,
            "mode": call.mode,
            "task": call.worker.task,
            **call.labels,
            "priority": call.priority,
            "degraded": call.degraded,
            "audio_s": call.audio_s,
            "sent_rate_hz": call.sent_rate_hz,
            **(heard_as(call.acoustics) if call.acoustics else {}),
            "preprocess_ms": call.preprocess_ms,
            "postprocess_ms": call.postprocess_ms,
            "latency_ms": call.latency_ms,
            "first_partial_ms": call.first_partial_ms,
            "queue_ms": call.queue_ms,
            "infer_ms": call.infer_ms,
            "batch": call.batch,
            "worker_died": call.worker_died,
            "retries": call.retries,
            "partial_words": call.partial_words,
            "unstable_words": call.unstable_words,
            "confidence": call.confidence,
            "cost_usd": (call.infer_ms - call.spent_ms) / 1000 * price + call.spent_usd,
            "privacy_errors": call.privacy_errors,
            "cascade": call.cascade,
            "cascade_edits": call.cascade_edits,
            "cascade_words": call.cascade_words,
            "confidence_before": call.confidence_before,
            **asdict(call.made),
            **more,
        }
        if _is_finite(row):
            # NaN would stay in a counter for ever; the recorder refuses such a row, and what it refuses is counted.
            self.metrics.request(row)
            self.windows.record(row)
            if self.tracer is not None:
                self.tracer.record(row, call.trace, Timing(call.trace.arrived, call.admitted, call.began))
        self.recorder.record(row)

    def event(self, event: ClientEvent) -> None:
        """Record what a client told about a request."""
        family = self.recorder.event(event, time.time())
        self.windows.event(event.request_id, event.kind)
        self.metrics.event(family, event.kind)

    def record_failure(self, call: Call, failure: ServingFailure) -> None:
        """Record a call that was refused or failed after it was routed."""
        call.worker_died += failure.worker_died
        call.retries += failure.retries
        call.sent_rate_hz = call.sent_rate_hz or failure.sent_rate_hz
        self.record(call, status=STATUS[failure.code], error_code=failure.code)
