"""Traffic: plays a pack's audio through the production API as users would, and tells what labelled probes heard.

Boundary: talks to a gateway over HTTP and WebSocket; how errors are counted comes in as a function.
Source: release-algorithm R7, R7.8; coverage row 23.
Invariants: the same seed gives the same sessions in the same order; texts are compared and forgotten, only counts are
sent and returned; every failure is counted under its code.
"""

from __future__ import annotations

import asyncio
import io
import math
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import httpx
from websockets.exceptions import WebSocketException

from contracts.errors import WrongCall
from contracts.telemetry import PROBE_LABELS
from serving.client import TIMEOUT_S, ApiFailure, Heard, Streamed, stream_async, transcribe_async

if TYPE_CHECKING:
    import pandas

TENANTS = ("internal", "acme", "globex")
DEVICES = ("phone", "desktop", "speaker")
LONGEST_SESSION = 5
QUANTILES = (0.5, 0.95, 0.99)
UNREACHABLE = "unreachable"

CountErrors = Callable[[str, str], tuple[int, int]]
"""(reference, hypothesis) -> (word errors, reference words)."""


class Utterance(NamedTuple):
    """One labelled recording of a pack."""

    path: Path
    text: str
    labels: dict[str, str]


class Session(NamedTuple):
    """A user's visit: some utterances one after another, each over HTTP or as a stream."""

    session_id: str
    tenant: str
    device: str
    turns: tuple[tuple[Utterance, bool], ...]


@dataclass
class TrafficSummary:
    """What happened. Latencies are milliseconds by quantile (`p50`, `p95`, `p99`; empty where nothing was measured).

    `mixed_sessions` counts sessions whose answers within one version of the route table came from two bundles, and
    streams that named two; `bundles` counts answers; `errors`, `words` are sums over labelled probes.
    """

    requests: int = 0
    answered: int = 0
    sessions: int = 0
    streams: int = 0
    failures: dict[str, int] = field(default_factory=dict)
    bundles: dict[str, int] = field(default_factory=dict)
    mixed_sessions: int = 0
    errors: int = 0
    words: int = 0
    http_latency_ms: dict[str, float] = field(default_factory=dict)
    stream_final_ms: dict[str, float] = field(default_factory=dict)
    first_partial_ms: dict[str, float] = field(default_factory=dict)
    duration_s: float = 0.0


def utterances_of(table: pandas.DataFrame, root: Path, labels: Sequence[str] = PROBE_LABELS) -> list[Utterance]:
    """The recordings of a pack's table (columns path, text and slice columns), with those labels it has."""
    present = [label for label in labels if label in table.columns]
    if not len(table):
        raise WrongCall("there is nothing to play", where=str(root), expected="a pack with utterances")
    return [
        Utterance(root / str(row["path"]), str(row["text"]), {label: str(row[label]) for label in present})
        for row in table.to_dict("records")
    ]


def sessions(
    utterances: Sequence[Utterance], *, seed: int, share_stream: float, tenants: Sequence[str]
) -> Iterator[Session]:
    """Sessions without end, determined by the seed: a tenant, a device and one to five utterances."""
    generator = random.Random(seed)
    while True:
        turns = tuple(
            (generator.choice(utterances), generator.random() < share_stream)
            for _ in range(generator.randint(1, LONGEST_SESSION))
        )
        name = f"{generator.getrandbits(64):016x}"
        yield Session(name, generator.choice(tenants), generator.choice(DEVICES), turns)


def quantiles(values: Sequence[float]) -> dict[str, float]:
    """p50, p95 and p99 (nearest rank)."""
    ordered = sorted(values)
    if not ordered:
        return {}
    return {f"p{round(q * 100)}": ordered[max(math.ceil(q * len(ordered)) - 1, 0)] for q in QUANTILES}


@lru_cache(maxsize=256)
def _pcm(path: Path) -> tuple[bytes, int]:
    import soundfile

    samples, rate_hz = soundfile.read(io.BytesIO(path.read_bytes()), dtype="int16")
    return samples.astype("<i2").tobytes(), int(rate_hz)


class _Player:
    """The state of one run."""

    def __init__(
        self, base_url: str, family: str, api_key: str, *, count_errors: CountErrors, cadence: float, probe: bool
    ) -> None:
        self.summary = TrafficSummary()
        self._base_url = base_url
        self._family = family
        self._key = api_key
        self._count_errors = count_errors
        self._cadence = cadence
        self._probe = probe
        self._latency: list[float] = []
        self._final: list[float] = []
        self._partial: list[float] = []
        self._failures: Counter[str] = Counter()
        self._bundles: Counter[str] = Counter()
        self._events: set[asyncio.Task[None]] = set()
        self.http = httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=False, limits=httpx.Limits(max_connections=200))

    async def play(self, session: Session, *, go_on: Callable[[], bool]) -> None:
        """One session, turn by turn, until `go_on` says no."""
        self.summary.sessions += 1
        seen: dict[int | None, set[str]] = {}
        for utterance, as_stream in session.turns:
            if not go_on():
                break
            self.summary.requests += 1
            try:
                heard = await self._turn(session, utterance, as_stream)
            except ApiFailure as failure:
                self._failures[failure.code] += 1
                continue
            except (httpx.HTTPError, WebSocketException, OSError):
                self._failures[UNREACHABLE] += 1
                continue
            named = heard.bundles if isinstance(heard, Streamed) else {heard.bundle}
            seen.setdefault(heard.route_version, set()).update(named)
            self._keep(utterance, heard)
        self.summary.mixed_sessions += any(len(bundles) > 1 for bundles in seen.values())

    async def _turn(self, session: Session, utterance: Utterance, as_stream: bool) -> Heard | Streamed:
        headers = {
            "X-Soundcheck-Session": session.session_id,
            "X-Soundcheck-Tenant": session.tenant,
            "X-Soundcheck-Device": session.device,
            "X-Soundcheck-Probe": "yes" if self._probe else "no",
        }
        if not as_stream:
            content = utterance.path.read_bytes()
            return await transcribe_async(self._base_url, content, self._family, self._key, headers, client=self.http)
        pcm, rate_hz = _pcm(utterance.path)
        self.summary.streams += 1
        return await stream_async(
            self._base_url, pcm, self._family, self._key, headers, rate_hz=rate_hz, cadence=self._cadence
        )

    def _keep(self, utterance: Utterance, heard: Heard | Streamed) -> None:
        self.summary.answered += 1
        self._bundles[heard.bundle] += 1
        if isinstance(heard, Streamed):
            self._final.append(heard.final_ms)
            if heard.first_partial_ms is not None:
                self._partial.append(heard.first_partial_ms)
        else:
            self._latency.append(heard.latency_ms)
        if not self._probe:
            return
        errors, words = self._count_errors(utterance.text, heard.text)
        self.summary.errors += errors
        self.summary.words += words
        body = {
            "request_id": heard.request_id,
            "kind": "probe",
            "errors": errors,
            "words": words,
            "labels": utterance.labels,
        }
        task = asyncio.create_task(self._tell(body))
        self._events.add(task)
        task.add_done_callback(self._events.discard)

    async def _tell(self, body: Mapping[str, object]) -> None:
        try:
            answer = await self.http.post(
                f"{self._base_url}/v1/events", json=body, headers={"Authorization": f"Bearer {self._key}"}
            )
            if answer.status_code != 202:
                self._failures["event_refused"] += 1
        except httpx.HTTPError:
            self._failures["event_" + UNREACHABLE] += 1

    async def close(self) -> TrafficSummary:
        """Wait for the last events; the summary."""
        await asyncio.gather(*self._events)
        await self.http.aclose()
        self.summary.failures = dict(self._failures)
        self.summary.bundles = dict(self._bundles)
        self.summary.http_latency_ms = quantiles(self._latency)
        self.summary.stream_final_ms = quantiles(self._final)
        self.summary.first_partial_ms = quantiles(self._partial)
        return self.summary


def play(
    base_url: str,
    *,
    family: str,
    utterances: pandas.DataFrame,
    root: Path,
    api_key: str,
    count_errors: CountErrors,
    seconds: float | None = None,
    requests: int | None = None,
    concurrency: int = 4,
    seed: int = 0,
    labels: Sequence[str] = PROBE_LABELS,
    share_stream: float = 0.3,
    tenants: Sequence[str] = TENANTS,
    cadence: float = 1.0,
    pause_s: float = 0.0,
    probe: bool = True,
    stop: threading.Event | None = None,
    on_progress: Callable[[int, float], None] | None = None,
) -> TrafficSummary:
    """Play sessions until `seconds` have passed, `requests` were made, or `stop` is set (at least one must be given).

    Args:
        base_url: the gateway.
        utterances: a pack's utterances; `root` is the folder their paths are relative to.
        concurrency: sessions at a time.
        labels: slice columns that are told with a probe's counts, of contracts.telemetry.PROBE_LABELS.
        share_stream: share of utterances sent over a WebSocket.
        cadence: speed of streams, 1.0 real time, 0 as fast as the server takes it.
        pause_s: mean pause between two utterances of a session, in seconds.
        probe: whether the requests are labelled probes, whose counts go to `POST /v1/events`.
        on_progress: called with the requests made so far and the fraction done.

    A session that has begun is finished unless `stop` is set or `requests` are made. Raises WrongCall on an empty pack.
    """
    if seconds is None and requests is None and stop is None:
        raise WrongCall("traffic has no end", expected="seconds, requests or a stop event")
    recordings = utterances_of(utterances, root, labels)
    visits = sessions(recordings, seed=seed, share_stream=share_stream, tenants=tenants)

    async def run() -> TrafficSummary:
        player = _Player(base_url, family, api_key, count_errors=count_errors, cadence=cadence, probe=probe)
        pauses = random.Random(seed + 1)
        began = time.monotonic()

        def go_on() -> bool:
            made = player.summary.requests
            return not ((stop is not None and stop.is_set()) or (requests is not None and made >= requests))

        def fraction() -> float:
            parts = [(time.monotonic() - began) / seconds] if seconds else []
            parts += [player.summary.requests / requests] if requests else []
            return min(max(parts, default=0.0), 1.0)

        async def visitor() -> None:
            while go_on() and (seconds is None or time.monotonic() - began < seconds):
                await player.play(next(visits), go_on=go_on)
                if on_progress is not None:
                    on_progress(player.summary.requests, fraction())
                await asyncio.sleep(pauses.expovariate(1 / pause_s) if pause_s else 0)

        await asyncio.gather(*(visitor() for _ in range(concurrency)))
        summary = await player.close()
        summary.duration_s = time.monotonic() - began
        return summary

    return asyncio.run(run())
