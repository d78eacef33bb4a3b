"""What waits for a worker's model, and what is heard next.

Boundary: pure: no thread, no clock, no socket; times are given (seconds on one monotonic clock). serving/inference.py
does the work.
Invariants: each class of requests has a bounded queue of its own, in requests and in seconds of audio; interactive work
goes before batch work at every step, steps of streams before utterances; the steps of one stream are done in the order
they came; what is cancelled leaves its queue at once; a step holds at most `max_batch` jobs, all of one kind.

Speech is made chunk by chunk, and whose listener runs dry first is served first (earliest deadline first: Liu and
Layland, Journal of the ACM, 1973): a new text before the next sentence of one that is still being played. Who has
WINDOW chunks that nobody took is parked, so that a slow reader holds no more than these.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, Protocol

from serving.frames import Header, Priority
from speech.runtimes import Samples, Stream

Operation = Literal[
    "transcribe", "embed", "classify", "speak", "open", "chunk", "skip", "restart", "end", "close"
]  # fmt: skip
"""What a job does; a `skip` is a chunk that a barge-in dropped: it is answered, not heard."""

WHOLE: frozenset[Operation] = frozenset({"transcribe", "embed", "classify", "speak"})
"""Jobs that are no step of a stream: they wait among the utterances."""

Key = tuple[int, int]
"""A connection, and the number of a request or stream on it."""

CLASSES: tuple[Priority, ...] = ("interactive", "batch")
MAX_WAITING_S = 1200.0
"""Seconds of audio that may wait in one class; at 16 kHz they take 77 MB."""

WINDOW = 4
"""Chunks of speech that may be on their way to a listener."""

SLICE_S = 5.0
"""An engine whose streams say what `transcribe` says hears longer utterances in pieces of so many seconds."""


class Limits(NamedTuple):
    """Bounds of a worker's queues.

    `interactive` and `batch` utterances may wait and `streams` be open; up to `max_batch` jobs are heard at once, the
    first of them waits at most `batch_wait_s` for others.
    """

    interactive: int = 16
    batch: int = 64
    streams: int = 64
    max_batch: int = 8
    batch_wait_s: float = 0.0


class Peer(Protocol):
    """Whom an answer goes to: one gateway's connection."""

    gone: bool

    def send(self, header: Header, samples: Samples | None = None) -> None:
        """Send a frame; never raises."""
        ...


@dataclass(slots=True, eq=False)
class Job:
    """One step of work: a whole utterance, a text to say, or the opening, a chunk, the end, ... of a stream.

    Attributes:
        audio_s: seconds of audio.
        arrived, expires: when it came, when nobody wants its answer any more.
        stream, position, began, infer_s: of an utterance that is heard in slices: its state, samples heard, when the
            first of them was, seconds of compute.
        text: what is to be said; of the opening of a dialogue, whose user speaks.
        speech, dry_at, untaken, told_s: of what is being said: the rest of it, when a listener who plays it runs dry,
            chunks that nobody took yet, seconds of compute that were told.
    """

    operation: Operation
    key: Key
    peer: Peer
    samples: Samples
    priority: Priority
    arrived: float
    expires: float = float("inf")
    audio_s: float = 0.0
    cancelled: bool = False
    stream: Stream | None = None
    position: int = 0
    began: float | None = None
    infer_s: float = 0.0
    text: str = ""
    speech: Iterator[Samples] | None = None
    dry_at: float = 0.0
    untaken: int = 0
    told_s: float = 0.0

    @property
    def due(self) -> float:
        """Which of those that wait goes first: the least."""
        return max(self.dry_at, self.arrived)

    def tell(self, now: float) -> tuple[float, float]:
        """Seconds that it waited and was worked on, as far as nobody has been told; from here on somebody has."""
        waited_s = 0.0 if self.told_s else (self.began or now) - self.arrived
        infer_s, self.told_s = self.infer_s - self.told_s, self.infer_s
        return waited_s, infer_s

    @property
    def long(self) -> bool:
        """Whether the utterance is longer than a slice."""
        return self.audio_s > SLICE_S


class _Lane:
    """The waiting work of one class."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.steps: deque[Job] = deque()
        self.utterances: deque[Job] = deque()
        self.waiting_s = 0.0

    @property
    def waiting(self) -> int:
        """Utterances that wait; of what is being said, none."""
        return sum(job.speech is None for job in self.utterances)

    def fits(self, job: Job) -> bool:
        """Whether another utterance may wait; a single one may be of any length."""
        if not self.utterances:
            return True
        return self.waiting < self.limit and self.waiting_s + job.audio_s <= MAX_WAITING_S

    def add(self, job: Job, *, last: bool) -> None:
        """Put an utterance among those that wait; of equal ones, `last` or first."""
        place = (bisect_right if last else bisect_left)(self.utterances, job.due, key=lambda other: other.due)
        self.utterances.insert(place, job)

    def taken(self, jobs: list[Job]) -> None:
        """Utterances that have left the queue."""
        self.waiting_s = self.waiting_s - sum(job.audio_s for job in jobs) if self.utterances else 0.0


class Queues:
    """The lanes of both classes and the streams that are open."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._lanes = {"interactive": _Lane(limits.interactive), "batch": _Lane(limits.batch)}
        self._open: dict[Key, Job] = {}
        self._speaking: dict[Key, Job] = {}
        self._running: list[Job] = []

    # ---- in -----------------------------------------------------------------------------------------------------
    def admit(self, job: Job) -> bool:
        """Take a job; False where its queue is full. A step of a stream that is not open is dropped: its peer knows."""
        if job.operation in WHOLE:
            lane = self._lanes[job.priority]
            if not lane.fits(job) or (job.operation == "speak" and len(self._speaking) >= self.limits.streams):
                return False
            lane.add(job, last=True)
            lane.waiting_s += job.audio_s
            return True
        if job.operation == "open":
            if len(self._open) >= self.limits.streams:
                return False
            self._open[job.key] = job
        elif job.key not in self._open:
            return True
        job.priority = self._open[job.key].priority
        lane = self._lanes[job.priority]
        if job.operation == "restart":
            for step in lane.steps:
                if step.key == job.key and step.operation == "chunk":
                    step.operation = "skip"
        lane.steps.append(job)
        return True

    def put_back(self, job: Job) -> None:
        """An utterance that was heard in part goes on before those that wait; speech, when it is due."""
        if job.operation == "speak":
            self._speaking[job.key] = job
            if job.untaken >= WINDOW:
                return
        self._lanes[job.priority].add(job, last=False)

    def taken(self, key: Key) -> None:
        """A listener took a chunk; speech that was parked goes on."""
        job = self._speaking.get(key)
        if job is None:
            return
        job.untaken -= 1
        if job.untaken == WINDOW - 1 and job not in self._running:
            self._lanes[job.priority].add(job, last=False)

    def cancel(self, key: Key) -> list[Job]:
        """Nobody wants this request or stream any more; the jobs that are dropped unheard, or heard in part.

        What is being heard now is marked; an open stream is closed by the next step.
        """
        dropped: list[Job] = []
        for lane in self._lanes.values():
            gone = [job for job in (*lane.steps, *lane.utterances) if job.key == key]
            for job in gone:
                job.cancelled = True
                (lane.utterances if job.operation in WHOLE else lane.steps).remove(job)
            lane.taken([job for job in gone if job.operation in WHOLE and not job.position])
            dropped += gone
        for job in self._running:
            job.cancelled |= job.key == key
        if (parked := self._speaking.pop(key, None)) is not None:
            parked.cancelled = True
        if (opened := self._open.get(key)) is not None:
            closing = replace(opened, operation="close", cancelled=False)
            self._lanes[opened.priority].steps.appendleft(closing)
        return dropped

    def closed(self, key: Key) -> None:
        """A stream or speech is over: its place is free, steps that still wait are dropped."""
        self._speaking.pop(key, None)
        opened = self._open.pop(key, None)
        if opened is not None:
            lane = self._lanes[opened.priority]
            lane.steps = deque(job for job in lane.steps if job.key != key)

    # ---- out ----------------------------------------------------------------------------------------------------
    def take(self, now: float, *, together: bool, expected_s: float = 0.0) -> tuple[list[Job], float | None]:
        """What to do next, and without any, the seconds to wait for more (None: until something comes).

        Args:
            now: the time.
            together: whether the engine hears several at once.
            expected_s: how long hearing an utterance takes; one that would miss its deadline is not kept waiting.
        """
        self._running = []
        for name in CLASSES:
            lane = self._lanes[name]
            if lane.steps:
                self._running = self._steps(lane, together=together)
                break
            if lane.utterances:
                wait_s = self._wait_s(lane, now, expected_s) if together else 0.0
                if wait_s > 0:
                    return [], wait_s
                self._running = self._utterances(lane, together=together)
                break
        return self._running, None

    def done(self) -> None:
        """What was taken is done."""
        self._running = []

    def _steps(self, lane: _Lane, *, together: bool) -> list[Job]:
        """The first step, and the chunks of other streams that wait: each the next step of its stream."""
        first = lane.steps.popleft()
        if first.operation != "chunk" or not together:
            return [first]
        taken, seen = [first], {first.key}
        for job in list(lane.steps):
            if len(taken) >= self.limits.max_batch:
                break
            if job.operation == "chunk" and job.key not in seen:
                taken.append(job)
                lane.steps.remove(job)
            seen.add(job.key)
        return taken

    def _utterances(self, lane: _Lane, *, together: bool) -> list[Job]:
        """The first utterance, and those after it that fit into one call: a long one is heard alone, slice by slice."""
        taken = [lane.utterances.popleft()]
        most = self.limits.max_batch if together and not taken[0].long else 1
        while lane.utterances and len(taken) < most and not lane.utterances[0].long:
            taken.append(lane.utterances.popleft())
        lane.taken([job for job in taken if not job.position])
        self._speaking |= {job.key: job for job in taken if job.operation == "speak"}
        return taken

    def _wait_s(self, lane: _Lane, now: float, expected_s: float) -> float:
        """Seconds that the first utterance may still wait for others."""
        if len(lane.utterances) >= self.limits.max_batch:
            return 0.0
        latest = min(job.expires - expected_s for job in lane.utterances)
        return min(lane.utterances[0].arrived + self.limits.batch_wait_s, latest) - now

    # ---- state --------------------------------------------------------------------------------------------------
    def waiting(self, priority: Priority) -> int:
        """Utterances of a class that wait."""
        return self._lanes[priority].waiting

    def before(self, priority: Priority) -> int:
        """Utterances that are heard before a new one of this class."""
        return sum(self.waiting(name) for name in CLASSES[: CLASSES.index(priority) + 1])

    @property
    def streams(self) -> int:
        """Streams that are open, and texts that are being said."""
        return len(self._open.keys() | self._speaking.keys())

    @property
    def load(self) -> float:
        """How full the interactive queue is, in [0, 1]: of utterances, or a step waiting for each stream allowed."""
        lane = self._lanes["interactive"]
        return min(1.0, max(lane.waiting / lane.limit, len(lane.steps) / self.limits.streams))

    @property
    def idle(self) -> bool:
        """Nothing waits, runs or is open."""
        lanes = any(lane.steps or lane.utterances for lane in self._lanes.values())
        return not (self._open or self._speaking or self._running or lanes)

    def unfinished(self) -> set[Key]:
        """Every request and stream that is not finished."""
        waiting = {job.key for lane in self._lanes.values() for job in (*lane.steps, *lane.utterances)}
        return waiting | set(self._open) | set(self._speaking) | {job.key for job in self._running}
