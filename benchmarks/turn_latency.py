"""When the assistant answers: a turn over the gateway's WebSocket, against the same engine called directly.

Boundary: real processes on loopback (benchmarks/serving_peers.py, benchmarks/turn_engine.py); the candidate v2 of
assistant, made for the occasion, and questions of the pack assistant-questions, said by one synthetic voice.
Invariants: gateway and engine are asked the same questions in turns, each first in its turn, with the same chunks in
real time; both are warm, and started outside the clock; before there is a figure the gateway hears, replies and says
what the engine does, sample for sample. The clock runs from the end of the user's speech, which is the silence that
ends a turn. The client's own cost is in what is measured through the gateway, and so is every wait for a core: the
load average of the machine's last minute stands beside the figures.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from benchmarks import frame, turn_engine
from benchmarks.serving import percentile
from benchmarks.serving_peers import KEY, START_S, make_home
from benchmarks.turn_engine import Question, Turn
from evalpacks.packs.assistant_questions.build import questions
from serving.asking.dialogue import ROUTE, say
from serving.client import next_said, open_stream, start_gateway
from serving.encoding import pcm16
from speech.assistant.make import build
from speech.synthesis import speak_all

FAMILY = "assistant"
VERSION = "v2"
VOICE = "en-us+Alex"
RATE_HZ = 16_000
SILENCE_S = 0.3
"""After which the client's detector of speech says that a turn has ended, as in the pack."""
MUST_MS = 5.0
"""What the gateway may add at p50."""


class Peer(Protocol):
    """Whoever answers questions: the engine's process (turn_engine.Engine), or the gateway."""

    def ask(self, question: Question, *, cadence: float) -> Turn:
        """One turn, spoken at so many times real time; 0 hands everything over at once."""
        ...


class Round(NamedTuple):
    """The turns of every question once, of the engine and of the gateway."""

    engine: list[Turn]
    gateway: list[Turn]


class Gateway:
    """The gateway's end of the benchmark: a WebSocket a turn, open before its user speaks."""

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url

    def ask(self, question: Question, *, cadence: float) -> Turn:
        """One turn, timed by its client."""
        return asyncio.run(self._turn(question, cadence))

    async def _turn(self, question: Question, cadence: float) -> Turn:
        headers = {"X-Soundcheck-Tenant": question.tenant}
        async with open_stream(self._base_url, FAMILY, KEY, headers, route=ROUTE) as websocket:
            await websocket.send(json.dumps({"type": "start", "sample_rate": RATE_HZ}))
            await next_said(websocket)
            speaking = asyncio.create_task(say(websocket, question.pcm.read_bytes(), RATE_HZ, cadence))
            while isinstance(reply := await next_said(websocket), bytes) or reply["type"] != "reply":
                pass
            sound, first = hashlib.sha256(), 0.0
            while isinstance(said := await next_said(websocket), bytes):
                first = first or time.perf_counter()
                sound.update(said)
            done, ended = time.perf_counter(), await speaking
        first_ms, done_ms = (first - ended) * 1000, (done - ended) * 1000
        return Turn(first_ms, done_ms, reply["heard"], reply["text"], sound.hexdigest())


def measure(progress: frame.Progress, count: int = 12, rounds: int = 6, cadence: float = 1.0) -> frame.Result:
    """What the gateway adds to a turn, by round: percentiles of the differences question by question."""
    with tempfile.TemporaryDirectory(prefix="soundcheck-benchmark-") as scratch:
        folder = Path(scratch)
        payload = build(VERSION, folder / VERSION) / "payload"
        asked = recorded(folder, count)
        home = folder / "home"
        bundle = make_home(home, payload, FAMILY)
        progress("start the engine and the gateway")
        served = start_gateway(home, serve={FAMILY: bundle}, options=("--threads", "1"), timeout_s=START_S)
        with turn_engine.start(payload) as engine, served as running:
            gateway = Gateway(running.base_url)
            _refuse_other_turns(engine, gateway, asked)
            measured = []
            for number in range(rounds):
                progress(f"turns, round {number + 1} of {rounds}")
                measured.append(_round(engine, gateway, asked, number, cadence))
    settings = {"questions": count, "rounds": rounds, "version": VERSION, "silence_s": SILENCE_S, "cadence": cadence}
    return frame.Result({**settings, "load_average": round(os.getloadavg()[0], 1)}, figures_of(measured))


def recorded(folder: Path, count: int) -> list[Question]:
    """So many questions, spread over those of the pack, in files below `folder`."""
    listed = questions()
    chosen = [listed[index * len(listed) // count] for index in range(count)]
    silence = np.zeros(round(SILENCE_S * RATE_HZ), np.float32)
    made = []
    for number, samples in enumerate(speak_all([(one.text, VOICE) for one in chosen], RATE_HZ)):
        path = folder / f"{number}.pcm"
        path.write_bytes(pcm16(np.concatenate([samples, silence])))
        made.append(Question(path, chosen[number].tenant))
    return made


def _refuse_other_turns(engine: Peer, gateway: Peer, asked: Sequence[Question]) -> None:
    """No figure of a gateway that answers otherwise; both are warm afterwards."""
    for number, question in enumerate(asked):
        own, through = (peer.ask(question, cadence=0.0) for peer in (engine, gateway))
        if own.said != through.said:
            differs = [name for name in ("heard", "text", "sound") if getattr(own, name) != getattr(through, name)]
            raise AssertionError(f"question {number}: the gateway's turn is not the engine's in {', '.join(differs)}")


def _round(engine: Peer, gateway: Peer, asked: Sequence[Question], number: int, cadence: float) -> Round:
    turns = Round([], [])
    for place, question in enumerate(asked):
        peers: list[tuple[Peer, list[Turn]]] = [(engine, turns.engine), (gateway, turns.gateway)]
        for peer, kept in peers if (place + number) % 2 else reversed(peers):
            kept.append(peer.ask(question, cadence=cadence))
    return turns


def figures_of(measured: Sequence[Round]) -> dict[str, frame.Figure]:
    """First audio and the end of the turn: of each side, and what the gateway adds."""
    figures = {}
    for moment, field in (("first_audio", "first_ms"), ("turn", "done_ms")):
        own, through = (
            [[getattr(turn, field) for turn in getattr(one, side)] for one in measured] for side in Round._fields
        )
        added = [[b - a for a, b in zip(*sides, strict=True)] for sides in zip(own, through, strict=True)]
        for name, share, must in (("p50", 0.5, MUST_MS), ("p95", 0.95, None)):
            for side, rounds, bar in (("added", added, must), ("engine", own, None), ("gateway", through, None)):
                runs = [percentile(one, share) for one in rounds]
                figures[f"{side}_{moment}_{name}_ms"] = frame.median_of(runs, "ms", "lower", bar)
    return figures


def quick(progress: frame.Progress) -> frame.Result:
    """The same on two questions, said four times as fast as anybody speaks."""
    return measure(progress, count=2, rounds=5, cadence=4.0)


if __name__ == "__main__":
    frame.main(measure, quick=quick)
