"""Routing: each family's table, followed from its pointer, and the workers that table needs.

Boundary: reads pointers through the store it is handed; the decision for one request is contracts.routing.route.
Source: release-algorithm R7, R9, B5; house.md "The way data flows"; coverage rows 23 and 29.
Invariants: a table is served only once every bundle it routes to has a worker that answers; until then the old table
serves; a request or stream ends on the worker it began with, unless its bundle was closed: from the moment that a table
says so, nobody new reaches that bundle and its open streams end (R7.6); the pointer is the only authority; a store that
is away changes nothing; versions only grow: a table that is older than one that was seen here, or than one the ledger
has settled, is refused, so that an old valid table cannot be presented as the newest (fault 24).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from contracts.digest import Digest
from contracts.errors import Refused, SoundcheckError
from contracts.policy import Task
from contracts.routing import POINTERS, Route, RouteTable, pointer_name, route
from registry.ledger import Ledger
from registry.store import Store
from serving.bundles import Loaded
from serving.link import ServingFailure
from serving.metrics import Metrics
from serving.pool import Pool, Worker
from serving.process import WorkerSettings

log = logging.getLogger(__name__)


def routed(table: RouteTable) -> tuple[Digest, ...]:
    """The bundles that requests can reach, shadow included: those a switch waits for. `warm` ones start beside."""
    return table.model_copy(update={"warm": ()}).bundles()


def pinned(family: str, bundle: Digest) -> RouteTable:
    """The table of a family that is served without a pointer (staging, R6): version 0, all to one bundle."""
    return RouteTable(
        family=family,
        version=0,
        stable=bundle,
        ledger_sequence=0,
        ledger_head="0" * 64,
        moved_at="",
        actor="gateway",
        reason="pinned when the gateway was started",
    )


class Family:
    """One family: the table that is served, the one that is being prepared, the workers of both."""

    def __init__(
        self,
        name: str,
        fetch: Callable[[Digest], Awaitable[Loaded]],
        settings: WorkerSettings,
        metrics: Metrics,
        on_change: Callable[[], None],
        pointers: str = POINTERS,
    ) -> None:
        self.name = name
        self._pointer = pointer_name(name, pointers)
        self._production = pointers == POINTERS
        self._ledger: Ledger | None = None
        self.table: RouteTable | None = None
        self.target: RouteTable | None = None
        self.store_error = ""
        self._looked = False
        self._pointer_version: str | None = None
        self._metrics = metrics
        self._on_change = on_change
        self.pool = Pool(fetch, settings, self._died)

    def aim(self, table: RouteTable) -> None:
        """Prepare a table: its workers start now, `advance` switches when they answer; bundles are closed at once."""
        self.target = table
        self.pool.want(table.bundles())
        self.pool.withdraw(table.closed)

    def advance(self) -> bool:
        """Switch to the prepared table if every bundle it routes to has a ready worker; whether it switched."""
        target = self.target
        if target is None or target == self.table or not self.pool.ready(routed(target)):
            return False
        self.table = target
        self.pool.keep(target.bundles())
        self._metrics.route_version.labels(self.name).set(target.version)
        log.info("%s serves route table version %d", self.name, target.version)
        self._on_change()
        return True

    async def look(self, store: Store) -> None:
        """Read the pointer once; a new content becomes the target."""
        try:
            pointer = await asyncio.to_thread(store.pointer, self._pointer)
            if pointer is not None and pointer.version != self._pointer_version:
                table = RouteTable.parse(pointer.content, where=self._pointer)
                await asyncio.to_thread(self._refuse_replayed, store, table)
                self.aim(table)
                self._pointer_version = pointer.version
            self._looked, self.store_error = True, ""
        except Exception as error:
            # Whatever a store does, what is served goes on and the next look follows.
            self._metrics.store_errors.labels(self.name).inc()
            what = error.what if isinstance(error, SoundcheckError) else type(error).__name__
            if what != self.store_error:
                log.warning("%s: the pointer could not be read: %s", self.name, what)
            self.store_error = what

    def _refuse_replayed(self, store: Store, table: RouteTable) -> None:
        """Refused for a table of a version that is over, as this process or the ledger has seen (fault 24)."""
        newest = self.target.version if self.target else -1
        if self._production:
            self._ledger = self._ledger or Ledger(store, self.name)
            state = self._ledger.state()
            moves = (*state.history[-1:], *state.slice_moves[-1:])  # each in the order of the pointer's versions
            newest = max([newest, *(move.route_version or 0 for move in moves)])
        if table.version < newest or (self.target and table.version == self.target.version and table != self.target):
            raise Refused(
                "the pointer has a route table that is over",
                where=self._pointer,
                got=f"version {table.version}",
                expected=f"version {newest} or a later one",
                next_step=f"soundcheck verify {self.name}; restore the store from its backup",
            )

    async def follow(self, store: Store, poll_s: float) -> None:
        """Follow the pointer for ever."""
        while True:
            await self.look(store)
            self.advance()
            await asyncio.sleep(poll_s)

    async def prepare(self, poll_s: float) -> None:
        """Wait until the prepared table is served (a pinned family)."""
        while not self.advance():
            await asyncio.sleep(poll_s)
        self._looked = True

    def choose(self, labels: Mapping[str, str], session_id: str) -> tuple[RouteTable, Route, Worker]:
        """The table, the route and the worker of one request.

        Raises ServingFailure `no_stable` where nothing is served, `withdrawn` where what is served has been closed.
        """
        table = self.table
        if table is None:
            raise ServingFailure("no_stable", f"no bundle of {self.name!r} is served yet")
        chosen = self._open_route(table, route(table, labels, session_id))
        if chosen.bundle is None:
            raise ServingFailure("no_stable", f"{self.name!r} has no stable bundle")
        return table, chosen, self.pool.worker(chosen.bundle)

    def _open_route(self, table: RouteTable, chosen: Route) -> Route:
        """The route, past bundles that the next table has closed while its own workers still start (R7.6)."""
        closed = self.target.closed if self.target else ()
        if chosen.shadow in closed:
            chosen = chosen._replace(shadow=None)
        if chosen.cascade is not None and chosen.cascade.small in closed:
            chosen = chosen._replace(cascade=None)
        if chosen.bundle not in closed:
            return chosen
        if table.stable in closed:
            raise ServingFailure("withdrawn", f"the bundle of {self.name!r} was withdrawn; its successor is starting")
        return Route(table.stable, "stable", None)

    @property
    def task(self) -> Task | None:
        """What its models do; None while none has answered yet."""
        known = [worker.task for worker in self.pool.workers() if worker.facts]
        return known[0] if known else None

    @property
    def settled(self) -> bool:
        """Whether the pointer has been read and what it routes to by default answers; no release yet is settled too."""
        if self.target is None:
            return self._looked
        if self.table is None:
            return False
        return self.table.stable is None or self.pool.ready((self.table.stable,))

    def report(self) -> dict[str, Any]:
        """What `/v1/status` says about this family."""
        table, target = self.table, self.target
        return {
            "task": self.task,
            "version": table.version if table else None,
            "stable": table.stable if table else None,
            "canary": table.canary.model_dump(mode="json") if table and table.canary else None,
            "warm": list(table.warm) if table else [],
            "slice_rules": [rule.model_dump(mode="json") for rule in table.slice_rules] if table else [],
            "cascade": table.cascade.model_dump(mode="json") if table and table.cascade else None,
            "degradation": table.degradation.model_dump(mode="json") if table and table.degradation else None,
            "closed": list(target.closed) if target else [],
            "preparing": target.version if target and target != table else None,
            "store_error": self.store_error,
            "workers": {worker.digest: _health(worker) for worker in self.pool.workers()},
        }

    def _died(self, digest: Digest) -> None:
        self._metrics.worker_restarts.labels(self.name, digest[:12]).inc()
        self._on_change()  # what was proved of the process is over


def _health(worker: Worker) -> dict[str, Any]:
    return {
        "state": worker.state,
        "error": worker.error,
        "restarts": worker.restarts,
        "deaths": dict(worker.deaths),
        "in_use": worker.holds,
        "pid": worker.facts.get("pid"),
        "cold_start_ms": worker.facts.get("cold_start_ms"),
        "load_ms": worker.facts.get("load_ms"),
        "warm_ms": worker.facts.get("warm_ms"),
        "peak_memory_mb": worker.facts.get("peak_memory_mb"),
    }
