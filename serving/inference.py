"""The one inference thread of a worker, its bounded queue and the decoder state of every open stream.

Boundary: audio and connections in, frames out; no files.
Invariants: the model is used by one thread; the queue is bounded; expired and abandoned work is never inferred; a
stream's chunks are heard in the order they came.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np

from serving.frames import Frame, Header, encode
from speech.runtimes import Runtime, Samples, Stream, Transcript

log = logging.getLogger(__name__)

_SILENCE: Samples = np.zeros(0, dtype=np.float32)


class Connection:
    """The sending side of one gateway's connection; safe to use from any thread."""

    def __init__(self, raw: socket.socket) -> None:
        self._raw = raw
        self._lock = threading.Lock()
        self.gone = False

    def send(self, header: Header) -> None:
        """Send a frame without a body; a peer that has gone is remembered, not raised."""
        with self._lock:
            try:
                self._raw.sendall(encode(header))
            except OSError:
                self.gone = True


@dataclass(slots=True)
class Job:
    """One step of work: a whole utterance, or the opening, a chunk or the end of a stream."""

    operation: str
    key: tuple[int, int]
    connection: Connection
    samples: Samples
    arrived: float
    expires: float
    cancelled: bool = False


def _samples(frame: Frame) -> Samples:
    return np.frombuffer(frame.body, dtype="<f4")


def _answer(transcript: Transcript) -> dict[str, Any]:
    return {
        "text": transcript.text,
        "words": [[word.word, word.start_s, word.end_s, word.confidence] for word in transcript.words],
        "confidence": transcript.confidence,
    }


class Inference:
    """A bounded queue in front of one model."""

    def __init__(self, runtime: Runtime, *, queue_limit: int, stream_limit: int) -> None:
        self._runtime = runtime
        self._queue_limit = queue_limit
        self._stream_limit = stream_limit
        self._jobs: deque[Job] = deque()
        self._waiting = 0
        self._open: set[tuple[int, int]] = set()
        self._streams: dict[tuple[int, int], Stream] = {}
        self._changed = threading.Condition()
        self._busy = False
        self._served = 0
        self._dropped = 0
        self._refused = 0

    def start(self) -> None:
        """Start the inference thread."""
        threading.Thread(target=self._run, name="inference", daemon=True).start()

    def submit(self, connection: Connection, frame: Frame) -> None:
        """Queue a frame's work, or answer `overloaded` at once."""
        header = frame.header
        key = (id(connection), int(header["id"]))
        if header["op"] == "cancel":
            self._cancel(connection, key)
            return
        now = time.monotonic()
        expires = now + header["deadline_ms"] / 1000 if "deadline_ms" in header else float("inf")
        job = Job(header["op"], key, connection, _samples(frame), now, expires)
        if not self._admit(job):
            connection.send({"op": "error", "id": key[1], "code": "overloaded"})

    def _admit(self, job: Job) -> bool:
        with self._changed:
            if job.operation == "transcribe":
                if self._waiting >= self._queue_limit:
                    self._refused += 1
                    return False
                self._waiting += 1
            elif job.operation == "open":
                if len(self._open) >= self._stream_limit:
                    self._refused += 1
                    return False
                self._open.add(job.key)
            elif job.key not in self._open:
                # The stream was refused, cancelled or has failed; its peer has been told.
                return True
            self._jobs.append(job)
            self._changed.notify_all()
        return True

    def _cancel(self, connection: Connection, key: tuple[int, int]) -> None:
        with self._changed:
            for job in self._jobs:
                if job.key == key:
                    job.cancelled = True
            if key in self._open:
                # Only the inference thread may touch decoder state: it drops the stream when it comes to this job.
                self._jobs.append(Job("close", key, connection, _SILENCE, 0.0, 0.0))
            self._changed.notify_all()

    def forget(self, connection: Connection) -> None:
        """Cancel everything of a connection that has gone."""
        connection.gone = True
        with self._changed:
            keys = {job.key for job in self._jobs} | self._open
        for key in keys:
            if key[0] == id(connection):
                self._cancel(connection, key)

    def statistics(self) -> dict[str, int]:
        """Requests waiting, streams open, steps served, work dropped unheard, requests refused."""
        with self._changed:
            return {
                "waiting": self._waiting,
                "streams": len(self._open),
                "served": self._served,
                "dropped": self._dropped,
                "refused": self._refused,
            }

    def drain(self, timeout_s: float) -> None:
        """Wait until nothing is queued, running or open, for at most `timeout_s` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: not (self._jobs or self._open or self._busy), timeout_s)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._jobs)
                job = self._jobs.popleft()
                self._busy = True
                if job.operation == "transcribe":
                    self._waiting -= 1
            self._do(job)
            if job.operation == "close" or job.cancelled:
                self._close(job.key)

    def _close(self, key: tuple[int, int]) -> None:
        self._streams.pop(key, None)
        with self._changed:
            self._open.discard(key)

    def _do(self, job: Job) -> None:
        if job.operation == "close":
            return
        began = time.monotonic()
        lost = job.operation in ("chunk", "end") and job.key not in self._streams
        if lost or job.cancelled or job.connection.gone:
            self._dropped += 1
            return
        if began > job.expires:
            self._dropped += 1
            self._fail(job, "deadline")
            return
        try:
            header = self._infer(job)
        except Exception as error:
            # The message of an engine's error may quote what was said: only its kind is logged.
            log.error("inference failed: %s in %s", type(error).__name__, job.operation)
            self._fail(job, "internal")
            return
        self._served += 1
        if header is not None:
            header["queue_ms"] = (began - job.arrived) * 1000
            header["infer_ms"] = (time.monotonic() - began) * 1000
            job.connection.send(header)

    def _fail(self, job: Job, code: str) -> None:
        self._close(job.key)
        job.connection.send({"op": "error", "id": job.key[1], "code": code})

    def _infer(self, job: Job) -> Header | None:
        number = job.key[1]
        if job.operation == "transcribe":
            return {"op": "result", "id": number, **_answer(self._runtime.transcribe(job.samples))}
        if job.operation == "open":
            self._streams[job.key] = self._runtime.stream()
            return None
        stream = self._streams[job.key]
        if job.operation == "end":
            final = stream.finish()
            # Closed before its peer hears the final, so that whoever asks next finds the place free.
            self._close(job.key)
            return {"op": "result", "id": number, **_answer(final)}
        partial = stream.accept(job.samples)
        header: Header = {"op": "heard", "id": number}
        if partial is not None:
            header |= {"text": partial.text, "committed": partial.committed}
        return header
