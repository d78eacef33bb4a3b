"""When speech begins: the first audio byte through the gateway, against calling the voice directly.

Boundary: real processes on loopback (benchmarks/serving_peers.py); the candidate v2 of tts-en, made for the occasion,
and the texts of the pack tts-prompts.
Invariants: the direct call is the same voice in this process, until it has the first samples as 16-bit PCM, in turns
with the gateway text by text; before there is a figure the gateway says what the voice says, sample for sample; no text
is among those whose audio the worker keeps; the voice is warm on both sides, and processes are started outside the
clock. The client's own cost is in what it measures.
"""

from __future__ import annotations

import http.client
import json
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks import frame
from benchmarks.serving import percentile
from benchmarks.serving_peers import KEY, START_S, make_home
from evalpacks.packs.tts_prompts.build import prompts
from serving.client import start_gateway
from speech.runtimes import Samples
from speech.runtimes.espeak import load
from speech.runtimes.kinds import Voice
from speech.third_party_voices import FAMILY, PROMPTS, build

VERSION = "v2"
ROUTE = "/v1/audio/speech"


class Gateway:
    """One persistent connection to the route of speech."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=START_S)

    def ask(self, text: str) -> tuple[float, bytes]:
        """Seconds until the first sample of a text is here, and all of its PCM."""
        body = json.dumps({"model": FAMILY, "input": text, "voice": "default", "response_format": "pcm"})
        began = time.perf_counter()
        self._connection.request(
            "POST", ROUTE, body, {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
        )
        answer = self._connection.getresponse()
        first = answer.read(2)
        first_s = time.perf_counter() - began
        pcm = first + answer.read()
        if answer.status != http.HTTPStatus.OK:
            raise AssertionError(f"the gateway answered {answer.status}: {pcm[:200]!r}")
        return first_s, pcm


def direct(voice: Voice, text: str) -> tuple[float, bytes]:
    """The same of the voice in this process."""
    began = time.perf_counter()
    chunks = voice.speak(text)
    first = _pcm(next(chunks))
    first_s = time.perf_counter() - began
    return first_s, first + b"".join(map(_pcm, chunks))


def _pcm(samples: Samples) -> bytes:
    return (np.clip(samples, -1.0, 1.0) * 32767).astype("<i2").tobytes()


def texts(count: int) -> list[str]:
    """So many texts, spread over the domains of the pack."""
    listed = [prompt.text for domain in prompts().values() for prompt in domain]
    chosen = listed[:: max(1, len(listed) // count)][:count]
    assert not set(chosen) & set(PROMPTS)
    return chosen


def measure(progress: frame.Progress, count: int = 64, rounds: int = 6) -> frame.Result:
    """What the gateway adds to the first audio byte, by round: the difference of percentiles over the same texts."""
    with tempfile.TemporaryDirectory(prefix="soundcheck-benchmark-") as folder:
        payload = build(VERSION, Path(folder) / VERSION) / "payload"
        home = Path(folder) / "home"
        bundle = make_home(home, payload, FAMILY)
        voice, said = load(payload), texts(count)
        progress("start the gateway")
        with start_gateway(home, serve={FAMILY: bundle}, options=("--threads", "1"), timeout_s=START_S) as server:
            gateway = Gateway(int(server.base_url.rsplit(":", 1)[1]))
            _refuse_other_sound(gateway, voice, said)
            calls, requests = _in_turns(gateway, voice, said, rounds, progress)
    return frame.Result({"texts": count, "rounds": rounds, "voice": VERSION}, _figures(calls, requests))


def _refuse_other_sound(gateway: Gateway, voice: Voice, said: list[str]) -> None:
    """No figure of a gateway that says something else; it is warm afterwards."""
    for text in said:
        heard, expected = (np.frombuffer(pcm, "<i2") for pcm in (gateway.ask(text)[1], direct(voice, text)[1]))
        if heard.size != expected.size or np.abs(heard.astype(int) - expected).max() > 1:
            raise AssertionError(f"the gateway gave {heard.size} samples that are not the voice's {expected.size}")


def _in_turns(
    gateway: Gateway, voice: Voice, said: list[str], rounds: int, progress: frame.Progress
) -> tuple[list[list[float]], list[list[float]]]:
    """Milliseconds to the first sample of each text, by round, of the voice and of the gateway."""
    calls: list[list[float]] = []
    requests: list[list[float]] = []
    for number in range(rounds):
        progress(f"first audio, round {number + 1} of {rounds}")
        calls.append([])
        requests.append([])
        for text in said:
            calls[-1].append(direct(voice, text)[0] * 1000)
            requests[-1].append(gateway.ask(text)[0] * 1000)
    return calls, requests


def _figures(calls: list[list[float]], requests: list[list[float]]) -> dict[str, frame.Figure]:
    figures = {}
    for name, share, must in (("p50", 0.5, 5.0), ("p95", 0.95, None), ("p99", 0.99, None)):
        own, through = ([percentile(run, share) for run in kept] for kept in (calls, requests))
        added = [request - call for request, call in zip(through, own, strict=True)]
        figures[f"added_first_audio_{name}_ms"] = frame.median_of(added, "ms", "lower", must)
        figures[f"direct_first_audio_{name}_ms"] = frame.median_of(own, "ms", "lower")
        figures[f"gateway_first_audio_{name}_ms"] = frame.median_of(through, "ms", "lower")
    return figures


def quick(progress: frame.Progress) -> frame.Result:
    """The same on a few texts."""
    return measure(progress, count=6, rounds=5)


if __name__ == "__main__":
    frame.main(measure, quick=quick)
