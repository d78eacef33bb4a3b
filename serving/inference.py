"""The one inference thread of a worker, its queues and the decoder state of every open stream.

Boundary: audio and connections in, frames out; no files. What is heard next is serving/queues.py's business.
Invariants: the model is used by one thread; a full queue says `overloaded` at once; expired and abandoned work is never
inferred; a stream's chunks are heard in the order they came; one request that an engine fails on fails alone; no answer
of an engine that is not wanted any more is sent, but what it took is, once it is over; of a text that is being said, no
more is made than its listener takes.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

import numpy as np

from contracts.errors import Refused
from serving.frames import Frame, Header, encode
from serving.leaving import Leaving
from serving.prompts import Prompts
from serving.queues import SLICE_S, WHOLE, Job, Key, Limits, Queues
from serving.results import ANSWERS, AnswerClip, reply_header, transcript_header
from speech.runtimes import BatchRuntime, OutputsNotFinite, Partial, Runtime, Samples, Stream
from speech.runtimes.kinds import Assistant, Model, Turn, Voice, task_of

log = logging.getLogger(__name__)

STREAM_RETRY_S = 1.0
"""When a refused stream may try again: how long others talk is not known."""

_REMEMBER = 0.9
"""Weight of the past in the running mean of an utterance's time."""


class Connection:
    """The sending side of one gateway's connection; safe to use from any thread."""

    def __init__(self, raw: socket.socket) -> None:
        self._raw = raw
        self._lock = threading.Lock()
        self.gone = False

    def send(self, header: Header, samples: Samples | None = None) -> None:
        """Send a frame; a peer that has gone is remembered, not raised."""
        body = b"" if samples is None else np.ascontiguousarray(samples, dtype="<f4").tobytes()
        with self._lock:
            try:
                self._raw.sendall(encode(header, len(body)) + body)
            except OSError:
                self.gone = True


def _samples(frame: Frame) -> Samples:
    return np.frombuffer(frame.body, dtype="<f4")


class Inference:
    """Bounded queues in front of one model."""

    def __init__(self, model: Model, limits: Limits, prompts: Prompts | None = None) -> None:
        self._model: Any = model
        self._several = model if isinstance(model, BatchRuntime) else None
        self._prompts = prompts or {}
        self._voice_rate_hz: int = getattr(model, "voice_rate_hz", model.sample_rate_hz)
        self._queues = Queues(limits)
        self._streams: dict[Key, Stream | Turn] = {}
        self._leaving = Leaving()
        self._changed = threading.Condition()
        self._utterance_s = 0.0
        self._served = 0
        self._dropped = 0
        self._refused = 0
        self._calls = 0
        self._heard = 0

    def start(self) -> None:
        """Start the inference thread."""
        threading.Thread(target=self._run, name="inference", daemon=True).start()

    # ---- in: any thread -----------------------------------------------------------------------------------------
    def submit(self, connection: Connection, frame: Frame) -> None:
        """Queue a frame's work, or answer `overloaded` at once, with when to try again."""
        header = frame.header
        key = (id(connection), int(header["id"]))
        if header["op"] in ("cancel", "taken"):
            self._told(header["op"], key, connection)
            return
        if header["op"] == "speak" and (kept := self._prompts.get(header["text"])) is not None:
            self._recite(connection, key[1], kept)
            return
        now = time.monotonic()
        samples = _samples(frame)
        job = Job(
            operation=header["op"],
            key=key,
            peer=connection,
            samples=samples,
            priority=header.get("priority", "interactive"),
            arrived=now,
            expires=now + header["deadline_ms"] / 1000 if "deadline_ms" in header else float("inf"),
            audio_s=samples.size / self._model.sample_rate_hz,
            text=header.get("text", ""),
        )
        with self._changed:
            admitted = self._queues.admit(job)
            self._refused += not admitted
            retry_s = self._utterance_s * self._queues.before(job.priority)
            self._changed.notify_all()
        if not admitted:
            retry_s = STREAM_RETRY_S if job.operation == "open" else retry_s
            connection.send({"op": "error", "id": key[1], "code": "overloaded", "retry_after_s": retry_s})

    def _told(self, said: str, key: Key, connection: Connection) -> None:
        """A client wants no more of a request, or took a chunk of its speech."""
        with self._changed:
            if said == "taken":
                self._queues.taken(key)
            else:
                self._leaving.begin(key, connection)
                dropped = self._queues.cancel(key)
                self._dropped += len(dropped)
                self._leaving.add(dropped, time.monotonic())
            self._changed.notify_all()
        self._part()

    def _part(self) -> None:
        """Tell each client that wanted no more what was done for it, once nothing of that is under way."""
        with self._changed:
            farewells = self._leaving.over(self._queues.unfinished()) if self._leaving else ()
        for peer, header in farewells:
            peer.send(header)

    def _recite(self, connection: Connection, number: int, kept: tuple[Samples, ...]) -> None:
        """A prompt whose audio is kept needs no model: it waits for nobody."""
        work = {"id": number, "queue_ms": 0.0, "infer_ms": 0.0, "batch": 1, "load": self._load}
        for chunk in kept:
            connection.send({"op": "audio", **work}, chunk)
        connection.send({"op": "spoken", "cached": 1, **work})
        with self._changed:
            self._served += 1

    def forget(self, connection: Connection) -> None:
        """Cancel everything of a connection that has gone."""
        connection.gone = True
        with self._changed:
            for key in self._queues.unfinished():
                if key[0] == id(connection):
                    self._dropped += len(self._queues.cancel(key))
            self._leaving.forget(connection)
            self._changed.notify_all()

    def statistics(self) -> dict[str, Any]:
        """Where the queues stand.

        Utterances waiting of each class, streams open, load in [0, 1], the mean ms of an utterance; since the start:
        jobs served, dropped unheard and refused, model calls and the jobs heard in them.
        """
        with self._changed:
            return {
                "waiting": self._queues.waiting("interactive"),
                "batch_waiting": self._queues.waiting("batch"),
                "streams": self._queues.streams,
                "load": self._queues.load,
                "utterance_ms": self._utterance_s * 1000,
                "served": self._served,
                "dropped": self._dropped,
                "refused": self._refused,
                "calls": self._calls,
                "heard": self._heard,
            }

    @property
    def _load(self) -> float:
        """How full the interactive queue is; counted while nobody changes it."""
        with self._changed:
            return self._queues.load

    def drain(self, timeout_s: float) -> None:
        """Wait until nothing is queued, running or open, for at most `timeout_s` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._queues.idle, timeout_s)

    # ---- the inference thread -----------------------------------------------------------------------------------
    def _run(self) -> None:
        while True:
            jobs = self._next()
            self._do(jobs)
            with self._changed:
                self._queues.done()
                self._leaving.add(jobs, time.monotonic())
                if self._queues.idle:
                    self._changed.notify_all()
            self._part()

    def _next(self) -> list[Job]:
        with self._changed:
            while True:
                now = time.monotonic()
                jobs, wait_s = self._queues.take(now, together=self._several is not None, expected_s=self._utterance_s)
                if jobs:
                    return jobs
                self._changed.wait(wait_s)

    def _do(self, jobs: list[Job]) -> None:
        wanted = [job for job in jobs if self._is_wanted(job)]
        if not wanted:
            return
        began = time.monotonic()
        for job in wanted:
            job.began = began if job.began is None else job.began
        first = wanted[0]
        if first.operation == "transcribe":
            self._transcribe(wanted)
        elif first.operation == "chunk":
            self._hear(wanted)
        elif first.operation == "speak":
            self._speak(first)
        elif first.operation in ANSWERS:
            self._answer(first, ANSWERS[first.operation])
        else:
            self._step(first)

    def _is_wanted(self, job: Job) -> bool:
        """Whether a job is still to be done; one that is late is told so."""
        if job.operation == "close":
            self._close(job.key)
            return False
        lost = job.operation in ("chunk", "skip", "restart", "end") and job.key not in self._streams
        late = time.monotonic() > job.expires
        if not (lost or late or job.cancelled or job.peer.gone):
            return True
        with self._changed:
            self._dropped += 1
        if late and not (lost or job.cancelled):
            self._fail(job, "deadline")
        elif job.cancelled:
            self._close(job.key)
        return False

    def _transcribe(self, jobs: list[Job]) -> None:
        """Whole utterances, in one call where the engine can, or the next slice of a long one."""
        several = self._several
        if several is not None and jobs[0].long:
            self._slice(jobs[0], several)
            return
        try:
            with self._counted(jobs):
                if several is not None and len(jobs) > 1:
                    transcripts = several.transcribe_many([job.samples for job in jobs])
                else:
                    transcripts = [self._model.transcribe(jobs[0].samples)]
        except Exception as error:
            self._alone(jobs, error, self._transcribe)
            return
        for job, transcript in zip(jobs, transcripts, strict=True):
            self._finish(job, transcript_header(transcript), batch=len(jobs))

    def _answer(self, job: Job, answer: AnswerClip) -> None:
        """A whole clip to a vector or a class."""
        try:
            with self._counted([job]):
                found = answer(self._model, job.samples)
        except Exception as error:
            self._failed(job, error)
            return
        self._finish(job, found, batch=1)

    def _speak(self, job: Job) -> None:
        """The next chunk of a text that is being said; the rest waits until its listener needs it."""
        try:
            with self._counted([job]):
                job.speech = job.speech or cast(Voice, self._model).speak(job.text)
                chunk = next(job.speech, None)
        except Exception as error:
            self._failed(job, error)
            return
        if chunk is None:
            self._close(job.key)
            self._finish(job, {"op": "spoken", "cached": 0}, batch=1)
            return
        job.dry_at = max(job.dry_at, time.monotonic()) + chunk.size / self._voice_rate_hz
        job.expires = float("inf")
        with self._changed:
            job.untaken += 1
        self._send(job, {"op": "audio"}, batch=1, samples=chunk)
        with self._changed:
            if not job.cancelled:
                self._queues.put_back(job)

    def _alone(self, jobs: list[Job], error: Exception, hear: Callable[[list[Job]], None]) -> None:
        """A call that failed: of several, one did it, and the others are answered; none has changed by it."""
        if len(jobs) == 1:
            self._failed(jobs[0], error)
            return
        for job in jobs:
            hear([job])

    def _slice(self, job: Job, several: BatchRuntime) -> None:
        """Hear the next seconds of a long utterance; the rest waits behind whatever goes before it."""
        step = int(SLICE_S * self._model.sample_rate_hz)
        try:
            with self._counted([job]):
                job.stream = job.stream or several.stream()
                job.stream.accept(job.samples[job.position : job.position + step])
                job.position += step
                final = job.stream.finish() if job.position >= job.samples.size else None
        except Exception as error:
            self._failed(job, error)
            return
        if final is not None:
            self._finish(job, transcript_header(final), batch=1)
            return
        with self._changed:
            if not job.cancelled:
                self._queues.put_back(job)

    def _hear(self, jobs: list[Job]) -> None:
        """The next chunk of one stream or of several."""
        streams = [self._streams[job.key] for job in jobs]
        partials: Sequence[Partial | None]
        try:
            with self._counted(jobs):
                if self._several is not None and len(jobs) > 1:
                    partials = self._several.accept_many(cast(list[Stream], streams), [job.samples for job in jobs])
                else:
                    partials = [streams[0].accept(jobs[0].samples)]
        except Exception as error:
            self._alone(jobs, error, self._hear)
            return
        for job, partial in zip(jobs, partials, strict=True):
            said = {} if partial is None else {"text": partial.text, "committed": partial.committed}
            self._send(job, {"op": "heard", **said}, batch=len(jobs))

    def _step(self, job: Job) -> None:
        """The opening, the restart or the end of a stream, or a chunk that is not to be heard."""
        try:
            if job.operation in ("open", "restart"):
                self._streams[job.key] = self._opened(job)
            elif job.operation == "end":
                self._end(job, self._streams[job.key])
        except Exception as error:
            self._failed(job, error)
            return
        if job.operation == "skip":
            self._send(job, {"op": "heard"}, batch=1)
        elif job.operation == "restart":
            job.peer.send({"op": "restarted", "id": job.key[1]})

    def _opened(self, job: Job) -> Stream | Turn:
        if task_of(self._model) == "dialogue":
            return cast(Assistant, self._model).turn(job.text)
        return cast(Runtime, self._model).stream()

    def _end(self, job: Job, stream: Stream | Turn) -> None:
        """The final of a stream; in a dialogue the reply, which is then said like any other text."""
        if task_of(self._model) == "dialogue":
            turn = cast(Turn, stream)
            with self._counted([job]):
                reply = turn.reply()
            self._send(job, {"op": "replied", "reply": reply_header(reply)}, batch=1)
            self._say(job, turn)
            return
        with self._counted([job]):
            final = cast(Stream, stream).finish()
        # Closed before its peer hears the final, so that whoever asks next finds the place free.
        self._close(job.key)
        self._finish(job, transcript_header(final), batch=1)

    def _say(self, ended: Job, turn: Turn) -> None:
        said = replace(
            ended, operation="speak", speech=turn.speak(), arrived=time.monotonic(), began=None, infer_s=0.0, told_s=0.0
        )
        with self._changed:
            if not ended.cancelled:
                self._queues.put_back(said)

    # ---- out ----------------------------------------------------------------------------------------------------
    @contextmanager
    def _counted(self, jobs: list[Job]) -> Iterator[None]:
        """A model call, whatever comes of it: each of its jobs has its share of the time."""
        began = time.monotonic()
        try:
            yield
        finally:
            share_s = (time.monotonic() - began) / len(jobs)
            for job in jobs:
                job.infer_s += share_s
            self._calls += 1
            self._heard += len(jobs)

    def _finish(self, job: Job, answer: Header, *, batch: int) -> None:
        if job.operation in WHOLE:
            past = self._utterance_s or job.infer_s
            self._utterance_s = _REMEMBER * past + (1 - _REMEMBER) * job.infer_s
        self._send(job, {"op": "result", **answer}, batch=batch)

    def _send(self, job: Job, header: Header, *, batch: int, samples: Samples | None = None) -> None:
        self._served += header["op"] != "audio"
        if job.cancelled:
            return
        job.peer.send(header | {"id": job.key[1], **self._work(job, batch=batch), "load": self._load}, samples)

    @staticmethod
    def _work(job: Job, *, batch: int = 1) -> Header:
        """What a job took that nobody has been told."""
        waited_s, infer_s = job.tell(time.monotonic())
        return {"queue_ms": waited_s * 1000, "infer_ms": infer_s * 1000, "batch": batch}

    def _failed(self, job: Job, error: Exception) -> None:
        if isinstance(error, Refused) and not isinstance(error, OutputsNotFinite):
            self._fail(job, "unusable_input")
            return
        # The message of an engine's error may quote what was said: only its kind is logged.
        log.error("inference failed: %s in %s", type(error).__name__, job.operation)
        self._fail(job, "internal")

    def _fail(self, job: Job, code: str) -> None:
        self._close(job.key)
        if not job.cancelled:
            job.peer.send({"op": "error", "id": job.key[1], "code": code, **self._work(job)})

    def _close(self, key: Key) -> None:
        self._streams.pop(key, None)
        with self._changed:
            self._queues.closed(key)
