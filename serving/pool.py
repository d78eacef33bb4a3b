"""Worker processes of one family: started, watched, restarted with backoff, drained and stopped.

Boundary: starts processes and talks to them over Unix sockets (serving/link.py); which workers are wanted is decided by
the router. Source: release-algorithm R7.5, R7.6, B5; fault 43.
Invariants: a worker that dies is started again, after a pause that doubles while it dies soon; an utterance that was
with it is heard once more, by itself, so that one which kills its worker takes no other with it; a stream ends with its
worker, because what it had heard is gone; while a worker keeps dying nobody waits for it; a worker that is no longer
wanted goes on until its requests and streams are done or `drain_s` has passed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

from contracts.digest import Digest, short
from contracts.errors import SoundcheckError
from contracts.policy import Task
from serving.bundles import Loaded
from serving.frames import Priority
from serving.link import MESSAGES, Answer, Hearing, Link, LinkStream, Said, ServingFailure, WorkerGone, connect
from serving.process import Death, WorkerSettings, environment, how
from speech.runtimes import Samples

log = logging.getLogger(__name__)

Answered = TypeVar("Answered")
Ask = Callable[[Link, float], Awaitable[Answered]]
"""What is asked over a link, within so many seconds."""
State = Literal["starting", "ready", "failed", "draining", "stopped"]

FIRST_BACKOFF_S = 0.25
LONGEST_BACKOFF_S = 15.0
HEALTHY_S = 30.0
"""A worker that lived this long starts again without a pause."""
CRASH_LOOP = 3
"""After so many processes in a row that died without an answer, requests are refused while none is there."""

_POLL_S = 0.02
_KILL_AFTER_S = 5.0


class Speech:
    """A text that is being said; `died` workers died before its first chunk."""

    def __init__(self, stream: LinkStream, died: int) -> None:
        self._stream = stream
        self.died = died

    async def next(self) -> Said:
        """A Chunk, or Spoken at the end; raises what LinkStream.next raises."""
        return await self._stream.next()


class Worker:
    """One bundle's process and the requests that use it."""

    def __init__(
        self,
        digest: Digest,
        fetch: Callable[[], Awaitable[Loaded]],
        settings: WorkerSettings,
        on_death: Callable[[], None],
    ) -> None:
        self.digest = digest
        self.state: State = "starting"
        self.error = ""
        self.restarts = 0
        self.deaths: Counter[Death] = Counter()
        self.bundle: Loaded | None = None
        self.facts: dict[str, Any] = {}
        self.withdrawn = asyncio.Event()
        """Set when a route table closes this bundle: its open streams end at once, as `withdrawn` (R7.6)."""
        self._fetch = fetch
        self._settings = settings
        self._on_death = on_death
        self._link: Link | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._ready = asyncio.Event()
        self._suspects = asyncio.Lock()
        self._died_mute = 0
        self._holds = 0
        self._waiters = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._retiring: asyncio.Task[None] | None = None
        self._task = asyncio.create_task(self._supervise())

    # ---- use ----------------------------------------------------------------------------------------------------
    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Keep the worker from being stopped while a request or stream uses it."""
        self._holds += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._holds -= 1
            if not self._holds:
                self._idle.set()

    @property
    def running(self) -> bool:
        """Whether its process is there."""
        return self._process is not None and self._process.returncode is None

    @property
    def holds(self) -> int:
        """Requests and streams that use this worker."""
        return self._holds

    async def description(self, deadline_s: float) -> Loaded:
        """The bundle, waiting for a worker that is being restarted."""
        if self.bundle is None:
            await self._linked(deadline_s)
        assert self.bundle is not None
        return self.bundle

    @property
    def load(self) -> float:
        """How full its interactive queue was when it last answered, in [0, 1]."""
        return self._link.load if self._link is not None else 0.0

    @property
    def task(self) -> Task:
        """What its model does, as far as it has said."""
        task: Task = self.facts.get("task", "transcription")
        return task

    async def hear(
        self, operation: Hearing, samples: Samples, *, deadline_s: float, priority: Priority = "interactive"
    ) -> Answer:
        """One recording; when the worker dies over it, once more on the next process. Raises ServingFailure."""

        async def once(link: Link, within_s: float) -> Answer:
            return await link.hear(operation, samples, deadline_s=within_s, priority=priority)

        answer, died = await self._twice(once, deadline_s)
        return answer._replace(worker_died=died, retries=died)

    async def transcribe(self, samples: Samples, *, deadline_s: float, priority: Priority = "interactive") -> Answer:
        """The transcript of one utterance; raises what `hear` raises."""
        return await self.hear("transcribe", samples, deadline_s=deadline_s, priority=priority)

    @contextlib.asynccontextmanager
    async def speak(self, text: str, *, deadline_s: float, priority: Priority = "interactive") -> AsyncIterator[Speech]:
        """A text being said, from its first chunk on; while there is none, a worker that dies is asked once more.

        Raises ServingFailure; `next` of what comes afterwards also WorkerGone.
        """
        async with contextlib.AsyncExitStack() as stack:

            async def once(link: Link, within_s: float) -> LinkStream:
                speech = link.speech(text, deadline_s=within_s, priority=priority)
                stream = await stack.enter_async_context(speech)
                try:
                    async with asyncio.timeout(within_s):
                        await stream.peek()
                except TimeoutError:
                    raise ServingFailure("deadline", MESSAGES["deadline"]) from None
                return stream

            yield Speech(*await self._twice(once, deadline_s))

    async def _twice(
        self, once: Callable[[Link, float], Awaitable[Answered]], deadline_s: float
    ) -> tuple[Answered, int]:
        """What is answered within so many seconds, and how many workers died over it (0 or 1); ServingFailure."""
        ends = time.monotonic() + deadline_s
        try:
            return await self._once(once, ends), 0
        except WorkerGone:
            pass
        try:
            # One of those that were with the worker may have killed it: they are tried again one by one.
            async with asyncio.timeout(max(ends - time.monotonic(), 0)), self._suspects:
                return await self._once(once, ends), 1
        except TimeoutError:
            raise _after_death(ServingFailure("deadline", MESSAGES["deadline"])) from None
        except ServingFailure as failure:
            raise _after_death(failure) from None
        except WorkerGone:
            raise _after_death(ServingFailure("internal", "the worker died twice over this request"), died=2) from None

    async def _once(self, once: Ask[Answered], ends: float) -> Answered:
        link = await self._linked(ends - time.monotonic())
        try:
            return await once(link, ends - time.monotonic())
        except WorkerGone:
            self._lost(link)
            raise

    async def stream(self, *, deadline_s: float, priority: Priority = "interactive", tenant: str = "") -> LinkStream:
        """A new stream, or a turn of a tenant's user, not yet entered; raises ServingFailure."""
        return (await self._linked(deadline_s)).stream(deadline_s=deadline_s, priority=priority, tenant=tenant)

    async def statistics(self) -> dict[str, Any]:
        """Queue and memory figures, {} from a worker that does not answer."""
        if self._link is None:
            return {}
        with contextlib.suppress(WorkerGone, ServingFailure):
            answer = await self._link.statistics()
            return {name: value for name, value in answer.items() if name not in ("op", "id")}
        return {}

    def _lost(self, link: Link) -> None:
        """Whoever notices first that a link has closed keeps the others from using it."""
        if self._link is link:
            self._link = None
            self._ready.clear()

    async def _linked(self, deadline_s: float) -> Link:
        if self._link is not None:
            return self._link
        self._refuse_crash_loop()
        if self._waiters >= self._settings.limits.interactive:
            raise ServingFailure("overloaded", "too many requests wait for a worker that is starting")
        self._waiters += 1
        try:
            async with asyncio.timeout(max(deadline_s, 0)):
                while self._link is None:
                    await self._ready.wait()
                    self._refuse_crash_loop()
        except TimeoutError:
            raise ServingFailure("deadline", "the worker was not ready within the deadline") from None
        finally:
            self._waiters -= 1
        return self._link

    def _refuse_crash_loop(self) -> None:
        if self._link is None and self._died_mute >= CRASH_LOOP:
            raise ServingFailure("internal", "the worker of this bundle keeps dying")

    # ---- life ---------------------------------------------------------------------------------------------------
    async def _supervise(self) -> None:
        pause_s = 0.0
        while True:
            began = time.monotonic()
            try:
                await self._live()
            except Exception as error:
                # Whatever it was, the next try may do better; a supervisor that ends would leave the bundle dead.
                self.error = _line(error)
            finally:
                self._down()
            if self.state == "stopped":
                return
            self.restarts += 1
            self._died_mute += 1
            if self._died_mute >= CRASH_LOOP:
                # Wakes whoever waits, to be refused.
                self._ready.set()
                self._ready.clear()
            self._on_death()
            lived_s = time.monotonic() - began
            pause_s = 0.0 if lived_s > HEALTHY_S else min(max(pause_s * 2, FIRST_BACKOFF_S), LONGEST_BACKOFF_S)
            log.warning("worker of %s ended (%s); again in %.2f s", short(self.digest), self.error, pause_s)
            await asyncio.sleep(pause_s)

    async def _live(self) -> None:
        """One process, from start to end."""
        # Anew for every process: a copy in the cache that a worker has refused is replaced from the store.
        self.bundle = await self._fetch()
        began = time.monotonic()
        settings = self._settings
        path = settings.sockets / f"{short(self.digest)}-{self.restarts}.sock"
        with tempfile.TemporaryFile() as digests:
            digests.write(json.dumps(dict(self.bundle.payload)).encode())
            digests.seek(0)
            self._process = await asyncio.create_subprocess_exec(
                *settings.command,
                *("--bundle", str(self.bundle.folder), "--socket", str(path), "--threads", str(settings.threads)),
                *("--queue-limit", str(settings.limits.interactive), "--batch-queue-limit", str(settings.limits.batch)),
                *("--stream-limit", str(settings.limits.streams), "--max-batch", str(settings.limits.max_batch)),
                *("--batch-wait-ms", str(settings.limits.batch_wait_s * 1000)),
                *("--drain", str(settings.drain_s), "--parent", str(os.getpid())),
                env=environment(settings.threads),
                stdin=digests,
                stdout=asyncio.subprocess.DEVNULL,
                # A Ctrl+C in a terminal is the gateway's business: it drains first, then ends its workers.
                start_new_session=True,
            )
        link = self._link = await self._first_contact(path)
        link.usd_per_s = self.bundle.cost_usd_per_s
        self.facts = {
            **{name: value for name, value in (await link.ready).items() if name != "op"},
            "cold_start_ms": (time.monotonic() - began) * 1000,
        }
        self.state, self.error = "ready", ""
        self._ready.set()
        await link.closed
        died, self.error = how(await self._process.wait())
        self.deaths[died] += 1
        if link.has_answered:
            self._died_mute = 0

    async def _first_contact(self, path: Path) -> Link:
        assert self._process is not None
        async with asyncio.timeout(self._settings.start_s):
            while self._process.returncode is None:
                if path.exists():
                    with contextlib.suppress(ConnectionError, FileNotFoundError):
                        return await connect(path)
                await asyncio.sleep(_POLL_S)
        died, said = how(self._process.returncode)
        self.deaths[died] += 1
        raise WorkerGone(f"{said} before it was ready")

    def _down(self) -> None:
        self._ready.clear()
        self._link = None
        self.state = "failed" if self.state != "stopped" else "stopped"
        if self._process is not None and self.running:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    def want(self) -> None:
        """Somebody routes here again: a retirement that has not stopped the process yet is called off."""
        self.withdrawn.clear()
        if self._retiring is not None:
            self._retiring.cancel()
            self._retiring = None
            self.state = "ready" if self._link is not None else "starting"

    def retire(self, on_leaving: Callable[[Worker], None]) -> None:
        """Let open work finish (at most `drain_s`), then stop the process; `on_leaving` is the point of no return."""
        if self._retiring is None:
            self.state = "draining"
            self._retiring = asyncio.create_task(self._retire(on_leaving))

    async def _retire(self, on_leaving: Callable[[Worker], None]) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.drain_s):
                await self._idle.wait()
        on_leaving(self)
        await self.stop()

    async def stop(self) -> None:
        """End the process: SIGTERM, and SIGKILL where that does not help."""
        process, self.state = self._process, "stopped"
        if process is not None and self.running:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_KILL_AFTER_S):
                    await process.wait()
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task


def _after_death(failure: ServingFailure, *, died: int = 1) -> ServingFailure:
    failure.worker_died, failure.retries = died, 1
    return failure


def _line(error: BaseException) -> str:
    if isinstance(error, SoundcheckError):
        return error.what
    return str(error) if isinstance(error, WorkerGone) else type(error).__name__


class Pool:
    """The workers of one family, by bundle."""

    def __init__(
        self,
        fetch: Callable[[Digest], Awaitable[Loaded]],
        settings: WorkerSettings,
        on_death: Callable[[Digest], None] = lambda _: None,
    ) -> None:
        self._fetch = fetch
        self._settings = settings
        self._on_death = on_death
        self._workers: dict[Digest, Worker] = {}
        self._leaving: set[Worker] = set()

    def want(self, digests: Iterable[Digest]) -> None:
        """Start the workers that are not running yet."""
        for digest in digests:
            if digest in self._workers:
                self._workers[digest].want()
            else:
                fetch, on_death = partial(self._fetch, digest), partial(self._on_death, digest)
                self._workers[digest] = Worker(digest, fetch, self._settings, on_death)

    def withdraw(self, digests: Iterable[Digest]) -> None:
        """End the open streams on these bundles (R7.6); each stream watches its worker's `withdrawn`."""
        for digest in digests:
            if digest in self._workers:
                self._workers[digest].withdrawn.set()

    def ready(self, digests: Iterable[Digest]) -> bool:
        """Whether all of these answer now."""
        return all(digest in self._workers and self._workers[digest].state == "ready" for digest in digests)

    def keep(self, digests: Iterable[Digest]) -> None:
        """Retire the workers of every other bundle."""
        kept = set(digests)
        for digest, worker in self._workers.items():
            if digest not in kept:
                worker.retire(self._leave)

    def _leave(self, worker: Worker) -> None:
        del self._workers[worker.digest]
        self._leaving = {other for other in self._leaving if other.running} | {worker}

    def worker(self, digest: Digest) -> Worker:
        """The worker of a bundle that is wanted."""
        return self._workers[digest]

    def bundle(self, digest: Digest) -> Loaded | None:
        """What is known of a bundle that has a worker here, None of any other."""
        worker = self._workers.get(digest)
        return worker.bundle if worker else None

    def workers(self) -> list[Worker]:
        """All of them."""
        return list(self._workers.values())

    async def close(self) -> None:
        """Stop every worker now."""
        await asyncio.gather(*(worker.stop() for worker in (*self._workers.values(), *self._leaving)))
