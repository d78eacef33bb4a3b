"""What the gateway adds to its model, what it answers beside other servers, and how many streams it hears in real time.

Boundary: real processes on loopback (benchmarks/serving_peers.py), spoken to by clients that cost next to nothing
(benchmarks/lean_client.py); the trained candidate v2 of asr-commands and its pack, or what is handed in.
Invariants: the direct call is the same runtime in this process, one thread, on samples already decoded, in turns with
the gateway utterance by utterance; before there is a figure every server says what the runtime says; peers run in turns
on the same requests over as many connections, persistent all; servers are started and warmed outside the clock. The
client's own cost is measured against a server that does nothing, told, and taken off nothing.
"""

from __future__ import annotations

import asyncio
import math
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import frame
from benchmarks.lean_client import HttpConnection, Lateness, SpeakingStream, closed_loop
from benchmarks.serving_peers import KEY, STREAM_PATH, Peer, empty, make_home, mlflow_serve, ours, plain_fastapi
from speech.run import read_audio
from speech.runtimes import Runtime, Samples, load

REPOSITORY = Path(__file__).resolve().parents[1]
PAYLOAD = REPOSITORY / "candidates/asr-commands/v2/payload"
PACK = REPOSITORY / "data/packs/commands"
RATE_HZ = 16_000
CHUNK_S = 0.1
PARTIAL_BUDGET_MS = 300.0
FINAL_BUDGET_MS = 500.0
CONNECTIONS = 8
SPEECH_S = 4.0
"""Of speech in one stream of the curve."""


class Size(NamedTuple):
    """How much is measured.

    Attributes:
        utterances: different ones, each once in a round, directly and through the gateway.
        rounds: of latency, and turns of throughput; at least frame.MIN_RUNS.
        requests: of one server in one turn, over CONNECTIONS connections.
        streams: the levels of the curve, until the first with a missed deadline.
    """

    utterances: int = 400
    rounds: int = 5
    requests: int = 800
    streams: tuple[int, ...] = (1, 8, 16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1_024)


QUICK = Size(utterances=6, requests=16, streams=(1, 2))


class Spoken(NamedTuple):
    """The utterances: files as they are sent, their samples (samples,), and what the runtime says."""

    wavs: list[bytes]
    samples: list[Samples]
    texts: list[str]


def measure(progress: frame.Progress, size: Size = Size()) -> frame.Result:  # noqa: B008  (a constant)
    """The figures of benchmarks.md, and some beside them."""
    runtime = load(PAYLOAD, threads=1)
    spoken = utterances(runtime, size.utterances)
    with tempfile.TemporaryDirectory(prefix="soundcheck-benchmark-") as folder, ExitStack() as stack:
        home = Path(folder) / "home"
        bundle = make_home(home, PAYLOAD)
        progress("start the servers")
        peers = {
            "gateway": stack.enter_context(ours(home, bundle)),
            "mlflow_serve": stack.enter_context(mlflow_serve(home, bundle)),
            "fastapi": stack.enter_context(plain_fastapi(home)),
        }
        nothing = stack.enter_context(empty(home))
        for name, peer in peers.items():
            refuse_other_words(name, peer, spoken)
        figures = _added(runtime, peers["gateway"], nothing, spoken, size.rounds, progress)
        figures |= _throughput(peers, spoken, size, progress)
        curve = _curve(peers["gateway"], spoken, size.streams, progress)
    heard = [level["streams"] for level in curve if not (level["late"] or level["failed"])]
    figures["realtime_streams"] = frame.Figure(max(heard, default=0), "streams", "higher", heard)
    return frame.Result(_settings(size, curve), figures)


def utterances(runtime: Runtime, count: int) -> Spoken:
    """So many utterances of the pack, spread over all of it."""
    import pandas

    table = pandas.read_parquet(PACK / "utterances.parquet").sort_values("utterance_id")
    paths = [PACK / path for path in table["path"].iloc[:: max(1, len(table) // count)].head(count)]
    samples = [read_audio(path, RATE_HZ) for path in paths]
    return Spoken([path.read_bytes() for path in paths], samples, [runtime.transcribe(one).text for one in samples])


def refuse_other_words(name: str, peer: Peer, spoken: Spoken) -> None:
    """No figure of a server that says something else; it is warm afterwards."""
    connection = HttpConnection(peer.address)
    found = [peer.text(connection.ask(peer.request(wav))) for wav in spoken.wavs]
    connection.close()
    if found != spoken.texts:
        different = sum(one != other for one, other in zip(found, spoken.texts, strict=True))
        raise AssertionError(f"{name} says other words than the runtime in {different} of {len(found)} utterances")


# ---- latency --------------------------------------------------------------------------------------------------------
def _added(
    runtime: Runtime, gateway: Peer, nothing: Peer, spoken: Spoken, rounds: int, progress: frame.Progress
) -> dict[str, frame.Figure]:
    """What a request through the gateway takes over the direct call: the difference of their percentiles, by round."""
    direct, through, client = (list[list[float]]() for _ in range(3))
    asked = [gateway.request(wav) for wav in spoken.wavs]
    to_nobody = [nothing.request(wav) for wav in spoken.wavs]
    connections = HttpConnection(gateway.address), HttpConnection(nothing.address)
    for turn in range(rounds + 1):
        progress(f"latency, round {turn} of {rounds}" if turn else "latency, warm")
        for kept in (direct, through, client):
            kept.append([])
        for request, idle, samples in zip(asked, to_nobody, spoken.samples, strict=True):
            direct[-1].append(_ms(partial(runtime.transcribe, samples)))
            through[-1].append(_ms(partial(connections[0].ask, request)))
            client[-1].append(_ms(partial(connections[1].ask, idle)))
    for connection in connections:
        connection.close()
    figures = {}
    for name, share, must in (("p50", 0.5, 3.0), ("p99", 0.99, 10.0)):
        calls, requests, own = ([percentile(run, share) for run in kept[1:]] for kept in (direct, through, client))
        added = [request - call for request, call in zip(requests, calls, strict=True)]
        figures[f"added_{name}_ms"] = frame.median_of(added, "ms", "lower", must)
        figures[f"direct_{name}_ms"] = frame.median_of(calls, "ms", "lower")
        figures[f"gateway_{name}_ms"] = frame.median_of(requests, "ms", "lower")
        figures[f"client_{name}_ms"] = frame.median_of(own, "ms", "lower")
    return figures


def _ms(action: Any) -> float:
    began = time.perf_counter()
    action()
    return (time.perf_counter() - began) * 1000


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` of the values do not exceed, NaN of none."""
    ordered = sorted(values) or [math.nan]
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


# ---- throughput -----------------------------------------------------------------------------------------------------
def _throughput(
    peers: dict[str, Peer], spoken: Spoken, size: Size, progress: frame.Progress
) -> dict[str, frame.Figure]:
    """Requests a second of each server in a closed loop, the servers in turns."""
    arms = {}
    for name, peer in peers.items():
        made = [peer.request(wav) for wav in spoken.wavs]
        requests = [made[number % len(made)] for number in range(size.requests)]
        arms[name] = partial(closed_loop, peer.address, CONNECTIONS, requests)
    seconds = frame.interleaved(arms, runs=size.rounds, progress=progress)
    rates = {name: [size.requests / taken for taken in runs] for name, runs in seconds.items()}
    return {
        **{
            f"throughput_over_{name}": frame.ratio(rates["gateway"], rates[name], better="higher", must=1)
            for name in peers
            if name != "gateway"
        },
        **{f"{name}_requests_per_s": frame.median_of(runs, "1/s", "higher") for name, runs in rates.items()},
    }


# ---- streams --------------------------------------------------------------------------------------------------------
def _curve(gateway: Peer, spoken: Spoken, levels: Sequence[int], progress: frame.Progress) -> list[dict[str, Any]]:
    """More and more streams at once, in real time, until the first missed deadline."""
    import uvloop

    curve: list[dict[str, Any]] = []
    for streams in levels:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            ended = runner.run(_level(gateway, _speech(spoken), streams))
        heard = [one for one in ended if isinstance(one, Lateness)]
        partials = [value for one in heard for value in one.partials]
        finals = [one.final for one in heard]
        curve.append(
            {
                "streams": streams,
                "partial_p50_ms": round(percentile(partials, 0.5), 1),
                "partial_p99_ms": round(percentile(partials, 0.99), 1),
                "final_p99_ms": round(percentile(finals, 0.99), 1),
                "client_slip_ms": round(max((one.slip for one in heard), default=0.0), 1),
                "failed": len(ended) - len(heard),
                "late": sum(value > PARTIAL_BUDGET_MS for value in partials)
                + sum(value > FINAL_BUDGET_MS for value in finals),
            }
        )
        progress(", ".join(f"{name} {value}" for name, value in curve[-1].items()))
        if curve[-1]["late"] or curve[-1]["failed"]:
            break
    return curve


async def _level(gateway: Peer, speech: Sequence[bytes], streams: int) -> list[Lateness | BaseException]:
    """So many streams, begun within one chunk's time of each other: they speak out of step, as people do."""
    loop = asyncio.get_running_loop()
    speaking = []
    for number in range(streams):
        make = partial(SpeakingStream, STREAM_PATH, KEY, RATE_HZ, speech, CHUNK_S)
        _, stream = await loop.create_connection(make, gateway.address.host, gateway.address.port)
        speaking.append(stream)
        await asyncio.sleep(max(CHUNK_S / streams, 0.001) if number + 1 < streams else 0)
    return await asyncio.gather(*(stream.done for stream in speaking), return_exceptions=True)


def _speech(spoken: Spoken) -> list[bytes]:
    """Some seconds of the utterances, one after the other, as chunks of 16-bit samples."""
    import numpy as np

    joined = np.concatenate(spoken.samples)[: round(SPEECH_S * RATE_HZ)]
    pcm = (joined.clip(-1, 1) * 32767).astype("<i2")
    step = round(CHUNK_S * RATE_HZ)
    return [pcm[start : start + step].tobytes() for start in range(0, len(pcm), step)]


def _settings(size: Size, curve: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "payload": "asr-commands v2, one thread",
        "latency": f"{size.utterances} utterances a round, one connection, the direct call and the gateway in turns",
        "added": "the gateway's percentile less that of the direct call, round by round; the client is not taken off",
        "throughput": f"{size.requests} requests a turn over {CONNECTIONS} persistent connections, a closed loop",
        "mlflow_serve": "mlflow models serve, one worker, the release's own model, audio as base64 in JSON",
        "fastapi": "benchmarks/plain_fastapi.py under uvicorn, one process, the model called on the event loop",
        "gateway": "one gateway process and one worker process, batches of what waits, telemetry and metrics on",
        "realtime": f"chunks of {CHUNK_S * 1000:.0f} ms; late: a partial over {PARTIAL_BUDGET_MS:.0f} ms after its "
        f"last audio, a final over {FINAL_BUDGET_MS:.0f} ms after the end; clients on the same cores",
        "realtime_curve": curve,
    }


if __name__ == "__main__":
    frame.main(measure, quick=partial(measure, size=QUICK))
