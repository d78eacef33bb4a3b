"""Rollbacks under load: from the start of `soundcheck rollback` to the instant from which the target answers everybody.

    python -m benchmarks.rollback [--json] [--quick]

A gateway serves a family of two bundles, the other one warm; probers send HTTP requests without a pause worth the name,
and streams are open at the pace of speech. Each rollback is the command in a process of its own (`--to`, there and back
again). What counts is the first instant after which every new request is answered by the target.

Boundary: a project, a home folder, a gateway and command processes of its own, removed afterwards.
Invariants: the load never stops between the first rollback and the last; set-up is outside the clock; requests that
fail, and versions of the route table under which two bundles answered, are counted. The releases behind the bundles are
those of the tests' rehearsals, where statistics and traffic are stand-ins; bundles, ledger, signatures, approvals,
pointer, gateway and command are the real ones. Without trained candidates the tests' engine stands in for the models,
and the settings say so.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from benchmarks import frame
from contracts.digest import Digest
from operations import keys, pointer
from serving.client import GATEWAY_COMMAND, ApiFailure, pcm_of, start_gateway, stream_async, transcribe_async
from serving.presence import followers

REPOSITORY = Path(__file__).resolve().parents[1]
ROLLBACKS, QUICK = 50, 4
PROBERS, STREAMS = 2, 2
PAUSE_S = 0.005
"""Between a prober's answer and its next request."""
SETTLE_S = 0.5
"""Load that goes on after a command has ended, before the next begins."""
PROOF_S = 60.0
"""How long a worker may take to be warm and proved before a rollback begins."""


@dataclass(frozen=True)
class Installed:
    """A family on disk with two bundles that were stable, by version; `clips` are WAV files to send."""

    models: str
    root: Path
    home: Path
    family: str
    bundles: Mapping[str, Digest]
    operator: str
    api_key: str
    clips: Sequence[Path]
    gateway: Sequence[str] = GATEWAY_COMMAND


@dataclass
class Seen:
    """What a client saw: when it sent and was done (monotonic s), each bundle that was named, the table's version."""

    sent: float
    done: float = 0.0
    bundles: frozenset[str] = frozenset()
    version: int | None = None
    failed: str = ""


@dataclass
class Load:
    """Clients that send until `stop`, in a thread of their own."""

    url: str
    installed: Installed
    requests: list[Seen] = field(default_factory=list)
    streams: list[Seen] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def running(self) -> Iterator[None]:
        """The clients, until the block ends."""
        thread = threading.Thread(target=lambda: asyncio.run(self._play()), name="load")
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    async def _play(self) -> None:
        async with httpx.AsyncClient(timeout=30, trust_env=False) as client:
            probers = [self._probe(client, place) for place in range(PROBERS)]
            streams = [self._stream(place) for place in range(STREAMS)]
            await asyncio.gather(*probers, *streams)

    async def _probe(self, client: httpx.AsyncClient, place: int) -> None:
        clip = self.installed.clips[place % len(self.installed.clips)].read_bytes()
        while not self._over.is_set():
            seen = Seen(time.monotonic())
            try:
                heard = await transcribe_async(
                    self.url, clip, self.installed.family, self.installed.api_key, client=client
                )
                seen.bundles, seen.version = frozenset({heard.bundle}), heard.route_version
            except (ApiFailure, httpx.HTTPError) as error:
                seen.failed = type(error).__name__
            seen.done = time.monotonic()
            self.requests.append(seen)
            await asyncio.sleep(PAUSE_S)

    async def _stream(self, place: int) -> None:
        pcm, rate_hz = pcm_of(self.installed.clips[place % len(self.installed.clips)])
        while not self._over.is_set():
            seen = Seen(time.monotonic())
            try:
                heard = await stream_async(
                    self.url, pcm, self.installed.family, self.installed.api_key, rate_hz=rate_hz, cadence=1.0
                )
                seen.bundles, seen.version = heard.bundles, heard.route_version
            except (ApiFailure, OSError) as error:
                seen.failed = type(error).__name__
            seen.done = time.monotonic()
            self.streams.append(seen)


@dataclass(frozen=True)
class Switch:
    """One rollback: when its command began and ended (monotonic s), and what it said."""

    target: Digest
    began: float
    ended: float
    said: Mapping[str, Any]


def measure(progress: frame.Progress) -> frame.Result:
    """Rollbacks of the reference family, or of the tests' engine where no model is trained."""
    trained = (REPOSITORY / "candidates" / "asr-commands" / "v2" / "candidate.yaml").is_file()
    return _measure(reference if trained else tiny, ROLLBACKS, progress)


def quick(progress: frame.Progress) -> frame.Result:
    """A few rollbacks of the tests' engine: whether it works, not what it is worth."""
    return _measure(tiny, QUICK, progress)


def _measure(install: Callable[[Path], Installed], count: int, progress: frame.Progress) -> frame.Result:
    with tempfile.TemporaryDirectory(prefix="soundcheck-rollback-") as folder:
        progress("releasing two bundles")
        return roll(install(Path(folder)), count, Path(folder) / "bytecode", progress)


def roll(installed: Installed, count: int, bytecode: Path, progress: frame.Progress) -> frame.Result:
    """Roll the family there and back so many times, and read the figures off."""
    environment = _environment(installed, bytecode)
    with start_gateway(installed.home, families=[installed.family], command=installed.gateway) as gateway:
        load = Load(gateway.base_url, installed)
        with load.running():
            _roll(installed, environment, -1)  # not counted: it writes the bytecode of the command line
            time.sleep(SETTLE_S)
            switches = []
            for number in range(count):
                switches.append(_roll(installed, environment, number))
                progress(f"rollback {number + 1} of {count}: {switches[-1].said['total_s']:.2f} s in the command")
                time.sleep(SETTLE_S)
    return frame.Result(settings=_settings(installed, switches), figures=_figures(load, switches))


def _environment(installed: Installed, bytecode: Path) -> dict[str, str]:
    """A person's environment in this project; compiled code is kept, as it is where the product was installed."""
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    paths = os.pathsep.join(filter(None, (str(REPOSITORY), clean.get("PYTHONPATH", ""))))
    return clean | {
        "SOUNDCHECK_ROOT": str(installed.root), "SOUNDCHECK_HOME": str(installed.home), "PYTHONPATH": paths,
        "PYTHONPYCACHEPREFIX": str(bytecode),
    }  # fmt: skip


def _roll(installed: Installed, environment: Mapping[str, str], number: int) -> Switch:
    """One rollback to the bundle that is not stable; it begins when that bundle is warm and proved."""
    version, target = _await_other(installed)
    words = ("rollback", installed.family, "--key", installed.operator, "--to", version)
    command = [sys.executable, "-m", "flows.cli", *words, "--reason", f"benchmark {number}", "--json"]
    began = time.monotonic()
    done = subprocess.run(command, cwd=installed.root, env=environment, capture_output=True, text=True, check=False)
    ended = time.monotonic()
    if done.returncode:
        raise RuntimeError(f"the rollback failed: {done.stderr}")
    return Switch(target, began, ended, json.loads(done.stdout))


def _await_other(installed: Installed) -> tuple[str, Digest]:
    """Version and bundle that is warm and proved everywhere, and not stable."""
    ends = time.monotonic() + PROOF_S
    while time.monotonic() < ends:
        said = list(followers(installed.home, installed.family).values())
        stable = {one["bundles"][0] for one in said if one["bundles"]}
        for version, bundle in installed.bundles.items():
            if len(stable) == 1 and bundle not in stable and all(bundle in one["proved"] for one in said):
                return version, bundle
        time.sleep(0.02)
    raise RuntimeError("no other bundle is warm and proved")


# ---- figures --------------------------------------------------------------------------------------------------------
def _figures(load: Load, switches: Sequence[Switch]) -> dict[str, frame.Figure]:
    seconds = [_switch_s(load.requests, switch, following) for switch, following in _pairs(switches)]
    everybody = [*load.requests, *load.streams]
    crossing = [
        seen for seen in load.streams if any(seen.sent < one.ended and seen.done > one.ended for one in switches)
    ]
    return {
        "switch_p50_s": frame.Figure(_quantile(seconds, 0.5), "s", "lower", seconds, must=1),
        "switch_p99_s": frame.Figure(_quantile(seconds, 0.99), "s", "lower", seconds, must=3),
        "failed_requests": frame.Figure(sum(bool(seen.failed) for seen in everybody), "requests", "lower", must=0),
        "mixed_requests": frame.Figure(mixed(everybody), "requests", "lower", must=0),
        "streams_over_a_switch": frame.Figure(len(crossing), "streams", "higher"),
        "command_p50_s": frame.median_of([one.ended - one.began for one in switches], "s", "lower"),
        "requests": frame.Figure(len(everybody), "requests", "higher"),
    }


def _pairs(switches: Sequence[Switch]) -> Iterator[tuple[Switch, float]]:
    """Each rollback, and when the next one began."""
    begins = [one.began for one in switches[1:]] + [math.inf]
    yield from zip(switches, begins, strict=True)


def _switch_s(requests: Sequence[Seen], switch: Switch, following: float) -> float:
    """Seconds from the command's start to the first request from which on all are answered by the target."""
    sent = sorted((seen for seen in requests if switch.began <= seen.sent < following), key=lambda seen: seen.sent)
    others = [place for place, seen in enumerate(sent) if seen.bundles != {switch.target}]
    first = others[-1] + 1 if others else 0
    if first >= len(sent):
        raise RuntimeError("the target never answered everybody")
    return sent[first].sent - switch.began


def mixed(seen: Sequence[Seen]) -> int:
    """Requests that name two bundles, or another one than the rest of their version of the table."""
    answered = [one for one in seen if not one.failed]
    two = sum(len(one.bundles) > 1 for one in answered)
    by_version: dict[int | None, Counter[frozenset[str]]] = {}
    for one in answered:
        by_version.setdefault(one.version, Counter())[one.bundles] += len(one.bundles) == 1
    return two + sum(sum(counts.values()) - max(counts.values()) for counts in by_version.values())


def _quantile(values: Sequence[float], share: float) -> float:
    return sorted(values)[max(math.ceil(share * len(values)) - 1, 0)]


def _settings(installed: Installed, switches: Sequence[Switch]) -> dict[str, Any]:
    return {
        "models": installed.models,
        "rollbacks": len(switches),
        "probers": PROBERS,
        "open_streams": STREAMS,
        "proved_by": dict(Counter(str(one.said["proved_by"]) for one in switches)),
    }


# ---- families -------------------------------------------------------------------------------------------------------
def reference(folder: Path) -> Installed:
    """asr-commands with the candidates v1 and v2, released one after the other."""
    from registry.store import open_store
    from tests.crash import rehearsal
    from tests.flows.release_project import FAMILY

    root = rehearsal.make_rehearsal_project(folder / "project")
    home = root / ".soundcheck"
    home.mkdir()
    context = rehearsal.open_rehearsal(root, home, open_store("file://store", home))
    rehearsal.make_keys(context)
    bundles = {}
    with rehearsal.remembered({}):
        for version in ("v1", "v2"):
            rehearsal.run_release(context, version)
            stable = pointer.current(context, FAMILY).stable
            assert stable is not None
            bundles[version] = stable
    clips = sorted((root / "data" / "packs" / "commands" / "audio").rglob("*.wav"))[:8]
    return Installed(
        "asr-commands v1 and v2", root, home, FAMILY, bundles, rehearsal.OPERATOR,
        keys.ensure_api_key(home, "benchmark"), clips,
    )  # fmt: skip


def tiny(folder: Path) -> Installed:
    """Two bundles of the tests' engine."""
    from tests.operations.gated_releases import FAMILY
    from tests.operations.tiny_family import CLIP, GATEWAY, OPERATOR, TinyFamily

    family = TinyFamily(folder / "project")
    family.promote("v1", "one")
    family.promote("v2", "two")
    clip = folder / "clip.wav"
    clip.write_bytes(CLIP)
    return Installed(
        "the tests' engine", family.root, family.home, FAMILY, family.bundles, OPERATOR, family.api_key, [clip], GATEWAY
    )


if __name__ == "__main__":
    frame.main(measure, quick=quick)
