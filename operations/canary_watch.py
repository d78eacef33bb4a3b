"""One stage of a canary, watched: look after look until there is a decision; and on, while its approval is awaited.

Boundary: reads telemetry, the pointer and what gateways say of their workers; moves the pointer for failing slices.
Invariants: every look ends: a judge that crashes, telemetry that cannot be read, a store or gateway that is away are
missing evidence, which never passes (R7.3); what must end at once does not wait for the judge (R7.6); the deadline
counts from the stage's first move, whatever was restarted since (R7.1, fault 45). A stage that held is looked at by the
same judge over the same sessions and more, with the stage's own alpha: e-processes hold at any time, so that these
looks spend nothing (U6).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple, TypedDict

import httpx

from contracts.digest import Digest, short
from contracts.errors import DependencyFailed, SoundcheckError, WrongCall
from contracts.live import CanaryProgress
from contracts.policy import CanaryPlan
from contracts.reports import CanaryDecision, CanaryReport, Look, SliceEvidence
from contracts.routing import RouteTable, Stage
from monitoring.canary import MAX_PARTIAL_SLICES, Judgement, judge
from monitoring.canary import Judge as StageJudge
from monitoring.health import columns_of
from operations import pointer
from operations.canary_follow import Follower
from operations.canary_judge import Blind, Judge
from operations.canary_looks import Looks, look_of, read, slowest, write
from operations.canary_route import Began, Canary
from operations.canary_rows import comparable, never_again
from operations.context import Context, log
from registry.documents import get_document
from serving.presence import gateways, wait_for_version

if TYPE_CHECKING:
    import pandas as pd

LOOK_S = 1.0
"""Seconds between two looks."""
FOLLOW_S = 120.0
"""Seconds that a gateway may take to serve a stage."""
OF_COPIES = frozenset({"audio_s", "cost_usd", "infer_ms", "latency_ms", "queue_ms", "requests"})
"""Columns that are measured of a shadow copy too."""
HELD_S = 365 * 86_400.0
"""The deadline of a stage that held lies so far beyond it: how long people may take is `approvals.timeout_s`."""
ASKED = frozenset((
    "timestamp", "request_id", "session_id", "arm", "bundle", "route_version", "cascade", "degraded", "probe", "status",
    "privacy_errors", "worker_died",
))  # fmt: skip
"""Columns that are read for any plan: which rows are compared (canary_rows.py), and what ends a canary at once."""
STATUS_S = 2.0
"""Seconds that a gateway may take to say how its workers are."""

Tell = Callable[[CanaryProgress], None]
"""Called with what is known, after each look."""


class Seen(NamedTuple):
    """What a look led to: `slices` are those to be routed back; `close` asks for open streams to be ended at once."""

    decision: CanaryDecision
    reasons: tuple[str, ...]
    evidence: tuple[SliceEvidence, ...] = ()
    stable_sessions: int = 0
    canary_sessions: int = 0
    slices: tuple[str, ...] = ()
    close: bool = False


class Terms(TypedDict):
    """What the judge of a stage is told beside its plan and its rows."""

    started_s: float
    baseline: bool
    stage: Stage
    same_bundle: bool


class Watch:
    """Watches one stage.

    Args:
        began: when the stage began, and at which version.
        tell: shown what is known, after each look.
        held: the stage was decided, its canary waits for approval.
    """

    def __init__(
        self, context: Context, canary: Canary, stage: Stage, began: Began, tell: Tell, *, held: bool = False
    ) -> None:
        self._context, self._canary, self._stage, self._began = context, canary, stage, began
        self._tell = tell
        self._route = canary.route(stage)
        self._held = held
        plan = plan_of(canary.policy.canary, stage)
        self._deadline_s = plan.deadline_s + (canary.policy.approvals.timeout_s if held else 0.0)
        self._plan = plan.model_copy(update={"deadline_s": plan.deadline_s + HELD_S}) if held else plan
        self._judge = Judge(lambda call: call())
        self._follower = Follower(lambda: StageJudge(self._plan, **self._terms), self._started_s)
        self._goes_on: tuple[CanaryDecision, ...] = ("continue", "promote", "hold") if held else ("continue",)
        self._looks = Looks(_looked(context, canary, stage, began))
        self._table: RouteTable | None = None
        self._off = False
        self._had_rows = False
        self._earlier = _attempts(context, canary, stage)

    @property
    def looks(self) -> tuple[Look, ...]:
        """The looks so far, thinned out."""
        return self._looks.kept

    def until_decided(self) -> Seen:
        """Look until there is something to do: any decision but `continue`."""
        while True:
            seen = self._look()
            self._show(seen)
            if seen.decision != "continue":
                return seen
            time.sleep(LOOK_S)

    def until_harm(self, over: Callable[[], bool]) -> Seen | None:
        """Look on at a stage that held, until there is harm, or nobody can judge it; None where it is over before.

        What is stale, or no longer settled, stops nobody: people are asked already, and their answer is awaited.
        """
        judged_s = self._context.now().timestamp()
        while not over():
            seen = self._look()
            if self._off:
                return None
            self._show(seen)
            if seen.decision in ("rollback", "partial_rollback"):
                return seen._replace(decision="rollback")
            now_s = self._context.now().timestamp()
            judged_s = now_s if seen.evidence else judged_s
            if now_s - judged_s > FOLLOW_S:
                return Seen("rollback", (f"nobody could judge the canary for {FOLLOW_S:g} s", *seen.reasons))
            time.sleep(LOOK_S)
        return None

    @property
    def _started_s(self) -> float:
        return datetime.fromisoformat(self._began.at).timestamp()

    def _look(self) -> Seen:
        now_s = self._context.now().timestamp()
        late = now_s - self._started_s >= self._plan.deadline_s
        if reason := self._taken_off():
            self._off = True
            return Seen("hold", (reason,))
        if deaths := worker_deaths(self._context, self._canary.family, self._canary.bundle):
            return Seen("rollback", (f"workers of the canary died {deaths} times, as gateways say",))
        try:
            if seen := self._glance(now_s):
                return seen
            rows = self._rows()
        except Exception as error:
            # A disk or segment that cannot be read is telemetry that is down (fault 40).
            log.error("telemetry cannot be read: %s", type(error).__name__)
            missed: CanaryDecision = "hold" if self._had_rows else "rollback"
            return Seen(missed if late else "continue", (f"telemetry cannot be read: {type(error).__name__}",))
        self._had_rows |= not rows.empty
        reasons, close = never_again(rows)
        if reasons:
            return Seen("rollback", tuple(reasons), close=close)
        return self._judged(rows, now_s, late)

    def _glance(self, now_s: float) -> Seen | None:
        """A look at what is new, in a long stage; None where all rows must be looked at."""
        since_s = self._follower.since_s(now_s, self._elsewhere())
        if since_s is None:
            return None
        newer = self._rows(since_s)
        if never_again(newer)[0]:
            return None
        try:
            said = self._judge.ask(lambda: self._follower.look(newer, now_s))
        except Blind:
            return None
        return _seen(said) if said.decision in self._goes_on else None

    def _judged(self, rows: pd.DataFrame, now_s: float, late: bool) -> Seen:
        try:
            if self._follower.is_for(rows, now_s):
                said = self._judge.ask(lambda: self._follower.take(rows, now_s, self._elsewhere()))
                if said.decision in self._goes_on:
                    return _seen(said)
            said = self._judge.ask(lambda: judge(rows, self._plan, now_s=now_s, **self._terms))
        except Blind as blind:
            return Seen("rollback" if late else "continue", (str(blind),))
        except WrongCall as wrong:
            return Seen("hold", (f"the plan cannot be judged: {wrong.what}",))
        if rows.empty and (lag := self._lag()):
            said = said._replace(reasons=(*said.reasons, lag))
            if now_s - self._started_s > FOLLOW_S:
                return Seen("hold", said.reasons)
        return _seen(said)

    @property
    def _terms(self) -> Terms:
        canary = self._canary
        return Terms(
            started_s=self._started_s, baseline=canary.stable is not None, stage=self._stage,
            same_bundle=canary.bundle == canary.stable,
        )  # fmt: skip

    def _taken_off(self) -> str:
        """Why there is nothing to watch any more; "" while the stage is routed, and while the store does not answer."""
        try:
            table = pointer.current(self._context, self._canary.family).table
        except DependencyFailed as error:
            log.warning("the pointer cannot be read, the canary goes on: %s", error.what)
            return ""
        if table is None or table.canary != self._route:
            who = f"{table.reason}, by {table.actor}" if table else "the route table is gone"
            return f"the canary was taken off: {who}"
        self._table = table
        return ""

    def _lag(self) -> str:
        """Which gateway does not serve the stage yet, or that none lives."""
        try:
            alive = wait_for_version(self._context.home, self._canary.family, self._began.version, timeout_s=0)
        except DependencyFailed as error:
            return f"a gateway does not serve the stage yet: {error.got}"
        return "" if alive else "no gateway lives"

    def _rows(self, after_s: float | None = None) -> pd.DataFrame:
        """The stage's telemetry, with that of earlier attempts that were held: one process over all restarts (U6).

        `after_s`: only what is dated later, where that is long after the stage began.
        """
        import pandas as pd

        from serving import telemetry

        last = self._table.version if self._table else self._began.version
        folder, columns = self._context.home / "telemetry", self._columns(telemetry.COLUMNS)
        if after_s is not None:
            rows = telemetry.read(folder, self._canary.family, after_s, None, columns)
            return self._comparable(rows[rows["timestamp"] > after_s], self._began.version, last)
        since_s = min([self._started_s, *(_time(attempt.started_at) for attempt in self._earlier)])
        rows = telemetry.read(folder, self._canary.family, since_s, None, columns)
        parts = [self._comparable(rows[rows["timestamp"] >= self._started_s], self._began.version, last)]
        for attempt in self._earlier:
            ended_s = _time(attempt.started_at) + attempt.duration_s
            part = self._comparable(rows[rows["timestamp"] <= ended_s], attempt.route_version, self._began.version - 1)
            parts += [part] if _sound(part) else []
        kept = [part for part in parts if not part.empty]
        return pd.concat(kept).sort_values("timestamp", kind="stable") if kept else parts[0]

    def _comparable(self, rows: pd.DataFrame, first: int, last: int) -> pd.DataFrame:
        return comparable(rows, self._route, first_version=first, last_version=last, elsewhere=self._elsewhere())

    def _columns(self, known: Sequence[str]) -> tuple[str, ...]:
        """Those of the known columns that say which rows are compared, and what of."""
        wanted = {*ASKED, *self._plan.slices, *self._route.cohort, *self._elsewhere()}
        for name, metric in self._plan.metrics.items():
            wanted |= {*columns_of(name, metric), *(metric.slices or ())}
        return tuple(name for name in known if name in wanted)

    def _elsewhere(self) -> dict[str, tuple[str, ...]]:
        """Label -> values whose traffic slice rules send elsewhere."""
        found: dict[str, tuple[str, ...]] = {}
        for rule in self._table.slice_rules if self._table else ():
            found[rule.label] = (*found.get(rule.label, ()), rule.value)
        return found

    def _show(self, seen: Seen) -> None:
        canary, alpha = self._canary, self._plan.alpha
        since_s = self._context.now().timestamp() - self._started_s
        self._looks.add(look_of(since_s, seen.stable_sessions, seen.canary_sessions, seen.evidence))
        progress = CanaryProgress(
            family=canary.family, release=canary.release, version=canary.version, bundle=canary.bundle,
            stable=canary.stable, stage=self._stage, stages=canary.stages, weight=self._route.weight,
            started_at=self._began.at, looked_at=self._context.timestamp(), deadline_s=self._deadline_s,
            alpha=alpha, decision=seen.decision, reasons=seen.reasons, evidence=seen.evidence, looks=self.looks,
        )  # fmt: skip
        write(self._context.home, progress)
        self._tell(progress)
        if not self._held:
            self._say_progress(seen)

    def _say_progress(self, seen: Seen) -> None:
        """In a terminal: how far the slowest pair has come."""
        canary, alpha = self._canary, self._plan.alpha
        last = self._stage == canary.stages[-1]
        asked = [row for row in seen.evidence if last or row.slice == "overall"]  # what must be settled to go on
        pair, share = slowest(asked, alpha)
        done = 100 if seen.decision == "promote" else int(100 * share)
        slow = f": {pair.slice} {pair.metric}" if pair and done < 100 else ""
        self._context.progress(f"canary {self._stage}, % of evidence{slow}", done, 100)


def _seen(said: Judgement) -> Seen:
    return Seen(said.decision, said.reasons, said.evidence, said.stable_sessions, said.canary_sessions, said.slices)


def may_go_on(canary: Canary, seen: Seen, back: tuple[str, ...]) -> bool:
    """R7.4: whether the failing slices can be routed back alone: routable, and with those before not too many."""
    routable = all(name.split("=", 1)[0] in canary.policy.canary.routable for name in seen.slices)
    few = len({*back, *seen.slices}) <= MAX_PARTIAL_SLICES
    return bool(seen.slices) and routable and few and canary.stable is not None


def plan_of(plan: CanaryPlan, stage: Stage) -> CanaryPlan:
    """The plan as a stage is held to it.

    Shadow answers reach nobody, so no client scores them or sees their partials: what is judged there is what the
    gateway measures of a copy as it does of an answer, speed and cost; all else from the cohort stage on.
    """
    deadline_s = plan.deadlines.get(stage, plan.deadline_s)
    if stage != "shadow":
        return plan.model_copy(update={"deadline_s": deadline_s})
    kept = {
        name: metric
        for name, metric in plan.metrics.items()
        if metric.kind == "never" or OF_COPIES.issuperset(columns_of(name, metric))
    }
    return plan.model_copy(update={"deadline_s": deadline_s, "metrics": kept, "slices": ()})


def worker_deaths(context: Context, family: str, bundle: Digest) -> int:
    """How often the living gateways saw a worker of this bundle die; a gateway that does not answer says nothing."""
    deaths = 0
    for gateway in gateways(context.home).values():
        if family not in gateway["families"]:
            continue
        try:
            answer = httpx.get(f"{gateway['url']}/v1/status", timeout=STATUS_S, trust_env=False)
            deaths += int(answer.json()["families"][family]["workers"].get(bundle, {}).get("restarts", 0))
        except (httpx.HTTPError, ValueError, KeyError) as error:
            log.warning("a gateway does not say how %s is: %s", short(bundle), type(error).__name__)
    return deaths


def _looked(context: Context, canary: Canary, stage: Stage, began: Began) -> tuple[Look, ...]:
    """The looks of this stage before the controller was restarted, as far as they are known."""
    known = read(context.home, canary.family)
    same = known and (known.release, known.stage, known.started_at) == (canary.release, stage, began.at)
    return known.looks if known and same else ()


class _Attempt(NamedTuple):
    """An earlier attempt at the stage that was held."""

    route_version: int
    started_at: str
    duration_s: float


def _attempts(context: Context, canary: Canary, stage: Stage) -> list[_Attempt]:
    found = []
    for event in canary.events(context, "canary"):
        if event.outcome != "fail":
            continue
        try:
            last = get_document(context.store, CanaryReport, event.outputs["canary_report"]).stages[-1]
        except SoundcheckError as error:
            log.warning("an earlier attempt of this canary cannot be read: %s", error.what)
            continue
        if last.stage == stage:
            found.append(_Attempt(last.route_version, last.started_at, last.duration_s))
    return found


def _time(at: str) -> float:
    return datetime.fromisoformat(at).timestamp()


def _sound(rows: pd.DataFrame) -> bool:
    """Whether an earlier attempt's rows can be judged: one that was held for broken telemetry begins anew."""
    numbers = rows.select_dtypes("number")
    return not rows.empty and not bool(numbers.isin([float("inf"), float("-inf")]).any(axis=None))
