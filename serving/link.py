"""The gateway's end of the conversation with one worker: many requests and streams over one Unix socket.

Boundary: one asyncio loop; frames out, answers in.
Invariants: a caller that is cancelled tells the worker to drop its work, and what that had cost goes to the request's
leftovers (serving/leftovers.py), as does the work of a request that failed; a stream has at most WINDOW chunks that the
worker has not heard yet, so a fast client waits instead of filling memory; a worker makes no more speech than is taken
(serving/queues.py); when the socket closes everybody who waits is told `WorkerGone`.
"""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import numpy as np

from contracts.serving_api import ErrorCode
from serving.frames import Decoder, Frame, Header, Priority, encode
from serving.leftovers import REQUEST, Leftovers
from speech.runtimes import Samples

WINDOW = 8
"""Chunks of a stream that may be on their way to the model."""

Hearing = Literal["transcribe", "embed", "classify"]
"""What a model does with a whole recording."""


class WorkerGone(Exception):
    """The worker's socket closed before it answered; its text never quotes a request."""

    def __init__(self, why: str = "the worker is gone") -> None:
        super().__init__(why)


class ServingFailure(Exception):
    """A request that cannot be answered: an error code of the API and a message without private content.

    Attributes:
        retry_after_s: when to try again, as far as the queue's length tells; None where nothing is known.
        worker_died, retries: worker processes that died over the request, times that it was tried again.
        sent_rate_hz: the rate that was refused; 0 where another thing was.
    """

    def __init__(
        self, code: ErrorCode, message: str, *, param: str | None = None, retry_after_s: float | None = None
    ) -> None:
        self.code = code
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s
        self.worker_died = 0
        self.retries = 0
        self.sent_rate_hz = 0
        super().__init__(f"{code}: {message}")


MESSAGES: dict[str, str] = {
    "overloaded": "too many requests are waiting; try again shortly",
    "deadline": "the request was not answered within its deadline",
    "internal": "the model failed on this request",
    "unusable_input": "the model cannot do anything with this: it is too short, or says nothing",
}


class Answer(NamedTuple):
    """A final answer as the worker sent it: a transcript, or of an embedding and a classification label and vector.

    `words` are [word, start_s, end_s, confidence or None]; `vector` is an embedding or the score of each class;
    `route` is the part of a cascade bundle that gave it, "none" of other bundles; `infer_ms` is this request's share of
    the model calls that heard it, `batch` the most requests that one of them heard; `worker_died` and `retries` as in
    ServingFailure.
    """

    text: str
    words: list[list[Any]]
    confidence: float | None
    queue_ms: float
    infer_ms: float
    batch: int = 1
    worker_died: int = 0
    retries: int = 0
    label: str = ""
    vector: tuple[float, ...] = ()
    route: Literal["none", "small", "large"] = "none"


class Heard(NamedTuple):
    """A chunk was heard, or dropped by a barge-in; `text` is None where the hypothesis did not change."""

    text: str | None
    committed: int
    queue_ms: float
    infer_ms: float
    batch: int = 1


class Restarted(NamedTuple):
    """A barge-in was taken: what was heard before is forgotten; the chunks that follow begin a new utterance."""


class Replied(NamedTuple):
    """What an assistant answers (speech.runtimes.kinds.Reply); its speech follows. `heard` is what it understood."""

    heard: Answer
    text: str
    citations: tuple[str, ...]
    grounded: bool
    handoff: bool
    tokens: int
    index_age_s: float | None
    queue_ms: float
    infer_ms: float
    batch: int = 1


class Chunk(NamedTuple):
    """Some speech: (samples,) at the model's `voice_rate_hz`."""

    samples: Samples
    queue_ms: float
    infer_ms: float
    batch: int = 1


class Spoken(NamedTuple):
    """All was said; `cached` is 1 where the worker had kept it."""

    cached: int
    queue_ms: float
    infer_ms: float
    batch: int = 1


Said = Heard | Restarted | Answer | Replied | Chunk | Spoken


def _failure(header: Header) -> ServingFailure:
    code = header["code"]
    message = MESSAGES.get(code, MESSAGES["internal"])
    return ServingFailure(code, message, retry_after_s=header.get("retry_after_s"))


class _Abandoned(NamedTuple):
    """A request that nobody waits for: what its worker still tells of it is counted here."""

    leftovers: Leftovers
    told: asyncio.Future[None]


class Link(asyncio.Protocol):
    """One connection to a worker, whose work costs `usd_per_s` a second. Build it with `connect`."""

    def __init__(self) -> None:
        self.usd_per_s = 0.0
        loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[Header] = loop.create_future()
        self.closed: asyncio.Future[None] = loop.create_future()
        self._decoder = Decoder()
        self._transport: asyncio.Transport | None = None
        self._last = 0
        self._waiting: dict[int, asyncio.Future[Header]] = {}
        self._streams: dict[int, LinkStream] = {}
        self._abandoned: dict[int, _Abandoned] = {}
        self.has_answered = False
        """Whether the worker has done any work."""
        self.load = 0.0
        """How full the worker's interactive queue was when it last answered, in [0, 1]."""

    # ---- asyncio.Protocol ---------------------------------------------------------------------------------------
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Hand each frame to the request or stream that it names."""
        for frame in self._decoder.feed(data):
            header = frame.header
            if header["op"] == "ready":
                self.ready.set_result(header)
                continue
            number = header["id"]
            if "load" in header:
                self.load, self.has_answered = header["load"], True
            if (stream := self._streams.get(number)) is not None:
                stream.arrived(frame)
            elif (waiting := self._waiting.get(number)) is not None and not waiting.done():
                waiting.set_result(header)
            elif (abandoned := self._abandoned.get(number)) is not None:
                abandoned.leftovers.add(header, self.usd_per_s)
                if header["op"] == "dropped":
                    del self._abandoned[number]
                    abandoned.told.set_result(None)

    def connection_lost(self, _: Exception | None) -> None:
        """Tell everybody who waits."""
        for waiting in (*self._waiting.values(), self.ready):
            if not waiting.done():
                waiting.set_exception(WorkerGone())
        # Nobody may be waiting for `ready`; its exception is then of no interest.
        with contextlib.suppress(WorkerGone):
            self.ready.exception()
        for stream in self._streams.values():
            stream.gone()
        for abandoned in self._abandoned.values():
            abandoned.told.set_result(None)
        self._abandoned.clear()
        if not self.closed.done():
            self.closed.set_result(None)

    # ---- requests -----------------------------------------------------------------------------------------------
    @property
    def busy(self) -> int:
        """Requests and streams that are not finished."""
        return len(self._waiting) + len(self._streams)

    async def hear(
        self, operation: Hearing, samples: Samples, *, deadline_s: float, priority: Priority = "interactive"
    ) -> Answer:
        """The answer to one whole recording at the model's rate; raises ServingFailure or WorkerGone."""
        header = {"op": operation, "priority": priority, "deadline_ms": deadline_s * 1000}
        return _answer(await self._ask(header, samples, deadline_s))

    async def transcribe(self, samples: Samples, *, deadline_s: float, priority: Priority = "interactive") -> Answer:
        """The transcript of one utterance; raises what `hear` raises."""
        return await self.hear("transcribe", samples, deadline_s=deadline_s, priority=priority)

    async def statistics(self, *, timeout_s: float = 2.0) -> Header:
        """The worker's queue and memory figures."""
        return await self._ask({"op": "statistics"}, None, timeout_s)

    def stream(self, *, deadline_s: float, priority: Priority = "interactive", tenant: str = "") -> LinkStream:
        """Open a stream, or a turn of a tenant's user; close it (`async with`) to drop its decoder state."""
        return LinkStream(self, {"op": "open", "priority": priority, "text": tenant}, deadline_s)

    def speech(self, text: str, *, deadline_s: float, priority: Priority = "interactive") -> LinkStream:
        """Have a text said: `next` gives its Chunks, then Spoken; close it (`async with`) to have no more made."""
        header = {"op": "speak", "priority": priority, "text": text, "deadline_ms": deadline_s * 1000}
        return LinkStream(self, header, deadline_s)

    async def _ask(self, header: Header, samples: Samples | None, timeout_s: float) -> Header:
        number = self.next_number()
        waiting: asyncio.Future[Header] = asyncio.get_running_loop().create_future()
        self._waiting[number] = waiting
        try:
            self.send({**header, "id": number}, samples)
            async with asyncio.timeout(timeout_s):
                answer = await waiting
        except TimeoutError:
            self.abandon(number, *_came(waiting))
            raise _failure({"code": "deadline"}) from None
        except asyncio.CancelledError:
            self.abandon(number, *_came(waiting))
            raise
        finally:
            del self._waiting[number]
        if answer["op"] == "error":
            self.spend(answer)
            raise _failure(answer)
        return answer

    # ---- plumbing -----------------------------------------------------------------------------------------------
    def next_number(self) -> int:
        """A number no request of this connection has had."""
        self._last += 1
        return self._last

    def send(self, header: Header, samples: Samples | None = None) -> None:
        """Write a frame; raises WorkerGone when the socket has closed, unless nothing depends on it."""
        transport = self._transport
        if transport is None or transport.is_closing():
            if header["op"] in ("cancel", "taken"):
                return
            raise WorkerGone
        if samples is None:
            transport.write(encode(header))
        else:
            body = samples.data.cast("B") if samples.size else memoryview(b"")
            transport.writelines((encode(header, len(body)), body))

    def spend(self, work: Header) -> None:
        """Count work without an answer for the request under way."""
        if (leftovers := REQUEST.get()) is not None:
            leftovers.add(work, self.usd_per_s)

    def abandon(self, number: int, *unread: Header) -> None:
        """Have a request dropped that nobody waits for; `unread` frames of it had come, the rest is waited for."""
        for header in unread:
            self.spend(header)
        self.send({"op": "cancel", "id": number})
        if (leftovers := REQUEST.get()) is not None and not self.closed.done():
            self._abandoned[number] = _Abandoned(leftovers, leftovers.expect())

    def register(self, number: int, stream: LinkStream) -> None:
        """Route a stream's frames to it."""
        self._streams[number] = stream

    def unregister(self, number: int) -> None:
        """Forget a stream."""
        self._streams.pop(number, None)

    def close(self) -> None:
        """Close the socket."""
        if self._transport is not None:
            self._transport.close()


def _came(waiting: asyncio.Future[Header]) -> tuple[Header, ...]:
    """The answer, where it came in the moment in which nobody waited for it any more."""
    return (waiting.result(),) if waiting.done() and not waiting.cancelled() and not waiting.exception() else ()


def _answer(header: Header) -> Answer:
    return Answer(
        header.get("text", ""), header.get("words", []), header.get("confidence"), *_work(header),
        label=header.get("label", ""), vector=tuple(header.get("vector", ())), route=header.get("route", "none"),
    )  # fmt: skip


def _work(header: Header) -> tuple[float, float, int]:
    return header["queue_ms"], header["infer_ms"], header["batch"]


def _replied(header: Header) -> Replied:
    reply: Header = header["reply"]
    heard = _answer({**reply["heard"], "queue_ms": 0.0, "infer_ms": 0.0, "batch": 1})
    queue_ms, infer_ms, batch = _work(header)
    return Replied(
        heard, reply["text"], tuple(reply["citations"]), reply["grounded"], reply["handoff"], reply["tokens"],
        reply["index_age_s"], queue_ms, infer_ms, batch,
    )  # fmt: skip


class LinkStream:
    """One utterance, turn or text on its way to a worker, and what comes back. One task feeds it, one reads it."""

    def __init__(self, link: Link, opening: Header, deadline_s: float) -> None:
        self._link = link
        self._deadline_s = deadline_s
        self._number = link.next_number()
        self._opening: Header = {**opening, "id": self._number}
        self._window = asyncio.Semaphore(WINDOW)
        self._inbox: asyncio.Queue[Frame | None] = asyncio.Queue()
        self._first: Frame | None = None
        self._finished = False

    async def __aenter__(self) -> LinkStream:
        self._link.register(self._number, self)
        try:
            self._link.send(self._opening)
        except WorkerGone:
            self._link.unregister(self._number)
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self._link.unregister(self._number)
        if not self._finished:
            unread = (self._first, *(self._inbox.get_nowait() for _ in range(self._inbox.qsize())))
            self._link.abandon(self._number, *(frame.header for frame in unread if frame is not None))

    async def feed(self, samples: Samples) -> None:
        """Send the next chunk (at the model's rate), waiting while WINDOW chunks are unheard."""
        async with asyncio.timeout(self._deadline_s):
            await self._window.acquire()
        self._link.send({"op": "chunk", "id": self._number}, samples)

    def end(self) -> None:
        """No more audio comes."""
        self._link.send({"op": "end", "id": self._number, "deadline_ms": self._deadline_s * 1000})

    def restart(self) -> None:
        """The speaker began anew: forget what was heard and open a new utterance; `next` says Restarted in its place.

        Chunks that were sent before and are still waiting are answered unheard.
        """
        self._link.send({"op": "restart", "id": self._number, "text": self._opening.get("text", "")})

    async def peek(self) -> None:
        """Wait until the worker says something, which `next` gives; raises what `next` raises."""
        self._first = await self._frame()

    async def next(self) -> Said:
        """What the worker says next; raises ServingFailure or WorkerGone."""
        frame = self._first or await self._frame()
        self._first = None
        header = frame.header
        operation = header["op"]
        self._finished |= operation in ("result", "spoken")
        if operation == "result":
            return _answer(header)
        if operation == "restarted":
            return Restarted()
        if operation == "replied":
            return _replied(header)
        if operation == "audio":
            self._link.send({"op": "taken", "id": self._number})
            return Chunk(np.frombuffer(frame.body, dtype="<f4"), *_work(header))
        if operation == "spoken":
            return Spoken(header["cached"], *_work(header))
        # Only now: what a client has not read yet is as bounded as what the model has not heard (fault 57).
        self._window.release()
        return Heard(header.get("text"), header.get("committed", 0), *_work(header))

    async def _frame(self) -> Frame:
        frame = await self._inbox.get()
        if frame is None:
            raise WorkerGone
        if frame.header["op"] == "error":
            self._finished = True
            self._link.spend(frame.header)
            raise _failure(frame.header)
        return frame

    def arrived(self, frame: Frame) -> None:
        """A frame of this stream came."""
        self._inbox.put_nowait(frame)

    def gone(self) -> None:
        """The worker is gone: wake the reader and a feeder that waits."""
        self._window.release()
        self._inbox.put_nowait(None)


async def connect(path: Path) -> Link:
    """Connect to a worker's socket and wait for its `ready`."""
    loop = asyncio.get_running_loop()
    _, link = await loop.create_unix_connection(Link, str(path))
    await link.ready
    return link
