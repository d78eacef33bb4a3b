"""The golden proof on warm workers: each new worker process is asked its bundle's own fixtures (B5, R6.1).

So a rollback to a warm bundle need not start a process to prove it: the one that will answer users has been proved.

Boundary: a family's workers and their bundles' folders; what was proved is announced by the gateway
(serving/presence.py, /v1/status).
Invariants: a proof is of one process: it ends with it, and its successor is proved anew; fixtures are asked in the
batch class, behind what users wait for; a worker that could not be asked is asked again later; no text is kept.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, NamedTuple

from contracts.digest import Digest, short
from contracts.errors import SoundcheckError
from registry.tombstones import noted
from serving.direct import answer
from serving.golden import Proof, compare, prompts, read_golden
from serving.link import ServingFailure, WorkerGone
from serving.pool import Worker
from serving.router import Family

log = logging.getLogger(__name__)

LOOK_S = 0.1
"""Between two looks for workers that are not proved."""
AGAIN_S = 5.0
"""Before a worker that could not be asked is asked again."""
DEADLINE_S = 60.0
"""For one fixture."""


class _Proved(NamedTuple):
    """A proof (None: the bundle has no fixtures) of one process, and when; or when to try again (monotonic)."""

    pid: int
    proof: Proof | None = None
    at: str = ""
    again: float | None = None


class Prover:
    """Proves the workers of families as they become ready; `on_change` is called when a proof was made."""

    def __init__(self, families: Iterable[Family], on_change: Callable[[], None]) -> None:
        self._families = list(families)
        self._on_change = on_change
        self._proved: dict[tuple[str, Digest], _Proved] = {}

    async def watch(self) -> None:
        """Prove what is not proved yet, for ever, one worker at a time."""
        while True:
            for family in self._families:
                for worker in family.pool.workers():
                    if self._is_due(family.name, worker):
                        await self._prove(family.name, worker)
            await asyncio.sleep(LOOK_S)

    def proofs(self, family: Family) -> dict[Digest, dict[str, Any]]:
        """{bundle: {equal, expected, erased, at}} of the processes that answer now."""
        found = {}
        for worker in family.pool.workers():
            known = self._proved.get((family.name, worker.digest))
            if known and known.proof and _pid(worker) == known.pid:
                equal, expected, _, erased = known.proof
                found[worker.digest] = {"equal": equal, "expected": expected, "erased": erased, "at": known.at}
        return found

    def _is_due(self, family: str, worker: Worker) -> bool:
        pid, known = _pid(worker), self._proved.get((family, worker.digest))
        if pid is None:
            return False
        if known is None or known.pid != pid:
            return True
        return known.again is not None and time.monotonic() > known.again

    async def _prove(self, family: str, worker: Worker) -> None:
        pid = _pid(worker)
        assert pid is not None
        try:
            proof = await _hear(worker)
        except (ServingFailure, WorkerGone) as error:
            log.info("bundle %s could not be asked for its golden outputs: %s", short(worker.digest), error)
            result = _Proved(pid, again=time.monotonic() + AGAIN_S)
        except FileNotFoundError:
            result = _Proved(pid)  # a bare payload under test has no fixtures
        except Exception as error:
            # Whatever is wrong with one bundle's fixtures, the others are proved.
            what = error.what if isinstance(error, SoundcheckError) else type(error).__name__
            log.warning("bundle %s cannot be proved by its golden outputs: %s", short(worker.digest), what)
            result = _Proved(pid)
        else:
            result = _Proved(pid, proof, datetime.now(UTC).isoformat(timespec="milliseconds"))
            if proof.different:
                log.error("PAGE: %s: bundle %s differs from its golden outputs", family, short(worker.digest))
        if _pid(worker) == pid:  # else a new process answers, which proves nothing about the one that was asked
            self._proved[family, worker.digest] = result
            self._on_change()


def _pid(worker: Worker) -> int | None:
    """The process that answers for a worker, None while there is none."""
    return worker.facts.get("pid") if worker.state == "ready" else None


async def _hear(worker: Worker) -> Proof:
    """What the worker says to each fixture, compared."""
    bundle = worker.bundle
    assert bundle is not None
    golden = await asyncio.to_thread(read_golden, bundle.folder)
    with worker.hold():
        said = [await answer(worker, bundle, prompt, DEADLINE_S) for prompt in prompts(golden, bundle.folder)]
    proof = await asyncio.to_thread(compare, golden, said)
    return proof._replace(erased=len(noted(bundle.folder)))
