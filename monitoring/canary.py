"""The canary judge: telemetry rows and a plan in, a decision with reasons out, at any time and as often as wanted.

Purpose: decide whether a canary goes on, is promoted, held, or rolled back, whole or on some slices.
Boundary: pure: no I/O, no clock; `now_s` and the rows come in.
Invariants: a session enters when it is closed, and counts once; the decision is the first crossing in the time of
events, so that how often one looks, or that a look is repeated after a restart, changes nothing; missing, stale, NaN,
infinite, future-dated or mislabelled telemetry never promotes (R7.3); a privacy error rolls back at once (R7.6); a
metric that is not settled on every slice never promotes.
Method (U6): each (metric, slice) has an e-process for "worse by more than the margin" and one for "not worse by it"
(monitoring.evidence). A stop: the e-values of one slice, added over its metrics, reach pairs / alpha, where alpha is
the plan's over its stages; so a canary that is not worse is stopped with probability alpha at most over all metrics,
slices, looks and stages. A promotion is intersection-union: every pair reaches 1 / alpha for "not worse" (U5).
Errors: WrongCall for a plan that cannot be judged.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from contracts.errors import WrongCall
from contracts.policy import CanaryMetric, CanaryPlan
from contracts.reports import CanaryDecision, SliceEvidence
from monitoring.bounds import State, describe, sentence, waiting
from monitoring.evidence import Comparison, Floats, Path, rule_of
from monitoring.health import Health, columns_of
from monitoring.sessions import Closed, Sessions, entries

if TYPE_CHECKING:
    import pandas as pd

SESSION_GAP_S = 5.0
"""A session is closed when it has been silent for this long."""
MAX_PARTIAL_SLICES = 2
"""Up to so many failing slices are routed back alone; more roll the whole canary back (R7.4)."""
OVERALL = "overall"

StageName = Literal["probe", "shadow", "cohort", "wide"]


class _Stop(NamedTuple):
    """When the canary was found worse, on which slices, and which others were under suspicion by then."""

    at_s: float
    slices: tuple[str, ...]
    suspects: tuple[str, ...]


class Judgement(NamedTuple):
    """A decision, its reasons in sentences, and the evidence per (slice, metric).

    `at_s` is when the decision fell in the time of events, `slices` what a partial rollback routes back; `faults` is
    what is wrong with the telemetry; `worse_at` and `fine_at` are the e-values that decide.
    """

    decision: CanaryDecision
    reasons: tuple[str, ...]
    evidence: tuple[SliceEvidence, ...]
    stable_sessions: int
    canary_sessions: int
    at_s: float = 0.0
    slices: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    worse_at: float = math.inf
    fine_at: float = math.inf


def judge(
    rows: pd.DataFrame,
    plan: CanaryPlan,
    *,
    now_s: float,
    started_s: float,
    baseline: bool = True,
    gap_s: float = SESSION_GAP_S,
    stage: StageName | None = None,
    same_bundle: bool = False,
) -> Judgement:
    """Decide from one stage's rows (columns: timestamp, session_id, arm, slices, metric columns).

    Args:
        rows: telemetry in any order; arm is `stable` or `canary`. Used where they are there: `request_id`, `status`,
            `bundle`.
        plan: the metrics, slices, error, deadline.
        now_s: seconds on the clock of the rows; rows dated later are not seen.
        started_s: when the stage began.
        baseline: False judges a first release against budgets alone (R4.3).
        gap_s: a session is closed when it has been silent for so long.
        stage: of a release's stages; any but the last advances when the whole is settled and no slice is worse. None:
            the telemetry is all there is.
        same_bundle: the canary is the stable bundle, and there is nothing to compare.

    The answer is `continue` while evidence is still coming in and the deadline has not passed. Raises WrongCall for a
    plan that cannot be judged.
    """
    judging = Judge(plan, started_s=started_s, baseline=baseline, gap_s=gap_s, stage=stage, same_bundle=same_bundle)
    judging.feed(rows)
    return judging.look(now_s)


class Judge:
    """The judge of one stage, fed with rows as they come; what it says at a time is what `judge` says of all rows."""

    def __init__(
        self,
        plan: CanaryPlan,
        *,
        started_s: float,
        baseline: bool = True,
        gap_s: float = SESSION_GAP_S,
        stage: StageName | None = None,
        same_bundle: bool = False,
    ) -> None:
        _check(plan)
        self._plan = plan
        self._started_s = started_s
        self._baseline = baseline
        self._same_bundle = same_bundle
        self._wholly = stage is None or stage not in plan.stages[:-1]
        self._stop_alpha = plan.alpha / (len(plan.stages) if stage in plan.stages else 1)
        self._fine_at = 1 / plan.alpha
        self._sessions = Sessions(gap_s=gap_s, most_requests=plan.caps.get("utterances", math.inf))
        self._health = Health(plan, started_s=started_s, baseline=baseline)
        self._compared: dict[tuple[str, str], Comparison] = {}
        self._entered: tuple[list[Floats], list[Floats]] = ([], [])  # closing times of stable, of the canary
        self._never: list[tuple[float, str]] = []
        self._stop: _Stop | None = None
        self._judged = {name: metric for name, metric in plan.metrics.items() if metric.kind != "never"}

    def feed(self, rows: pd.DataFrame) -> None:
        """Take rows that were not fed before; late ones are taken as they are dated."""
        if rows.empty:
            return
        rows = self._health.take(rows)
        self._sessions.feed(rows)
        for name, metric in self._plan.metrics.items():
            column = columns_of(name, metric)[0]
            if metric.kind == "never" and column in rows.columns:
                value = rows[column].to_numpy(dtype=np.float64, na_value=0.0)
                broken = rows[(rows["arm"] == "canary").to_numpy() & (value > 0)]
                self._never = sorted([*self._never, *((float(at_s), name) for at_s in broken["timestamp"])])

    def look(self, now_s: float) -> Judgement:
        """What is decided by `now_s`; nothing changes that was decided before."""
        end_s = min(now_s, self._started_s + self._plan.deadline_s)
        closed = self._sessions.close(end_s)
        if closed is not None:
            self._enter(closed)
        return self._decide(now_s, end_s)

    def _enter(self, closed: Closed) -> None:
        for arm, parts in zip((False, True), self._entered, strict=True):
            parts.append(closed.closed_s[np.unique(closed.unit[closed.canary == arm])])
        paths: dict[str, dict[str, Path]] = {}
        for name, metric in self._judged.items():
            if not set(columns_of(name, metric)) <= set(closed.rows.columns):
                continue
            for entry in entries(closed, name, metric, self._columns(metric)):
                compared = self._comparison(name, entry.slice)
                path = compared.enter(entry.canary, entry.stable, entry.shared, ratio_at=self._ratio_at)
                paths.setdefault(entry.slice, {})[name] = path
        self._find_stop(paths)

    def _comparison(self, name: str, slice_name: str) -> Comparison:
        key = (name, slice_name)
        if key not in self._compared:
            rule = rule_of(self._plan.metrics[name], self._plan.caps, baseline=self._baseline)
            self._compared[key] = Comparison(rule, min_sessions=self._plan.min_sessions, fine_at=self._fine_at)
        return self._compared[key]

    def _ratio_at(self, at_s: float) -> int:
        """Stable sessions that had closed by then, for each of the canary; at least one."""
        stable, canary = (sum(int(np.searchsorted(part, at_s, "right")) for part in parts) for parts in self._entered)
        return max(stable // max(canary, 1), 1)

    def _find_stop(self, paths: dict[str, dict[str, Path]]) -> None:
        """The first time at which the e-values of a slice, added over its metrics, reach pairs / alpha."""
        if self._stop is not None or not paths:
            return
        opened = np.sort([compared.opened_s for compared in self._compared.values()])
        summed = {name: added(by_metric.values(), self._resting(name, by_metric)) for name, by_metric in paths.items()}
        crossings = {name: crossing_s(path, opened, self._stop_alpha) for name, path in summed.items()}
        crossed = {name: at_s for name, at_s in crossings.items() if at_s is not None}
        if crossed:
            at_s = min(crossed.values())
            first = tuple(sorted(name for name, crossed_s in crossed.items() if crossed_s == at_s))
            means = {}
            for name in {slice_name for _, slice_name in self._compared}:
                path = summed[name] if name in summed else added((), self._resting(name, {}))
                metrics = sum(of_slice == name for _, of_slice in self._compared)
                means[name] = float(path.at(np.array([at_s]))[0]) - math.log(metrics)
            self._stop = _Stop(at_s, *self._blamed(first, means))

    def _blamed(self, first: tuple[str, ...], means: dict[str, float]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Which slices are to blame, of those that crossed first, and which others are under suspicion by themselves.

        `means` are logs of each slice's mean e-value. Where the whole crossed, and of a column that can be routed some
        slices are under suspicion while the evidence on every other one is against a harm, it is those slices.
        """
        suspects = {name for name, mean in means.items() if mean >= math.log(self._fine_at) and name != OVERALL}
        alone = tuple(name for name in first if name != OVERALL)
        if not alone:
            for column in self._plan.routable:
                of_column = {name for name in means if name.split("=")[0] == column}
                if suspects & of_column and all(means[name] < 0 for name in of_column - suspects):
                    alone = tuple(sorted(suspects & of_column))
                    break
        blamed = alone or first
        return blamed, tuple(sorted(suspects - set(blamed)))

    def _resting(self, slice_name: str, moving: dict[str, Path]) -> list[float]:
        """Logs of the e-values of this slice's other metrics, of which no session came."""
        return [
            compared.worse
            for (name, of_slice), compared in self._compared.items()
            if of_slice == slice_name and name not in moving
        ]

    @property
    def turning_points(self) -> tuple[float, ...]:
        """Times (s) at which a look may first find an end, in order: `never` metrics, the stop, all settled."""
        found = [at_s for at_s, _ in self._never[:1]]
        found += [self._stop.at_s] if self._stop else []
        found += [settled_s] if (settled_s := self._settled_s()) is not None else []
        return tuple(sorted(found))

    def _required(self) -> dict[tuple[str, str], Comparison]:
        return {key: compared for key, compared in self._compared.items() if self._wholly or key[1] == OVERALL}

    def _settled_s(self) -> float | None:
        """The first time at which every pair that had opened was fine, and none was missing."""
        required = self._required()
        groups: dict[tuple[str, str], float] = {
            (name, column): math.inf
            for name, metric in self._judged.items()
            for column in (OVERALL, *((self._columns(metric)) if self._wholly else ()))
        }
        for (name, slice_name), compared in required.items():
            group = (name, slice_name.split("=", 1)[0])
            groups[group] = min(groups.get(group, math.inf), compared.opened_s)
        opened = np.array([compared.opened_s for compared in required.values()])
        fine = np.array([math.inf if compared.fine_s is None else compared.fine_s for compared in required.values()])
        present_s = max(groups.values(), default=math.inf)
        for at_s in np.unique(fine[np.isfinite(fine)]):
            if at_s >= present_s and (fine[opened <= at_s] <= at_s).all():
                return float(at_s)
        return None

    def _columns(self, metric: CanaryMetric) -> tuple[str, ...]:
        return self._plan.slices if metric.slices is None else metric.slices

    def _decide(self, now_s: float, end_s: float) -> Judgement:
        worse_at = max(len(self._compared), 1) / self._stop_alpha
        evidence = [
            describe(
                slice_name, name, self._plan.metrics[name], compared,
                state=self._state(name, slice_name), worse_at=worse_at, fine_at=self._fine_at,
            )
            for (name, slice_name), compared in sorted(self._compared.items(), key=lambda item: _order(item[0]))
        ]  # fmt: skip
        faults = tuple(self._health.faults(now_s))
        decision, reasons, at_s = self._verdict(evidence, faults, now_s, end_s)
        stable, canary = (sum(len(part) for part in parts) for parts in self._entered)
        slices = self._stop.slices if decision == "partial_rollback" and self._stop else ()
        return Judgement(
            decision, tuple(reasons), tuple(evidence), stable, canary, at_s, slices, faults, worse_at, self._fine_at
        )

    def _verdict(
        self, evidence: list[SliceEvidence], faults: tuple[str, ...], now_s: float, end_s: float
    ) -> tuple[CanaryDecision, list[str], float]:
        """Harm first, then what cannot be judged, then what is settled; the decision, its reasons, when it fell."""
        metrics = self._plan.metrics
        if broken := [name for at_s, name in self._never if at_s <= end_s]:
            counted = Counter(broken).items()
            return "rollback", [_never_said(metrics[name], name, count) for name, count in counted], self._never[0][0]
        if self._same_bundle or self._health.same_bundle:
            return "hold", ["the canary is the stable bundle: there is nothing to compare"], now_s
        if self._stop is not None:
            said = [sentence(row, metrics[row.metric]) for row in evidence if row.state == "worse"]
            said += [f"under suspicion too: {', '.join(self._stop.suspects)}"] if self._stop.suspects else []
            return ("partial_rollback" if self._partial(self._stop) else "rollback"), said, self._stop.at_s
        unsettled = self._unsettled(evidence)
        settled_s = self._settled_s()
        if not faults and not unsettled and settled_s is not None:
            about = "no slice is" if self._wholly else "the whole is not"
            return "promote", [f"every metric is settled: {about} worse by more than its margin"], settled_s
        return self._unready([*faults, *unsettled] or ["no evidence yet"], now_s, end_s)

    def _unready(self, reasons: list[str], now_s: float, end_s: float) -> tuple[CanaryDecision, list[str], float]:
        """R7.3: on while there is time; then telemetry that never came rolls back, what has not settled holds."""
        if now_s - self._started_s < self._plan.deadline_s:
            return "continue", reasons, now_s
        if not self._health.came:
            return "rollback", ["the deadline passed and no telemetry of the canary ever came"], end_s
        return "hold", reasons, end_s

    def _partial(self, stop: _Stop) -> bool:
        """R7.4: few slices fail, every one of them can be routed, and no other one that can is under suspicion."""
        suspects = {name for name in stop.suspects if name.split("=")[0] in self._plan.routable}
        routable = all(name.split("=")[0] in self._plan.routable for name in stop.slices)
        return routable and len({*stop.slices, *suspects}) <= MAX_PARTIAL_SLICES

    def _unsettled(self, evidence: list[SliceEvidence]) -> list[str]:
        required = self._required()
        said = [
            waiting(row, self._plan) if row.state == "waiting" else sentence(row, self._plan.metrics[row.metric])
            for row in evidence
            if row.state != "fine" and (row.metric, row.slice) in required
        ]
        for name, metric in self._judged.items():
            for column in (OVERALL, *(self._columns(metric) if self._wholly else ())):
                if not any(key[0] == name and key[1].split("=", 1)[0] == column for key in required):
                    said.append(f"{column} {name}: no session says anything of it")
        return said

    def _state(self, name: str, slice_name: str) -> State:
        compared = self._compared[name, slice_name]
        if self._stop is not None and slice_name in self._stop.slices:
            highest = max(other.worse for (_, of_slice), other in self._compared.items() if of_slice == slice_name)
            if compared.worse >= min(highest, math.log(self._fine_at)):
                return "worse"
        if compared.fine_s is not None:
            return "fine"
        return "undecided" if compared.ready else "waiting"


def added(moving: Iterable[Path], resting: Iterable[float] = ()) -> Path:
    """The log of the sum of e-processes at each of their steps; `resting` are logs of those that do not move."""
    paths, still = list(moving), list(resting)
    times = np.unique(np.concatenate([np.empty(0), *(path.at_s for path in paths)]))
    logs = [path.at(times) for path in paths] + [np.full(len(times), log_e) for log_e in still]
    before = float(np.logaddexp.reduce([*(path.before for path in paths), *still]))
    return Path(before, times, np.logaddexp.reduce(np.array(logs), axis=0))


def crossing_s(path: Path, opened_s: Floats, alpha: float) -> float | None:
    """When a slice's summed e-values first reach pairs / alpha, by the pairs that had opened (sorted times) then."""
    pairs = np.searchsorted(opened_s, path.at_s, side="right")
    reached = path.log_e >= np.log(np.maximum(pairs, 1) / alpha)
    return float(path.at_s[reached.argmax()]) if reached.any() else None


def _order(key: tuple[str, str]) -> tuple[bool, str, str]:
    name, slice_name = key
    return slice_name != OVERALL, slice_name, name


def _never_said(metric: CanaryMetric, name: str, count: int) -> str:
    return f"{name}: {count} canary requests have {columns_of(name, metric)[0]} above 0, none may"


def _check(plan: CanaryPlan) -> None:
    """Raises WrongCall where a metric cannot be read."""
    for name, metric in plan.metrics.items():
        lacking = [key for key in ("numerator", "denominator") if metric.kind == "ratio" and not getattr(metric, key)]
        if metric.kind == "quantile" and metric.budget is None:
            lacking.append("budget")
        if lacking:
            raise WrongCall(
                f"a {metric.kind} metric lacks {' and '.join(lacking)}", where=f"metrics.{name}",
                next_step=f"give {name} its {' and '.join(lacking)}",
            )  # fmt: skip
