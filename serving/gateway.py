"""The gateway process: the production API over the workers that the route tables ask for.

    python -m serving.gateway --home HOME --port P [--store URL] [--family NAME ...] [--serve FAMILY=BUNDLE ...]

Boundary: the composition root of serving/. Reads HOME/api_keys.json, the store, HOME/cache/bundles; writes
HOME/telemetry, HOME/run/gateways/PID.json, HOME/keys/telemetry.salt and the ready file. Loopback by default.
Invariants: one uvicorn server, no access log; SIGTERM stops accepting, lets open work finish, then stops the workers.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import re
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import uvicorn

from contracts.digest import Digest
from contracts.errors import DependencyFailed, SoundcheckError, WrongCall
from contracts.policy import RateLimit, ServingSettings
from contracts.routing import POINTERS
from contracts.serving_api import MAX_FRAME_BYTES
from registry.bundle import cached_bundle
from registry.store import Store, open_store
from serving.api import Api
from serving.bundles import Loaded, describe, given
from serving.calls import Desk
from serving.closing import LingeringProtocol
from serving.exposition import Exposition
from serving.ingress import Keys, Pseudonyms, salt
from serving.lifetime import end_with_parent
from serving.limits import Limiter
from serving.live import Live
from serving.metrics import Metrics
from serving.objectives import Objectives
from serving.planting import Planting, refuse_production
from serving.presence import announce, withdraw
from serving.process import WORKER_COMMAND, WorkerSettings
from serving.proving import Prover
from serving.queues import Limits
from serving.router import Family, pinned
from serving.shadow import Shadow
from serving.telemetry import Recorder
from serving.tracing import Tracer
from serving.windows import Windows

log = logging.getLogger(__name__)

_DRAIN_LOOK_S = 0.05

_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Settings:
    """How a gateway runs; seconds, counts.

    `serve` pins families to a bundle's folder or digest; `latency_budgets` and `first_audio_budgets` are (family,
    milliseconds, share of answers that take no longer); `traces` is an OTLP/HTTP collector; `plant` a file of faults
    (serving/planting.py); `parent` is a process whose death ends this one (0: none).
    """

    home: Path
    families: tuple[str, ...] = ()
    serve: tuple[tuple[str, str], ...] = ()
    store_url: str = "file://store"
    pointers: str = POINTERS
    host: str = "127.0.0.1"
    port: int = 0
    ready_file: Path | None = None
    poll_s: float = 0.2
    queue_limit: int = 16
    batch_queue_limit: int = 64
    stream_limit: int = 64
    max_batch: int = 8
    batch_wait_ms: float = 0.0
    no_partials_at: float | None = None
    rate: RateLimit | None = None
    traces: str | None = None
    availability: float = Objectives().availability
    latency_budgets: tuple[tuple[str, float, float], ...] = ()
    first_audio_budgets: tuple[tuple[str, float, float], ...] = ()
    deadline_s: float = 30.0
    drain_s: float = 30.0
    worker_start_s: float = 60.0
    threads: int = 1
    plant: Path | None = None
    parent: int = 0
    worker_command: Sequence[str] = WORKER_COMMAND

    def objectives(self) -> dict[str, Objectives]:
        """What each family promises."""
        times: dict[str, dict[str, float]] = {}
        for family, limit_ms, share in self.latency_budgets:
            times.setdefault(family, {}).update(latency_ms=limit_ms, latency_share=share)
        for family, limit_ms, share in self.first_audio_budgets:
            times.setdefault(family, {}).update(first_audio_ms=limit_ms, first_audio_share=share)
        families = (*self.families, *(family for family, _ in self.serve))
        return {family: Objectives(self.availability, **times.get(family, {})) for family in families}


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(text)
    temporary.rename(path)


class Gateway:
    """Everything one gateway process holds."""

    def __init__(self, settings: Settings, sockets: Path) -> None:
        self.settings = settings
        home = settings.home
        self._store: Store | None = None
        self._url = ""
        self._pinned: dict[str, Path | Digest] = {}
        for family, bundle in settings.serve:
            self._pinned[family] = bundle if _DIGEST.fullmatch(bundle) else Path(bundle)
        promised = settings.objectives()
        self.metrics = Metrics(promised)
        self.recorder = Recorder(home / "telemetry")
        self.windows = Windows(promised)
        self.tracer = Tracer(settings.traces) if settings.traces else None
        workers = WorkerSettings(
            sockets=sockets,
            command=settings.worker_command,
            threads=settings.threads,
            limits=Limits(
                interactive=settings.queue_limit,
                batch=settings.batch_queue_limit,
                streams=settings.stream_limit,
                max_batch=settings.max_batch,
                batch_wait_s=settings.batch_wait_ms / 1000,
            ),
            drain_s=settings.drain_s,
            start_s=settings.worker_start_s,
        )
        self._given: dict[Digest, Loaded] = {}
        self.families = {
            name: Family(name, self._fetch, workers, self.metrics, self._announce, settings.pointers)
            for name in dict.fromkeys((*settings.families, *self._pinned))
        }
        self.desk = Desk(
            families=self.families,
            keys=Keys(home / "api_keys.json"),
            pseudonyms=Pseudonyms(salt(home / "keys" / "telemetry.salt")),
            recorder=self.recorder,
            metrics=self.metrics,
            windows=self.windows,
            tracer=self.tracer,
            deadline_s=settings.deadline_s,
            limiter=Limiter(settings.rate),
            no_partials_at=settings.no_partials_at,
            planting=Planting(settings.plant) if settings.plant else None,
        )
        self.shadow = Shadow(self.desk)
        # A staged replay proves for itself, and a proof beside it would be in its timings.
        followed = settings.families if settings.pointers == POINTERS else ()
        self.prover = Prover((self.families[name] for name in followed if name not in self._pinned), self._announce)
        self.live = Live(self.desk, home, lambda: self._url, self._store_of)
        self.api = Api(self.desk, self.shadow, Exposition(self.desk, home), self.live, self._status)
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def store(self) -> Store:
        """The installation's store, opened when it is first needed."""
        if self._store is None:
            self._store = open_store(self.settings.store_url, self.settings.home)
        return self._store

    def _store_of(self, family: str) -> Callable[[], Store] | None:
        """What the ledger of a family is read from; a pinned or rehearsed one has none."""
        production = family not in self._pinned and self.settings.pointers == POINTERS
        return (lambda: self.store) if production else None

    async def _fetch(self, digest: Digest) -> Loaded:
        """A bundle on disk, from the verified cache unless it was given as a folder."""
        if digest in self._given:
            return self._given[digest]
        folder, manifest = await asyncio.to_thread(cached_bundle, self.store, digest, self.settings.home / "cache")
        return await asyncio.to_thread(describe, folder, digest, manifest)

    def start(self, url: str) -> None:
        """Begin to follow the pointers."""
        self._url = url
        poll_s = self.settings.poll_s
        for name, bundle in self._pinned.items():
            self.families[name].aim(
                pinned(name, bundle if isinstance(bundle, str) else self._given_folder(name, bundle))
            )
            self._tasks.append(asyncio.create_task(self.families[name].prepare(poll_s)))
        for name, family in self.families.items():
            if name not in self._pinned:
                self._tasks.append(asyncio.create_task(family.follow(self.store, poll_s)))
        self._tasks.append(asyncio.create_task(self.prover.watch()))
        if self.desk.planting is not None:
            self._tasks.append(asyncio.create_task(self.desk.planting.watch()))
        self._announce()

    def _given_folder(self, family: str, folder: Path) -> Digest:
        loaded = given(folder, family)
        self._given[loaded.digest] = loaded
        return loaded.digest

    def _announce(self) -> None:
        following = {name: family for name, family in self.families.items() if name not in self._pinned}
        if not following:
            return
        for family in following.values():
            self.live.saw(family)
        said = {
            name: {
                "version": family.table.version if family.table else -1,
                "bundles": list(family.table.bundles()) if family.table else [],
                "proved": self.prover.proofs(family),
            }
            for name, family in following.items()
        }
        try:
            announce(self.settings.home, self._url, said)
        except OSError as error:
            log.error("HOME/run/gateways could not be written: %s", type(error).__name__)

    @property
    def busy(self) -> bool:
        """Whether a request or stream is under way."""
        return any(worker.holds for family in self.families.values() for worker in family.pool.workers())

    async def _status(self) -> dict[str, Any]:
        return {
            "pid": os.getpid(),
            "url": self._url,
            "telemetry": {"written": self.recorder.written, "dropped": self.recorder.dropped},
            "families": {
                name: {**await _with_statistics(family), "proved": self.prover.proofs(family)}
                for name, family in self.families.items()
            },
        }

    async def stop(self) -> None:
        """Stop following, stop the workers, write the last telemetry."""
        for task in self._tasks:
            task.cancel()
        await self.shadow.close()
        await self.api.uploads.cascade.close()
        await self.desk.close()
        await asyncio.gather(*(family.pool.close() for family in self.families.values()))
        await asyncio.to_thread(self.recorder.close)
        if self.tracer is not None:
            await asyncio.to_thread(self.tracer.close)
        withdraw(self.settings.home)


async def _with_statistics(family: Family) -> dict[str, Any]:
    report = family.report()
    for worker in family.pool.workers():
        report["workers"][worker.digest].update(await worker.statistics())
    return report


def _bind(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise DependencyFailed(
            "the gateway's port cannot be had",
            where=f"{host}:{port}",
            got=error.strerror or str(error),
            expected="a free port",
            next_step="stop what listens there, or name another with --port (0 takes a free one)",
        ) from None
    return listener


class _Server(uvicorn.Server):
    """Uvicorn, with the signals left to the gateway."""

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        yield


async def serve(settings: Settings) -> None:
    """Run a gateway until SIGTERM or SIGINT."""
    listener = _bind(settings.host, settings.port)
    port = listener.getsockname()[1]
    url = f"http://{settings.host}:{port}"
    with tempfile.TemporaryDirectory(prefix="soundcheck-") as sockets:
        gateway = Gateway(settings, Path(sockets))
        server = _Server(
            uvicorn.Config(
                gateway.api.application(),
                log_config=None,
                access_log=False,
                lifespan="off",
                server_header=False,
                ws=LingeringProtocol,
                ws_max_size=MAX_FRAME_BYTES,
                ws_per_message_deflate=False,
                timeout_graceful_shutdown=int(settings.drain_s) + 1,
            )
        )
        loop = asyncio.get_running_loop()
        asked = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, asked.set)
        leaving = asyncio.create_task(_leave(asked, gateway, server))
        try:
            gateway.start(url)
            if settings.ready_file is not None:
                _replace(settings.ready_file, json.dumps({"url": url, "port": port, "pid": os.getpid()}))
            await server.serve(sockets=[listener])
        finally:
            leaving.cancel()
            await gateway.stop()


async def _leave(asked: asyncio.Event, gateway: Gateway, server: uvicorn.Server) -> None:
    """When asked to stop: take no new connection, let open requests and streams finish, then end the server."""
    await asked.wait()
    for listening in server.servers:
        listening.close()
    ends = time.monotonic() + gateway.settings.drain_s
    while gateway.busy and time.monotonic() < ends:
        await asyncio.sleep(_DRAIN_LOOK_S)
    server.should_exit = True


def _pin(text: str) -> tuple[str, str]:
    family, separator, bundle = text.partition("=")
    if not (family and separator and bundle):
        raise argparse.ArgumentTypeError(f"{text!r} is not FAMILY=BUNDLE")
    return family, bundle


def _budget(text: str) -> tuple[str, float, float]:
    try:
        family, promise = text.split("=")
        budget_ms, share = map(float, promise.split("@"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not FAMILY=MS@SHARE") from None
    return family, budget_ms, share


def _rate(text: str) -> RateLimit:
    try:
        per_s, burst = text.split(":")
        return RateLimit(per_s=float(per_s), burst=int(burst))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not PER_S:BURST") from None


def options_of(settings: ServingSettings) -> list[str]:
    """The options that run a gateway with these settings, which params.yaml calls `serving`."""
    words: list[str] = []
    for name, value in settings:
        if value is not None:
            said = f"{value.per_s:g}:{value.burst}" if isinstance(value, RateLimit) else str(value)
            words += [f"--{name.replace('_', '-')}", said]
    return words


def settings_from(arguments: Sequence[str] | None) -> Settings:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m serving.gateway", description="Serve the production API.")
    parser.add_argument("--home", type=Path, required=True, help="the installation's folder")
    parser.add_argument("--family", action="append", default=[], help="a family whose pointer is followed")
    parser.add_argument("--serve", action="append", default=[], type=_pin, help="FAMILY=BUNDLE: without a pointer")
    parser.add_argument("--store", default=Settings.store_url, help="where the store is")
    parser.add_argument("--pointers", default=Settings.pointers, help="prefix of the pointers that are followed")
    parser.add_argument("--host", default=Settings.host)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--ready-file", type=Path, help="written with url, port and pid once the port is bound")
    for name, kind in (
        ("poll_s", float), ("queue_limit", int), ("batch_queue_limit", int), ("stream_limit", int),
        ("max_batch", int), ("batch_wait_ms", float), ("deadline_s", float), ("drain_s", float),
        ("worker_start_s", float), ("threads", int), ("parent", int),
    ):  # fmt: skip
        parser.add_argument("--" + name.replace("_", "-"), type=kind, default=getattr(Settings, name))
    parser.add_argument(
        "--no-partials-at", type=float, help="share of a full queue from which streams send finals alone"
    )
    parser.add_argument("--rate", type=_rate, help="PER_S:BURST: how often each key may ask")
    parser.add_argument("--plant", type=Path, help="file of planted faults: for drills, on this machine alone")
    parser.add_argument("--traces", help="OTLP/HTTP collector that gets spans, like http://localhost:4318")
    parser.add_argument(
        "--availability", type=float, default=Settings.availability, help="share of requests that must be answered"
    )
    parser.add_argument(
        "--latency-budget", action="append", default=[], type=_budget, help="FAMILY=MS@SHARE: answers are that fast"
    )
    parser.add_argument(
        "--first-audio-budget", action="append", default=[], type=_budget, help="FAMILY=MS@SHARE: speech begins so soon"
    )
    options = vars(parser.parse_args(arguments))
    return Settings(
        families=tuple(options.pop("family")),
        serve=tuple(options.pop("serve")),
        latency_budgets=tuple(options.pop("latency_budget")),
        first_audio_budgets=tuple(options.pop("first_audio_budget")),
        store_url=options.pop("store"),
        **options,
    )


def main(arguments: Sequence[str] | None = None, *, worker_command: Sequence[str] = WORKER_COMMAND) -> int:
    """Run a gateway; the exit status (0, or that of the error)."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    for noisy in ("uvicorn", "asyncio", "websockets"):
        # Their errors come with tracebacks that may quote a request; this code logs its own.
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
    import uvloop

    # How long the telemetry thread may hold up a request; the interpreter's own 5 ms are most of what a request takes.
    sys.setswitchinterval(0.0005)
    settings = replace(settings_from(arguments), worker_command=tuple(worker_command))
    if settings.parent:
        end_with_parent(settings.parent)
    try:
        if settings.plant:
            refuse_production(settings.host, settings.store_url)
        if not (settings.families or settings.serve):
            raise WrongCall("the gateway has nothing to serve", expected="--family NAME or --serve FAMILY=BUNDLE")
        uvloop.run(serve(settings))
    except SoundcheckError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
