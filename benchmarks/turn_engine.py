"""Turns of an assistant in a process of its own, with nothing between: what turns through the gateway stand beside.

    python -m benchmarks.turn_engine PAYLOAD

A line of JSON comes in for each question, `{"pcm": PATH, "tenant": NAME, "cadence": 1.0}`, and a line goes out with the
fields of Turn.

Boundary: starts one process and stops it; in that process one model on one thread.
Invariants: chunks are those that a client of the gateway sends, each handed over when that client would have sent it; a
turn is timed from the moment in which its last chunk was due, so that what the engine was behind counts.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np

from serving.asking.dialogue import FRAME_MS
from serving.encoding import pcm16
from serving.process import environment
from serving.worker import warm
from speech.runtimes import Samples, load_model
from speech.runtimes.kinds import Assistant

STOP_S = 10.0


class Turn(NamedTuple):
    """A turn, from the end of the user's speech: ms to the first byte of the reply's speech, and to the end of it.

    `heard` and `text` are what was understood and replied, `sound` is the SHA-256 of the reply as 16-bit PCM.
    """

    first_ms: float
    done_ms: float
    heard: str
    text: str
    sound: str

    @property
    def said(self) -> tuple[str, str, str]:
        """What must be the same whoever is asked."""
        return self.heard, self.text, self.sound


class Question(NamedTuple):
    """A question that was recorded: 16-bit PCM at the assistant's rate in a file, and whose user asks it."""

    pcm: Path
    tenant: str


class Engine:
    """The process, from the parent's side. Build it with `start`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, question: Question, *, cadence: float) -> Turn:
        """One turn; `cadence` 1.0 speaks in real time, 0 hands everything over at once.

        Raises AssertionError where the process has ended.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        asked = {"pcm": str(question.pcm), "tenant": question.tenant, "cadence": cadence}
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(asked) + "\n")
            self._process.stdin.flush()
        if not (answer := self._process.stdout.readline()):
            raise AssertionError(f"the engine's process ended with status {self._process.wait()}")
        return Turn(*json.loads(answer))


@contextlib.contextmanager
def start(payload: Path) -> Iterator[Engine]:
    """The payload in a process like a worker's: one thread, warmed as workers are."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.turn_engine", str(payload)],
        env=environment(1), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield Engine(process)
    finally:
        try:
            process.communicate(timeout=STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def direct(model: Assistant, pcm: bytes, tenant: str, cadence: float) -> Turn:
    """One turn in this process."""
    samples: Samples = np.frombuffer(pcm, "<i2") * np.float32(1 / 32768)
    step = model.sample_rate_hz * FRAME_MS // 1000
    turn, ended = model.turn(tenant), 0.0
    began = time.perf_counter()
    for index, start in enumerate(range(0, samples.size, step)):
        due = began + index * FRAME_MS / 1000 / cadence if cadence else time.perf_counter()
        ended = _await(due)
        turn.accept(samples[start : start + step])
    reply = turn.reply()
    sound, first_ms = hashlib.sha256(), 0.0
    for chunk in turn.speak():
        sound.update(pcm16(chunk))
        first_ms = first_ms or (time.perf_counter() - ended) * 1000
    return Turn(first_ms, (time.perf_counter() - ended) * 1000, reply.heard.text, reply.text, sound.hexdigest())


def _await(due: float) -> float:
    """Wait until then; when it was, to the precision of sleeping, or the past moment that has been missed."""
    left_s = due - time.perf_counter()
    if left_s <= 0:
        return due
    time.sleep(left_s)
    return time.perf_counter()


def main() -> None:
    """Answer lines until there are no more."""
    model = cast(Assistant, load_model(Path(sys.argv[1]), threads=1))
    warm(model)
    for line in sys.stdin:
        asked = json.loads(line)
        turn = direct(model, Path(asked["pcm"]).read_bytes(), asked["tenant"], asked["cadence"])
        sys.stdout.write(json.dumps(turn) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
