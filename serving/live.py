"""`GET /` and `GET /v1/live`: what one gateway knows of itself now (contracts/live.py), as a page and as JSON.

Boundary: asks the workers, reads HOME/run/canary/FAMILY.json and the ledger; drawn by pages/live.py.
Invariants: counts and durations, no content, so no key is asked (as for /v1/status and /metrics); what blocks or takes
long runs in a thread; however many look, a report is made at most every FRESH_S seconds, and the ledger is asked only
after the route table has moved or READ_S have passed; whatever a worker, a file or the store does, there is an answer.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from contracts.digest import Digest
from contracts.live import PROGRESS, AlertRule, BurnAlarm, LiveFamily, LiveReport, Promise
from contracts.routing import RouteTable
from pages.live import content_policy, render
from registry.store import Store
from serving.calls import Desk
from serving.exposition import ask, read_progress
from serving.live_past import Past
from serving.objectives import ALARMS
from serving.router import Family
from serving.windows import OVERALL

FRESH_S = 1.0
"""Age up to which a report is given out again."""
READ_S = 30.0
FIRST_READ_S = 1.0
"""How long the first report waits for the ledger."""
STEP_S = 60
SHOWN_SLICES = 8

PAGE_HEADERS = {"cache-control": "no-store", "x-content-type-options": "nosniff", "referrer-policy": "no-referrer"}


class Answer(NamedTuple):
    """A report as it is sent."""

    page: bytes
    document: bytes


class Seen(NamedTuple):
    """What can only be read on the gateway's loop."""

    family: str
    table: RouteTable | None
    preparing: int | None
    store_error: str
    workers: Mapping[Digest, dict[str, Any]]


class Live:
    """Makes the live report. `store_of` gives the store of a family that follows its pointer, None of any other."""

    def __init__(
        self,
        desk: Desk,
        home: Path,
        url: Callable[[], str],
        store_of: Callable[[str], Callable[[], Store] | None] = lambda _: None,
    ) -> None:
        self._desk = desk
        self._progress = home / PROGRESS
        self._url = url
        self._pasts = {name: Past(name, store_of(name)) for name in desk.families}
        self._reads: dict[str, asyncio.Task[None]] = {}
        self._read_at: dict[str, tuple[float, object]] = {}
        self._one = asyncio.Lock()
        self._made_at = -FRESH_S
        self._answer = Answer(b"", b"")

    def saw(self, family: Family) -> None:
        """Remember the table that a family serves now."""
        self._pasts[family.name].saw(family.table)

    async def answer(self) -> Answer:
        """The report as of now, at most FRESH_S old."""
        async with self._one:
            if time.monotonic() - self._made_at >= FRESH_S:
                seen = [await self._look(family) for family in self._desk.families.values()]
                self._answer = await asyncio.to_thread(self._drawn, seen)
                self._made_at = time.monotonic()
            return self._answer

    @property
    def headers(self) -> dict[str, str]:
        """What the page is sent with."""
        return {**PAGE_HEADERS, "content-security-policy": content_policy()}

    # ---- on the loop --------------------------------------------------------------------------------------------
    async def _look(self, family: Family) -> Seen:
        table, target = family.table, family.target
        self.saw(family)
        await self._read_past(family.name, table.ledger_head if table else None)
        workers = family.pool.workers()
        health: Mapping[Digest, dict[str, Any]] = family.report()["workers"]
        said = await asyncio.gather(*(ask(worker) for worker in workers))
        return Seen(
            family=family.name,
            table=table,
            preparing=target.version if target is not None and target != table else None,
            store_error=family.store_error,
            workers={
                worker.digest: {**health.get(worker.digest, {}), **more}
                for worker, more in zip(workers, said, strict=True)
            },
        )

    async def _read_past(self, name: str, moved: object) -> None:
        """Have the ledger read beside, where there is something to expect; the first time wait for it a little."""
        read_at, then = self._read_at.get(name, (-READ_S, None))
        running = self._reads.get(name)
        if running is not None and not running.done():
            return
        if moved != then or time.monotonic() - read_at >= READ_S:
            first = name not in self._read_at
            self._read_at[name] = (time.monotonic(), moved)
            self._reads[name] = asyncio.create_task(asyncio.to_thread(self._pasts[name].read))
            if first:
                await asyncio.wait({self._reads[name]}, timeout=FIRST_READ_S)

    # ---- in a thread --------------------------------------------------------------------------------------------
    def _drawn(self, seen: Iterable[Seen]) -> Answer:
        report = self._report(seen)
        return Answer(render(report).encode(), json.dumps(report.as_json(), separators=(",", ":")).encode())

    def _report(self, seen: Iterable[Seen]) -> LiveReport:
        return LiveReport(
            at_s=time.time(),
            url=self._url(),
            families=tuple(self._family(one) for one in seen),
            alarms=tuple(BurnAlarm(**alarm._asdict()) for alarm in ALARMS),
            rules=alert_rules(),
            telemetry_dropped=self._desk.recorder.dropped,
        )

    def _family(self, seen: Seen) -> LiveFamily:
        windows, past = self._desk.windows, self._pasts[seen.family]
        burns = windows.burns(seen.family)
        hurt = {burn.slice for burn in burns if burn.action != "none"}
        busiest = windows.busiest(seen.family, limit=SHOWN_SLICES)
        slices = tuple(dict.fromkeys((OVERALL, *sorted(hurt), *busiest)))[:SHOWN_SLICES]
        moves = past.moves()
        named = {*seen.workers, *(move.stable for move in moves), *(move.canary for move in moves)}
        return LiveFamily(
            family=seen.family,
            versions={bundle: version for bundle, version in past.versions.items() if bundle in named},
            preparing=seen.preparing,
            store_error=seen.store_error,
            promises=self._promises(seen.family),
            table=seen.table.model_dump(mode="json") if seen.table else None,
            workers={bundle: dict(facts) for bundle, facts in seen.workers.items()},
            now=tuple(window for window in windows.now(seen.family) if window.slice in slices),
            series=windows.series(seen.family, step_s=STEP_S, slices=slices),
            burns=burns,
            counts=windows.counts(seen.family),
            history=moves,
            canary=read_progress(self._progress, seen.family),
        )

    def _promises(self, family: str) -> tuple[Promise, ...]:
        promised = self._desk.windows.objectives(family)
        times = promised.times()
        return tuple(
            Promise(
                objective=objective,
                share=1 - allowed,
                latency_ms=times[objective][0] if objective in times else None,
            )
            for objective, allowed in promised.budgets().items()
        )


_LABEL = re.compile(r"\{\{ *\$labels\.(\w+) *\}\}")
_NUMBER = re.compile(r"\{\{ *\$value[^}]*\}\}")


@cache
def alert_rules() -> tuple[AlertRule, ...]:
    """The alerts of serving/alerts.yaml in words: labels in capitals, N for the value."""
    import yaml

    groups = yaml.safe_load(files("serving").joinpath("alerts.yaml").read_text())["groups"]
    return tuple(
        AlertRule(
            name=rule["alert"],
            action=rule["labels"]["severity"],
            says=_in_words(rule["annotations"]["summary"]),
            command=_in_words(rule["annotations"]["command"]),
        )
        for group in groups
        for rule in group["rules"]
        if "alert" in rule
    )


def _in_words(template: str) -> str:
    return _NUMBER.sub("N", _LABEL.sub(lambda found: found[1].upper(), template))
