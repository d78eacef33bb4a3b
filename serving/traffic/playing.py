"""Playing sessions against a gateway: over HTTP and WebSocket, in real time, with probes and events told afterwards.

Boundary: talks to a gateway; how errors are counted comes in as a function.
Invariants: texts are compared and forgotten, only counts are sent and returned; every failure is counted under its
code, and none ends the traffic.
"""

from __future__ import annotations

import asyncio
import io
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import httpx
from websockets.exceptions import WebSocketException

from contracts.errors import WrongCall
from contracts.policy import Task
from contracts.telemetry import PROBE_LABELS
from serving.asking import Asked, Asker, Door, asker
from serving.client import TIMEOUT_S, ApiFailure, Heard, Streamed, open_stream, stream_async, transcribe_async
from serving.traffic.sessions import Habits, Plant, Session, Turn, Utterance, lateness_s, sessions, utterances_of
from serving.traffic.summary import TrafficSummary, quantiles

if TYPE_CHECKING:
    import pandas

UNREACHABLE = "unreachable"
WRONG_RATE_HZ = 12_000
"""What the planted fault `wrong_rate` resamples to."""
BUSY = ("overloaded", "rate_limited", "no_stable", "withdrawn")
"""Refusals after which a client that retries asks again."""
FIRST_PAUSE_S = 0.2
FRAME_MS = 100

LEAVE_WITHIN_S = 1.0
"""Of the time in which a client leaves that hears no transcripts; a turn says how much of it."""

CountErrors = Callable[[str, str], tuple[int, int]]
"""(reference, hypothesis) -> (word errors, reference words)."""

CountProbe = Callable[[Utterance, Asked], tuple[int, int] | None]
"""What a labelled probe of any task came to: (errors, units); None where a client cannot tell."""


@lru_cache(maxsize=256)
def _audio(path: Path, plants: tuple[Plant, ...]) -> tuple[bytes, bytes, int]:
    """A recording as a file, as little-endian 16-bit PCM, and its rate in Hz; with the faults of its client."""
    import numpy as np
    import soundfile
    import soxr

    content = path.read_bytes()
    samples, rate_hz = soundfile.read(io.BytesIO(content), dtype="int16")
    if "silence" in plants:
        samples = np.zeros_like(samples)
    if "wrong_rate" in plants:
        samples, rate_hz = soxr.resample(samples, rate_hz, WRONG_RATE_HZ), WRONG_RATE_HZ
    if plants:
        changed = io.BytesIO()
        soundfile.write(changed, samples, rate_hz, format="WAV", subtype="PCM_16")
        content = changed.getvalue()
    return content, samples.astype("<i2").tobytes(), int(rate_hz)


Outcome = Heard | Streamed | Asked


class _Player:
    """The state of one run."""

    def __init__(
        self,
        base_url: str,
        family: str,
        api_key: str,
        *,
        task: Task,
        count_errors: CountErrors | None,
        count_probe: CountProbe | None,
        cadence: float,
        probe: bool,
        habits: Habits,
    ) -> None:
        self.summary = TrafficSummary()
        self._base_url = base_url
        self._family = family
        self._key = api_key
        self._asker = asker(task) if task != "transcription" else None
        self._door = Door(base_url, family, api_key)
        self._count_errors = count_errors
        self._count_probe = count_probe
        self._cadence = cadence
        self._probe = probe
        self._habits = habits
        self._latency: list[float] = []
        self._final: list[float] = []
        self._partial: list[float] = []
        self._audio: list[float] = []
        self._failures: Counter[str] = Counter()
        self._bundles: Counter[str] = Counter()
        self._told: Counter[str] = Counter()
        self._events: set[asyncio.Task[None]] = set()
        self.http = httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=False, limits=httpx.Limits(max_connections=200))

    async def play(self, session: Session, *, go_on: Callable[[], bool]) -> None:
        """One session, turn by turn, until `go_on` says no."""
        self.summary.sessions += 1
        seen: dict[int | None, set[str]] = {}
        for turn in session.turns:
            if not go_on():
                break
            self.summary.requests += 1
            try:
                heard = await self._patiently(session, turn)
            except ApiFailure as failure:
                self._failures[failure.code] += 1
                continue
            except (httpx.HTTPError, WebSocketException, OSError):
                self._failures[UNREACHABLE] += 1
                continue
            if heard is None:
                self.summary.left += 1
                continue
            named = {heard.bundle} if isinstance(heard, Heard) else heard.bundles
            seen.setdefault(heard.route_version, set()).update(named)
            self._keep(turn, heard)
        self.summary.mixed_sessions += any(len(bundles) > 1 for bundles in seen.values())

    async def _patiently(self, session: Session, turn: Turn) -> Outcome | None:
        """One turn, made again while the server says that it is busy and the client's patience lasts."""
        for attempt in range(self._habits.retries + 1):
            try:
                return await self._turn(session, turn)
            except ApiFailure as failure:
                if failure.code not in BUSY or attempt == self._habits.retries:
                    raise
            self.summary.retries += 1
            await asyncio.sleep(FIRST_PAUSE_S * 2**attempt)
        return None

    async def _turn(self, session: Session, turn: Turn) -> Outcome | None:
        """What was heard; None where the client left before the end."""
        headers = {
            "X-Soundcheck-Session": session.session_id,
            "X-Soundcheck-Tenant": turn.utterance.prompt.tenant or session.tenant,
            "X-Soundcheck-Device": session.device,
            "X-Soundcheck-Codec": session.codec,
            "X-Soundcheck-Probe": "yes" if self._probe else "no",
        }
        if session.language:
            headers["X-Soundcheck-Language"] = session.language
        if self._asker is not None:
            return await self._other_task(self._asker, turn, headers)
        content, pcm, rate_hz = _audio(turn.utterance.path, session.plants)
        if not turn.as_stream:
            return await transcribe_async(self._base_url, content, self._family, self._key, headers, client=self.http)
        self.summary.streams += 1
        if turn.leaves_at is not None:
            await self._leave(headers, pcm[: int(len(pcm) * turn.leaves_at) // 2 * 2], rate_hz)
            return None
        late = lateness_s(turn, session, self._habits) if self._habits.delay_ms else None
        return await stream_async(
            self._base_url, pcm, self._family, self._key, headers, rate_hz=rate_hz, cadence=self._cadence,
            late_s=late,
        )  # fmt: skip

    async def _other_task(self, asker: Asker, turn: Turn, headers: Mapping[str, str]) -> Asked | None:
        """Ask a family that does not transcribe; None where the client left before the end."""
        prompt = turn.utterance.prompt
        if not (turn.as_stream and asker.streams):
            return await asker.ask(self._door, prompt, headers, client=self.http)
        self.summary.streams += 1
        leaves_s = None if turn.leaves_at is None else turn.leaves_at * LEAVE_WITHIN_S
        try:
            async with asyncio.timeout(leaves_s):
                return await asker.stream(self._door, prompt, headers, cadence=self._cadence)
        except TimeoutError:
            return None

    async def _leave(self, headers: Mapping[str, str], pcm: bytes, rate_hz: int) -> None:
        """Begin a stream and be gone, without a word."""
        step = max(rate_hz * FRAME_MS // 1000, 1) * 2
        async with open_stream(self._base_url, self._family, self._key, headers) as websocket:
            await websocket.send(json.dumps({"type": "start", "sample_rate": rate_hz}))
            for offset in range(0, len(pcm), step):
                await websocket.send(pcm[offset : offset + step])
                await asyncio.sleep(FRAME_MS / 1000 / self._cadence if self._cadence else 0)
            websocket.transport.abort()

    def _keep(self, turn: Turn, heard: Outcome) -> None:
        self.summary.answered += 1
        self._bundles[heard.bundle] += 1
        self._time(turn, heard)
        starved = isinstance(heard, Asked) and bool(heard.starved)
        self.summary.starved += starved
        for kind in (*turn.events, *(("underrun",) if starved else ())):
            self._told[kind] += 1
            self._tell_later({"request_id": heard.request_id, "kind": kind})
        if self._probe and (counted := self._counted(turn.utterance, heard)) is not None:
            self._tell_later(self._probed(turn.utterance, heard.request_id, *counted))

    def _time(self, turn: Turn, heard: Outcome) -> None:
        if isinstance(heard, Streamed):
            self._final.append(heard.final_ms)
            if heard.first_partial_ms is not None:
                self._partial.append(heard.first_partial_ms)
            return
        streamed = isinstance(heard, Asked) and self._asker is not None and turn.as_stream and self._asker.streams
        (self._final if streamed else self._latency).append(heard.latency_ms)
        if isinstance(heard, Asked) and heard.first_ms is not None:
            self._audio.append(heard.first_ms)

    def _counted(self, utterance: Utterance, heard: Outcome) -> tuple[int, int] | None:
        if isinstance(heard, Asked):
            return self._count_probe(utterance, heard) if self._count_probe else None
        return self._count_errors(utterance.text, heard.text) if self._count_errors else None

    def _probed(self, utterance: Utterance, request_id: str, errors: int, words: int) -> dict[str, object]:
        self.summary.errors += errors
        self.summary.words += words
        return {
            "request_id": request_id,
            "kind": "probe",
            "errors": errors,
            "words": words,
            "labels": utterance.labels,
        }

    def _tell_later(self, body: Mapping[str, object]) -> None:
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
        self.summary.events = dict(self._told)
        self.summary.http_latency_ms = quantiles(self._latency)
        self.summary.stream_final_ms = quantiles(self._final)
        self.summary.first_partial_ms = quantiles(self._partial)
        self.summary.first_audio_ms = quantiles(self._audio)
        return self.summary


class _Bounds(NamedTuple):
    """When traffic ends: after so many seconds or requests, or when it is told to."""

    seconds: float | None
    requests: int | None
    stop: threading.Event | None

    def wanted(self, made: int) -> bool:
        """Whether a session that has begun goes on."""
        stopped = self.stop is not None and self.stop.is_set()
        return not (stopped or (self.requests is not None and made >= self.requests))

    def done(self, elapsed_s: float, made: int) -> float:
        """How much of it is over, in [0, 1]."""
        parts = [elapsed_s / self.seconds] if self.seconds else []
        parts += [made / self.requests] if self.requests else []
        return min(max(parts, default=0.0), 1.0)


class _Run:
    """Sessions that come and go until the bounds are reached."""

    def __init__(
        self,
        player: _Player,
        visits: Iterator[Session],
        draw: random.Random,
        bounds: _Bounds,
        on_progress: Callable[[int, float], None] | None,
    ) -> None:
        self._player = player
        self._visits = visits
        self._draw = draw
        self._bounds = bounds
        self._on_progress = on_progress
        self._began = time.monotonic()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self._began

    async def visitor(self, pause_s: float) -> None:
        """One session after another, with pauses of this mean."""
        while self._beginning():
            await self._visit()
            await asyncio.sleep(self._draw.expovariate(1 / pause_s) if pause_s else 0)

    async def arrivals(self, per_s: float) -> None:
        """Sessions that begin at random (Poisson), however many are under way."""
        async with asyncio.TaskGroup() as group:
            while self._beginning():
                group.create_task(self._visit())
                await asyncio.sleep(self._draw.expovariate(per_s))

    def _wanted(self) -> bool:
        return self._bounds.wanted(self._player.summary.requests)

    def _beginning(self) -> bool:
        seconds = self._bounds.seconds
        return self._wanted() and (seconds is None or self.elapsed_s < seconds)

    async def _visit(self) -> None:
        await self._player.play(next(self._visits), go_on=self._wanted)
        if self._on_progress is not None:
            made = self._player.summary.requests
            self._on_progress(made, self._bounds.done(self.elapsed_s, made))


def play(
    base_url: str,
    *,
    family: str,
    utterances: pandas.DataFrame,
    root: Path,
    api_key: str,
    task: Task = "transcription",
    count_errors: CountErrors | None = None,
    count_probe: CountProbe | None = None,
    seconds: float | None = None,
    requests: int | None = None,
    concurrency: int = 4,
    seed: int = 0,
    rate_per_s: float | None = None,
    labels: Sequence[str] = PROBE_LABELS,
    habits: Habits | None = None,
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
        task: what the family does.
        count_errors, count_probe: how a labelled probe is counted, of transcripts and of any other task; without one,
            no counts are told.
        concurrency: sessions at a time.
        rate_per_s: sessions begin at random (Poisson) at this rate instead, however many are under way.
        habits: what users and their networks do; nothing unusual if not given.
        labels: slice columns that are told with a probe's counts, of contracts.telemetry.PROBE_LABELS.
        cadence: speed of streams, 1.0 real time, 0 as fast as the server takes it.
        pause_s: mean pause between two utterances of a session, in seconds.
        probe: whether the requests are labelled probes, whose counts go to `POST /v1/events`.
        on_progress: called with the requests made so far and the fraction done.

    A session that has begun is finished unless `stop` is set or `requests` are made. Raises WrongCall on an empty pack.
    """
    if seconds is None and requests is None and stop is None:
        raise WrongCall("traffic has no end", expected="seconds, requests or a stop event")
    habits = habits or Habits()
    if task != "transcription" and (habits.plants or habits.delay_ms):
        raise WrongCall(
            "these habits are of clients that send speech to be transcribed", got=task, expected="no plants, no delay"
        )
    visits = sessions(utterances_of(utterances, root, labels), seed=seed, habits=habits)

    async def run() -> TrafficSummary:
        player = _Player(
            base_url, family, api_key, task=task, count_errors=count_errors, count_probe=count_probe, cadence=cadence,
            probe=probe, habits=habits,
        )  # fmt: skip
        playing = _Run(player, visits, random.Random(seed + 1), _Bounds(seconds, requests, stop), on_progress)
        if rate_per_s is not None:
            await playing.arrivals(rate_per_s)
        else:
            await asyncio.gather(*(playing.visitor(pause_s) for _ in range(concurrency)))
        summary = await player.close()
        summary.duration_s = playing.elapsed_s
        return summary

    return asyncio.run(run())
