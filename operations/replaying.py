"""The requests of a staged replay: what is asked of the fresh production API, and what must come back.

Boundary: speaks to one gateway over HTTP and WebSocket; reads the restored bundle's golden fixtures.
Invariants: every request carries planted strings (keys, sessions, prompts), which must be found nowhere afterwards.
"""

from __future__ import annotations

import asyncio
import io
import math
import secrets
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar

import httpx
import numpy as np
import pandas as pd
import soundfile

from contracts.digest import Digest
from contracts.errors import DependencyFailed
from contracts.policy import FamilyPolicy, ServingGate
from contracts.reports import Check, LoadFigures, LongUtterance, Soak
from contracts.verdict import Value, Verdict
from evalpacks.metrics.latency import quantiles
from operations.candidate import feature_contract
from operations.golden import Proof, compare, prompts, read_golden
from operations.register import front_end_drift
from operations.soak import resident_mb, soak
from serving.asking import Asked, Door, asker
from serving.client import TIMEOUT_S, ApiFailure, RunningGateway, pcm_of
from serving.previous_client import VERSION, PreviousClient
from serving.telemetry import read
from speech.kinds import Prompt, kind

WRONG_RATES_HZ = (12_000, 11_025, 22_050, 96_000)
"""Rates that hardly a contract names: those it does not are refused, never resampled silently (R6.2)."""
STREAM_EVERY = 3
"""One request in so many of the warm load and of the soak is a stream."""
MARKS = 6
"""Made-up identifiers that requests carry in sessions, cookies and prompts."""
SWITCH_BOUND_S = 60.0
TELEMETRY_BOUND_S = 15.0

Result = TypeVar("Result")


class Cold(NamedTuple):
    """What a worker that had answered nobody took: ms to the first part of a stream's answer, and to a whole answer."""

    first_ms: float | None
    final_ms: float


class Replay:
    """One replay against one gateway, whose home is `home`; the load plays `fixtures`, else the golden ones."""

    def __init__(
        self, base_url: str, policy: FamilyPolicy, key: str, home: Path, bundle: Digest, fixtures: Sequence[Path] = ()
    ) -> None:
        self._bundle = bundle
        self._bundles = home / "cache" / "bundles"
        self.golden_fixtures = read_golden(self._bundles / bundle)
        self._url = base_url
        self._door = Door(base_url, policy.family, key)
        self._asker = asker(policy.task)
        self._home = home
        self._policy = policy
        self._prompts = prompts(self.golden_fixtures, self._bundles / bundle)
        self._load = [Prompt(path) for path in fixtures] or self._prompts
        self._marks = [f"canary-{secrets.token_hex(8)}" for _ in range(MARKS)]
        self._metrics = ""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="replay", daemon=True)
        self._http = httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=False)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._wait(self._http.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _wait(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Work of the one loop that all threads share, and with it their connections."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def planted(self) -> list[str]:
        """What must be found nowhere: the key, made-up identifiers, every golden text of three words and more."""
        phrases = {fixture.text for fixture in self.golden_fixtures.fixtures if len(fixture.text.split()) >= 3}
        phrases |= {fixture.prompt for fixture in self.golden_fixtures.fixtures if len(fixture.prompt.split()) >= 3}
        return [self._door.key, *self._marks, *sorted(phrases)]

    def planted_found(self) -> int:
        """R6.6: how many planted strings stand in any file of the staging home or in the metrics.

        The bundle itself and the key file are left out: they hold them by design.
        """
        haystack = [self._metrics.encode(), *_written(self._home)]
        return sum(any(text.encode() in hay for hay in haystack) for text in self.planted())

    def _ask(self, number: int, asked: Sequence[Prompt] = ()) -> Asked:
        mark = self._marks[number % MARKS]
        headers = {"X-Soundcheck-Session": f"{mark}-{number}", "X-Soundcheck-Device": "staging", "Cookie": mark}
        prompt = (asked or self._prompts)[number % len(asked or self._prompts)]
        return self._wait(self._asker.ask(self._door, prompt, headers, client=self._http))

    def _stream(self, prompt: Prompt, *, cadence: float) -> Asked:
        return self._wait(self._asker.stream(self._door, prompt, cadence=cadence))

    def cold(self) -> Cold:
        """R6.3: the first stream, then the first whole answer, of a worker that has answered nobody."""
        if not self._asker.streams:
            answered = self._ask(0)
            return Cold(answered.first_ms, answered.latency_ms)
        streamed = self._stream(self._prompts[0], cadence=1.0)
        return Cold(streamed.first_ms, self._ask(0).latency_ms)

    def golden(self) -> Proof:
        """R6.1: every fixture over the wire."""
        return compare(self.golden_fixtures, [self._ask(number).answer for number in range(len(self._prompts))])

    def golden_of(self, bundle: Digest) -> Proof:
        """R6.5: another bundle's fixtures over the wire, while it answers."""
        golden = read_golden(self._bundles / bundle)
        asked = prompts(golden, self._bundles / bundle)
        return compare(golden, [self._ask(number, asked).answer for number in range(len(asked))])

    def soak(self, gateway: RunningGateway) -> Soak | None:
        """R6.3: how gateway and worker grow while they answer file after file and stream after stream."""
        worker = gateway.status()["families"][self._policy.family]["workers"][self._bundle]
        pids = (gateway.pid, worker["pid"])
        return soak(self._policy.staging, self._again, lambda: resident_mb(pids))

    def _again(self, number: int) -> None:
        if number % STREAM_EVERY or not self._asker.streams:
            self._ask(number)
        else:
            self._stream(self._prompts[number % len(self._prompts)], cadence=0.0)

    def long(self) -> LongUtterance | None:
        """R6.3: fixtures joined to one long utterance, as a file and as a stream; None where the policy wants none, and
        for tasks that are not of utterances of any length.
        """
        if not self._policy.staging.long_audio_s or self._policy.task != "transcription":
            return None
        pieces = [pcm_of(prompt.path) for prompt in self._prompts if prompt.path]
        rate_hz = pieces[0][1]
        joined = b"".join(pcm for pcm, piece_hz in pieces if piece_hz == rate_hz)
        wanted = int(self._policy.staging.long_audio_s * rate_hz) * 2
        pcm = (joined * (wanted // len(joined) + 1))[:wanted]
        with tempfile.NamedTemporaryFile(suffix=".wav", prefix="soundcheck-long-") as file:
            soundfile.write(file, np.frombuffer(pcm, dtype="<i2"), rate_hz, format="WAV", subtype="PCM_16")
            file.flush()
            prompt = Prompt(Path(file.name))
            final_ms = self._ask(0, [prompt]).latency_ms
            stream_final_ms = self._stream(prompt, cadence=0.0).latency_ms
        return LongUtterance(audio_s=len(pcm) / 2 / rate_hz, final_ms=final_ms, stream_final_ms=stream_final_ms)

    def load(self) -> LoadFigures:
        """R6.3: whole answers and streams at the concurrency of the resource envelope."""
        with ThreadPoolExecutor(max_workers=self._policy.envelope.concurrency) as pool:
            asked = list(pool.map(self._one, range(self._policy.staging.requests)))
        answers = [one for one in asked if isinstance(one, Asked)]
        failed = [one for one in asked if isinstance(one, ApiFailure)]
        first = [one.first_ms for one in answers if one.first_ms is not None]
        played = [one.starved for one in answers if one.starved is not None]
        hears = self._policy.task == "transcription"
        rows = self.telemetry(len(answers))
        partials = first if hears else rows.tail(len(answers))["first_partial_ms"].dropna().tolist()
        self._metrics = httpx.get(f"{self._url}/metrics", trust_env=False, timeout=10).text
        return LoadFigures(
            requests=len(asked),
            failures=len(failed),
            timeouts=sum(failure.code == "deadline" for failure in failed),
            retries=int(_counted(self._metrics, "soundcheck_retries_total")),
            first_partial_ms=quantiles(pd.Series(partials, dtype=float)) if partials else None,
            first_audio_ms=quantiles(pd.Series(first)) if first and not hears else None,
            underrun_share=sum(played) / len(played) if played else None,
            final_ms=quantiles(pd.Series([one.latency_ms for one in answers], dtype=float)),
            queue_ms=quantiles(rows["queue_ms"]),
            concurrency=self._policy.envelope.concurrency,
        )

    def _one(self, number: int) -> Asked | ApiFailure:
        try:
            spoken = self._policy.task == "dialogue"  # what is heard while a user speaks costs that user nothing
            if not self._asker.streams or (number % STREAM_EVERY and not spoken):
                return self._ask(number, self._load)
            return self._stream(self._load[number % len(self._load)], cadence=1.0)
        except ApiFailure as failure:
            return failure

    def telemetry(self, at_least: int) -> pd.DataFrame:
        """The gateway's own rows of answered requests, once `at_least` have been written."""
        ends = time.monotonic() + TELEMETRY_BOUND_S
        while True:
            rows = read(self._home / "telemetry", self._policy.family)
            rows = rows[rows["status"] == 200]
            if len(rows) >= at_least:
                return rows
            if time.monotonic() > ends:
                raise DependencyFailed(
                    "the staged gateway writes no telemetry", where="staging", got=f"{len(rows)} rows",
                    expected=f"{at_least} rows within {TELEMETRY_BOUND_S:g} s", next_step="look at the gateway's log",
                )  # fmt: skip
            time.sleep(0.2)

    @property
    def cost_usd_per_audio_hour(self) -> float:
        """Inference cost of all requests so far over the audio they carried."""
        rows = self.telemetry(1)
        return float(rows["cost_usd"].sum() / (rows["audio_s"].sum() / 3600))

    def contract_checks(self) -> list[Check]:
        """R6.2 and R6.4: the front end, a rate no contract names, the plainest client there ever was."""
        payload = self._bundles / self._bundle / "payload"
        contract = feature_contract(payload)
        drift = front_end_drift(payload, contract)
        wrong = [rate for rate in WRONG_RATES_HZ if rate not in contract.accepted_rates_hz]
        return [
            check("front end as in the feature contract", "R6.2", drift is None, drift or "checksum and probe agree"),
            *(self._wrong_rate(rate) for rate in wrong if kind(self._policy.task).hears),
            *([self._previous_client()] if self._policy.task == "transcription" else []),
        ]

    def _wrong_rate(self, rate_hz: int) -> Check:
        with tempfile.NamedTemporaryFile(suffix=".wav", prefix="soundcheck-tone-") as file:
            file.write(_tone(rate_hz))
            file.flush()
            prompt = Prompt(Path(file.name))
            ways = {"a file": lambda: self._ask(0, [prompt])}
            if self._asker.streams:
                ways["a stream"] = lambda: self._stream(prompt, cadence=0.0)
            codes = {way: self._code_of(ask) for way, ask in ways.items()}
        said = ", ".join(f"{way} was answered {code}" for way, code in codes.items())
        return check(f"{rate_hz} Hz audio is refused", "R6.2", set(codes.values()) == {"unsupported_rate"}, said)

    @staticmethod
    def _code_of(ask: Callable[[], object]) -> str:
        try:
            ask()
        except ApiFailure as failure:
            return failure.code
        return "as if nothing were wrong"

    def _previous_client(self) -> Check:
        """R6.4: every kind of request that a client of the previous version makes, read as it reads."""
        client = PreviousClient(self._url, self._policy.family, self._door.key, prompt=self._marks[-1])
        path = self._prompts[0].path
        assert path is not None
        pcm, rate_hz = pcm_of(path)
        client.ask_everything(path.read_bytes(), pcm, rate_hz)
        said = "; ".join(client.complaints) or f"{client.requests} kinds of requests of API {VERSION} answered as then"
        return check("the previous client version is answered", "R6.4", not client.complaints, said)

    def budget_checks(
        self, warm: LoadFigures, long: LongUtterance | None, peak_memory_mb: float, cost: float
    ) -> list[Check]:
        """R6.3 against the serving budgets; exactly on budget passes (R4.4)."""
        budget, envelope = self._policy.serving, self._policy.envelope
        partial = warm.first_partial_ms
        rows = [
            ("final p95", warm.final_ms.p95, budget.final_p95_ms, "ms"),
            ("peak memory", peak_memory_mb, min(budget.peak_memory_mb, envelope.peak_memory_mb), "MB"),
            ("cost", cost, budget.cost_usd_per_audio_hour, "USD an audio hour"),
            ("failed requests", warm.failures, 0, f"of {warm.requests}"),
            ("retried requests", warm.retries, 0, f"of {warm.requests}"),
        ]
        if long is not None:
            rows.append(
                ("long utterance", long.final_ms / 1000, long.audio_s * budget.rtf, f"s for {long.audio_s:g} s")
            )
        if budget.first_partial_p95_ms is not None:
            measured = partial.p95 if partial else math.inf
            rows.append(("first partial p95", measured, budget.first_partial_p95_ms, "ms"))
        rows += _first_audio(warm, budget)
        return [
            check(name, "R6.3", value <= limit, f"{value:.4g} {unit}, budget {limit:.4g}")
            for name, value, limit, unit in rows
        ]

    def seconds_until_served_by(self, bundle: Digest) -> float:
        """From now until an answer names the bundle."""
        began = time.monotonic()
        while (served := self._ask(0).bundle) != bundle:
            if time.monotonic() - began > SWITCH_BOUND_S:
                raise DependencyFailed(
                    "the staged gateway does not switch", where="staging", got=served, expected=bundle,
                    next_step="look at the gateway's log",
                )  # fmt: skip
            time.sleep(0.02)
        return time.monotonic() - began


def _first_audio(warm: LoadFigures, budget: ServingGate) -> list[tuple[str, float, float, str]]:
    """What a policy asks of answers that are listened to; what was not measured is beyond every limit."""
    heard, played = warm.first_audio_ms, warm.underrun_share
    asked = (
        ("first audio p50", heard.p50 if heard else math.inf, budget.first_audio_p50_ms, "ms"),
        ("first audio p95", heard.p95 if heard else math.inf, budget.first_audio_p95_ms, "ms"),
        ("first audio p99", heard.p99 if heard else math.inf, budget.first_audio_p99_ms, "ms"),
        ("answers whose playback starves", math.inf if played is None else played, budget.underrun_share, "of all"),
    )
    return [(name, value, limit, unit) for name, value, limit, unit in asked if limit is not None]


def check(name: str, clause: str, fine: bool, said: str) -> Check:
    """A check that passed or failed, with what was seen."""
    return Check(
        name=name,
        clause=clause,
        verdict=Verdict(value=Value.PASS if fine else Value.FAIL, reasons=(f"{name}: {said}",)),
    )


def _written(home: Path) -> Iterator[bytes]:
    """Every file the gateway wrote; columns of Parquet files as text, because they are compressed."""
    for path in home.rglob("*"):
        inside = path.relative_to(home).parts
        if not path.is_file() or inside[0] in ("keys", "cache"):
            continue
        if path.suffix == ".parquet":
            yield pd.read_parquet(path).to_csv().encode()
        else:
            yield path.read_bytes()


def _counted(metrics: str, name: str) -> float:
    """A counter's sum over its labels."""
    from prometheus_client.parser import text_string_to_metric_families

    samples = (sample for family in text_string_to_metric_families(metrics) for sample in family.samples)
    return sum(sample.value for sample in samples if sample.name == name)


def _tone(rate_hz: int) -> bytes:
    content = io.BytesIO()
    seconds = np.arange(rate_hz) / rate_hz
    soundfile.write(content, 0.1 * np.sin(2 * np.pi * 440 * seconds), rate_hz, format="WAV", subtype="PCM_16")
    return content.getvalue()
