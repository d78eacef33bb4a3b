"""A canary in a world of its own: a real ledger, pointer and telemetry on disk, a clock that a test turns.

Every sleep of the watching step is some seconds of this world: sessions are routed by the table that the pointer has
then, as a gateway would, and their rows and probe events are written as segments. What happens meanwhile is the test's.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pyarrow
import pytest

from contracts.digest import Digest
from contracts.errors import DependencyFailed
from contracts.live import CanaryProgress
from contracts.policy import FamilyPolicy
from contracts.reports import CanaryReport, SliceEvidence
from contracts.routing import RouteTable, route
from contracts.telemetry import TelemetryRow
from monitoring.canary import Judgement, judge
from operations import canary, pointer
from operations.context import Context, put
from operations.gate import Stopped
from operations.settings import Settings
from registry.documents import get_document
from registry.store.memory import MemoryStore
from serving.telemetry import segments
from tests.evalpacks.evaluation_samples import make_policy

FAMILY = "asr-commands"
STABLE, BUNDLE = "5" * 64, "c" * 64
RELEASE = "a" * 64
TENANTS, DEVICES, ACCENTS = ("internal", "acme", "globex"), ("phone", "laptop"), ("us", "scottish")
START = datetime(2026, 11, 20, 12, tzinfo=UTC)
PLAN: dict[str, Any] = {
    "metrics": {
        "wer": {"kind": "ratio", "numerator": "errors", "denominator": "words", "margin": 0.1, "budget": 0.35},
        "latency_ms": {"kind": "quantile", "column": "latency_ms", "quantile": 0.9, "budget": 900},
        "privacy": {"kind": "never", "column": "privacy_errors"},
    },
    "slices": ["device"],
    "deadline_s": 300,
    "min_sessions": 12,
    "stale_after_s": 30,
    "routable": ["device"],
    "caps": {"utterances": 5, "words": 40},
    "cohort": {"tenant": ["internal"]},
    "weights": {"probe": 1.0, "shadow": 1.0, "cohort": 0.5, "wide": 0.5},
}
Answer = Callable[["World", str], Judgement]


def say(decision: str, *reasons: str, worse: tuple[str, ...] = (), sessions: int = 40) -> Judgement:
    """A judgement, with these slices worse."""
    evidence = tuple(
        SliceEvidence(
            slice=name, metric="wer", stable_sessions=sessions, canary_sessions=sessions, stable_rate=0.1,
            canary_rate=0.3, estimate=0.2, lower=0.15, upper=0.25, margin=0.1, state="worse", e_worse=900.0, e_fine=0.1,
        )
        for name in worse
    )  # fmt: skip
    return Judgement(decision, reasons or (f"the test says {decision}",), evidence, sessions, sessions, slices=worse)  # type: ignore[arg-type]


PROMOTE = say("promote")


def after(looks: int, then: Judgement) -> Answer:
    """A judge that goes on for so many looks of a stage, and then says this."""
    seen: dict[str, int] = {}

    def answer(_: World, stage: str) -> Judgement:
        seen[stage] = seen.get(stage, 0) + 1
        return then if seen[stage] > looks else say("continue")

    return answer


class Killed(BaseException):
    """The process is gone."""


def stop_now(*_: Any, **__: Any) -> NoReturn:
    raise Killed


def away(*_: Any, **__: Any) -> NoReturn:
    raise DependencyFailed("it is away", got="process 7 at version 1")


class WatchedStore(MemoryStore):
    """A store whose pointer a test may look at without a call that counts."""

    def peek(self, name: str) -> bytes | None:
        seen = self._pointers.get(name)
        return seen.content if seen else None


class World:
    """One family whose candidate is staged; `canary()` runs the step.

    Attributes:
        now: the time; `sleep` moves it and plays traffic.
        change: called with each row before it is written; None leaves it out.
        script: what happens at the n-th sleep.
        sessions: how many begin in a second.
        answer: in place of the judge, if a test says.
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, *, first: bool = False, **plan: Any) -> None:
        self.now = START
        self.store = WatchedStore()
        self.announced: list[str] = []
        self.progress: list[tuple[str, int, int]] = []
        self.context = self.open(folder)
        self.folder = folder
        self.policy: FamilyPolicy = make_policy(canary=PLAN | plan)
        self.sessions, self.sleeps = 4.0, 0
        self.step_s = 1.0
        self.change: Callable[[dict[str, Any]], dict[str, Any] | None] = lambda row: row
        self.script: dict[int, Callable[[], None]] = {}
        self.answer: Answer | None = None
        self.tables: list[RouteTable] = []
        self.asked: list[Any] = []
        self.arguments: tuple[Any, dict[str, Any]] = ((), {})
        self._number = itertools.count()
        self._random = np.random.default_rng(5)
        monkeypatch.setattr("operations.canary_watch.time.sleep", self.sleep)
        self.real_judge: Callable[..., Judgement] = judge
        monkeypatch.setattr("operations.canary_watch.judge", self.judge)
        self._stage_release(first)

    def open(self, folder: Path) -> Context:
        """The installation, as a process that starts now sees it."""
        context = Context(Settings(folder, folder / "home"), self.store, lambda: self.now)
        context.announce = self.announced.append
        context.progress = lambda label, done, total: self.progress.append((label, done, total))
        return context

    def restart(self) -> None:
        """Another process goes on."""
        self.context = self.open(self.folder)

    def _stage_release(self, first: bool) -> None:
        policy, report = put(self.context, self.policy, make_policy())
        self.captured = {"policy": policy, "release": RELEASE}
        self.packaged, self.staged = {"bundle": BUNDLE}, {"replay_report": report}
        steps: list[tuple[str, dict[str, Digest]]] = [
            ("capture", {"policy": policy}), ("package", self.packaged), ("stage", self.staged),
        ]  # fmt: skip
        for step, outputs in steps:
            self.context.ledger(FAMILY).append(
                step, "complete", at=self.context.timestamp(), release=RELEASE, outputs=outputs, data={"version": "v2"}
            )
        if not first:
            seen = pointer.current(self.context, FAMILY)
            pointer.move(self.context, FAMILY, seen, stable=STABLE, warm=("9" * 64,), actor="test", reason="before")

    # ---- time and traffic ---------------------------------------------------------------------------------------
    def sleep(self, _seconds: float) -> None:
        self.sleeps += 1
        self.now += timedelta(seconds=self.step_s)
        self.play(self.note())
        self.script.pop(self.sleeps, lambda: None)()
        assert self.sleeps < 2_000, "the step never ends"

    def note(self) -> RouteTable | None:
        """Remember the table that is routed now."""
        table = self.table
        if table and (not self.tables or self.tables[-1] != table):
            self.tables.append(table)
        return table

    def play(self, table: RouteTable | None) -> None:
        if table is None:
            return
        rows: list[dict[str, Any]] = []
        for _ in range(round(self.sessions * self.step_s)):
            rows += self.session(table)
        kept = [row for row in map(self.change, rows) if row is not None]
        if kept:
            self.write(kept)

    def session(self, table: RouteTable) -> list[dict[str, Any]]:
        number = next(self._number)
        labels = {"tenant": TENANTS[number % 3], "device": DEVICES[number // 3 % 2], "probe": "yes"}
        chosen = route(table, labels, f"s{number}")
        rows = []
        arms = [(chosen.bundle, chosen.arm), *([(chosen.shadow, "shadow")] if chosen.shadow else [])]
        for bundle, arm in arms:
            if bundle is not None:
                rows.append(self.row(table, number, bundle, arm, labels))
        return rows

    def row(self, table: RouteTable, number: int, bundle: Digest, arm: str, labels: dict[str, str]) -> dict[str, Any]:
        words = 8
        return {
            "timestamp": self.now.timestamp() - 0.5, "request_id": f"{number:032x}", "session_id": f"s{number}",
            "family": FAMILY, "bundle": bundle, "arm": arm, "route_version": table.version, "mode": "http", **labels,
            "status": 200, "audio_s": 2.0, "latency_ms": float(self._random.uniform(100, 300)), "queue_ms": 1.0,
            "infer_ms": 50.0, "cost_usd": 0.0001, "errors": int(self._random.binomial(words, 0.1)), "words": words,
            "accent": ACCENTS[number % 2],
        }  # fmt: skip

    def write(self, rows: list[dict[str, Any]]) -> None:
        """Segments of these rows and of their probe events."""
        events = [row | {"kind": "probe"} for row in rows if row["arm"] != "shadow"]
        for folder, part in ((segments.rows_of(FAMILY), rows), (segments.events_of(FAMILY), events)):
            columns = segments.columns_of(folder)
            known = [{**_DEFAULTS, **row} for row in part]
            data = {column: [row.get(column) for row in known] for column in columns}
            table = pyarrow.table(data, schema=segments.schema(columns))
            newest = max([self.now.timestamp(), *(row["timestamp"] for row in part)], default=0.0)
            segments.write(
                self.context.home / "telemetry" / folder / "date=2026-11-20", table, newest_ms=int(newest * 1000) + 1
            )

    # ---- the step -----------------------------------------------------------------------------------------------
    def judge(self, rows: Any, *args: Any, **kwargs: Any) -> Judgement:
        self.asked.append(rows)
        self.arguments = (args, kwargs)
        if self.answer is None:
            return self.real_judge(rows, *args, **kwargs)
        table = self.note()
        return self.answer(self, table.canary.stage if table and table.canary else "")

    def canary(self) -> CanaryReport:
        """Run the step to its end, whatever it is; the report that the ledger names."""
        with suppress(Stopped):
            canary.canary(self.context, FAMILY, self.captured, self.packaged, self.staged)
        return self.report

    @property
    def report(self) -> CanaryReport:
        event = [event for event in self.events("canary") if "canary_report" in event.outputs][-1]
        return get_document(self.store, CanaryReport, event.outputs["canary_report"])

    def events(self, step: str) -> list[Any]:
        return [event for event in self.open(self.folder).ledger(FAMILY).events() if event.step == step]

    @property
    def table(self) -> RouteTable | None:
        content = self.store.peek(f"families/{FAMILY}")
        return RouteTable.parse(content) if content else None

    @property
    def shown(self) -> CanaryProgress:
        """What the live page would show."""
        return CanaryProgress.parse((self.context.home / "run" / "canary" / f"{FAMILY}.json").read_bytes())

    def is_as_before(self) -> bool:
        """Stable serves all, its warm bundle is kept, and no rule is left over."""
        table = self.table
        assert table is not None
        return (table.stable, table.canary, table.slice_rules, table.warm) == (STABLE, None, (), ("9" * 64,))


_DEFAULTS = {name: field.get_default() for name, field in TelemetryRow.model_fields.items() if not field.is_required()}
