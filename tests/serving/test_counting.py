"""A worker says how full its queue is in every answer, while others fill it: the model's thread outlives that."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import pytest

from serving.frames import Frame, Header
from serving.inference import Connection, Inference
from serving.queues import Limits
from speech.runtimes import Samples, Transcript

CALLS = 4_000


class Answering:
    """A model that answers at once."""

    sample_rate_hz = 16_000
    streaming = False

    def transcribe(self, _audio: Samples) -> Transcript:
        return Transcript("yes")


class Counting:
    """A connection that counts what it is sent."""

    def __init__(self) -> None:
        self.gone = False
        self.loads: list[float] = []
        self.all = threading.Event()

    def send(self, header: Header, _samples: Samples | None = None) -> None:
        assert header["op"] == "result"
        self.loads.append(header["load"])
        if len(self.loads) == CALLS:
            self.all.set()


@pytest.fixture
def hasty() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # threads take turns in the middle of everything
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("hasty")
def test_every_call_is_answered_while_others_come() -> None:
    model: Any = Answering()
    inference, peer = Inference(model, Limits(interactive=CALLS)), Counting()
    inference.start()
    body = np.zeros(16, dtype="<f4").tobytes()
    for number in range(CALLS):
        inference.submit(cast(Connection, peer), Frame({"op": "transcribe", "id": number}, body))
    assert peer.all.wait(30)
    assert all(0 <= load <= 1 for load in peer.loads)
