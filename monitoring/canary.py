"""The canary judge: telemetry rows and a plan in, a decision with reasons out.

Purpose: decide whether a canary goes on, is promoted, held, or rolled back.
Boundary: pure: no I/O, no clock; `now_s` and the rows come in.
Invariants: a session enters when it is closed, and counts once; missing, stale, NaN or future-dated telemetry never
promotes (R7.3); a privacy error rolls back at once (R7.6); a metric that is not settled on every slice never promotes.
Method: a fixed rule on session-linearised differences with a normal interval (Deng et al. 2018, the delta method), at
Bonferroni's alpha over all (metric, slice) pairs. It may be looked at once a stage with honest error; continuous looks
inflate its false stops (statistics U6), which is why it decides only once every pair has its minimum of sessions. A
sequential judge takes its place behind the same interface.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING, Literal, NamedTuple

from contracts.policy import CanaryMetric, CanaryPlan
from contracts.reports import CanaryDecision, SliceEvidence

if TYPE_CHECKING:
    import pandas as pd

SESSION_GAP_S = 5.0
"""A session is closed when it has been silent for this long."""
FUTURE_S = 60.0
"""Rows dated later than this after `now_s` are a broken clock."""
MAX_PARTIAL_SLICES = 2
"""Up to so many failing slices are routed back alone; more roll the whole canary back (R7.4)."""


class Judgement(NamedTuple):
    """A decision, its reasons in sentences, and the evidence per (slice, metric)."""

    decision: CanaryDecision
    reasons: tuple[str, ...]
    evidence: tuple[SliceEvidence, ...]
    stable_sessions: int
    canary_sessions: int


def judge(
    rows: pd.DataFrame,
    plan: CanaryPlan,
    *,
    now_s: float,
    started_s: float,
    baseline: bool = True,
    gap_s: float = SESSION_GAP_S,
) -> Judgement:
    """Decide from one stage's rows (columns: timestamp, session_id, arm, slices, metric columns).

    `started_s` is when the stage began; `baseline` False judges a first release against budgets alone (R4.3). The
    answer is `continue` while evidence is still coming in and the deadline has not passed.
    """
    closed = _closed_sessions(rows, now_s, gap_s)
    arms = {arm: closed[closed["arm"] == arm] for arm in ("stable", "canary")}
    late = now_s - started_s >= plan.deadline_s
    evidence: list[SliceEvidence] = []
    decision: CanaryDecision
    if broken := _never(rows, plan):
        decision, reasons = "rollback", broken
    elif faults := telemetry_faults(rows, plan, now_s=now_s, started_s=started_s):
        decision, reasons = _without_telemetry(rows, faults, late)
    else:
        pairs = [
            (name, metric, slice_name)
            for name, metric in plan.metrics.items()
            if metric.kind != "never"
            for slice_name in ["overall", *_slice_names(closed, plan)]
        ]
        evidence = [_evidence(*pair, arms, plan, baseline=baseline, pairs=len(pairs)) for pair in pairs]
        decision, reasons = _decide(evidence, plan, late)
    counts = {arm: int(table["session_id"].nunique()) for arm, table in arms.items()}
    return Judgement(decision, tuple(reasons), tuple(evidence), counts["stable"], counts["canary"])


def _without_telemetry(rows: pd.DataFrame, faults: list[str], late: bool) -> tuple[CanaryDecision, list[str]]:
    """R7.3: hold while there is time; at the deadline telemetry that never came rolls back, broken telemetry holds."""
    if not late:
        return "continue", faults
    if rows.empty:
        return "rollback", ["the deadline passed and no telemetry ever came"]
    return "hold", faults


def telemetry_faults(rows: pd.DataFrame, plan: CanaryPlan, *, now_s: float, started_s: float) -> list[str]:
    """Why these rows cannot be trusted now (R7.3): nothing, stale, future-dated or not a number."""
    if rows.empty:
        silent_s = now_s - started_s
        return [f"no telemetry for {silent_s:.0f} s"] if silent_s > plan.stale_after_s else ["no telemetry yet"]
    newest = float(rows["timestamp"].max())
    faults = []
    if not math.isfinite(newest) or newest > now_s + FUTURE_S:
        faults.append("telemetry is dated in the future")
    elif now_s - newest > plan.stale_after_s:
        faults.append(f"telemetry is stale: the last row is {now_s - newest:.0f} s old (limit {plan.stale_after_s:g})")
    for name, metric in plan.metrics.items():
        lacking = [column for column in _columns(name, metric) if column not in rows.columns]
        if lacking:
            faults.append(f"telemetry has no column {', '.join(lacking)} for the metric {name}")
        for column in set(_columns(name, metric)) - set(lacking):
            if rows[column].isin([math.inf, -math.inf]).any():
                faults.append(f"telemetry has infinite values in {column}")
    return faults


def _columns(name: str, metric: CanaryMetric) -> list[str]:
    if metric.kind == "ratio":
        return [metric.numerator, metric.denominator]
    return [metric.column or name]


def _never(rows: pd.DataFrame, plan: CanaryPlan) -> list[str]:
    reasons = []
    for name, metric in plan.metrics.items():
        column = metric.column or name
        if metric.kind == "never" and column in rows.columns:
            canary = rows.loc[rows["arm"] == "canary", column].fillna(0)
            if (canary > 0).any():
                reasons.append(f"{name}: {int((canary > 0).sum())} canary requests have {column} above 0, none may")
    return reasons


def _closed_sessions(rows: pd.DataFrame, now_s: float, gap_s: float) -> pd.DataFrame:
    if rows.empty:
        return rows.reindex(columns=[*rows.columns, *({"arm", "session_id"} - set(rows.columns))])
    last = rows.groupby("session_id")["timestamp"].transform("max")
    return rows[last <= now_s - gap_s]


def _slice_names(rows: pd.DataFrame, plan: CanaryPlan) -> list[str]:
    return [
        f"{column}={value}"
        for column in plan.slices
        if column in rows.columns
        for value in sorted(rows[column].dropna().unique())
    ]


def _evidence(
    name: str,
    metric: CanaryMetric,
    slice_name: str,
    arms: dict[str, pd.DataFrame],
    plan: CanaryPlan,
    *,
    baseline: bool,
    pairs: int,
) -> SliceEvidence:
    sums = {arm: _sessions(_on_slice(table, slice_name), name, metric) for arm, table in arms.items()}
    rates = {arm: _rate(table) for arm, table in sums.items()}
    budget = _budget(metric)
    stable_rate = rates["stable"] if baseline else budget
    sessions = {arm: len(table) for arm, table in sums.items()}
    if not baseline:
        sessions["stable"] = sessions["canary"]  # the budget stands for the other arm, session by session
    enough = min(sessions.values()) >= plan.min_sessions
    estimate = lower = upper = None
    margin = metric.margin * (stable_rate or 0.0) if metric.relative else metric.margin
    if rates["canary"] is not None and stable_rate is not None:
        sign = 1.0 if metric.better == "lower" else -1.0
        estimate = sign * (rates["canary"] - stable_rate)
        z = NormalDist().inv_cdf(1 - plan.alpha / pairs)
        error = math.sqrt(_variance(sums["canary"]) + (_variance(sums["stable"]) if baseline else 0.0))
        lower, upper = estimate - z * error, estimate + z * error
    return SliceEvidence(
        slice=slice_name,
        metric=name,
        stable_sessions=sessions["stable"],
        canary_sessions=sessions["canary"],
        stable_rate=stable_rate,
        canary_rate=rates["canary"],
        estimate=estimate,
        lower=lower,
        upper=upper,
        margin=margin,
        state=_state(enough, estimate, lower, margin, budget, rates["canary"], metric),
    )


def _state(
    enough: bool,
    estimate: float | None,
    lower: float | None,
    margin: float,
    budget: float | None,
    canary_rate: float | None,
    metric: CanaryMetric,
) -> Literal["waiting", "fine", "worse", "undecided"]:
    if not enough or estimate is None or lower is None:
        return "waiting"
    if estimate > margin and lower > 0:
        return "worse"
    over_budget = metric.kind == "quantile" and budget is not None and (canary_rate or 0.0) > budget
    return "undecided" if estimate > margin or over_budget else "fine"


def _budget(metric: CanaryMetric) -> float | None:
    """In the unit of the rate: a quantile metric's rate is the share of requests over its budget (U7)."""
    return 1 - metric.quantile if metric.kind == "quantile" else metric.budget


def _on_slice(rows: pd.DataFrame, slice_name: str) -> pd.DataFrame:
    if slice_name == "overall":
        return rows
    column, value = slice_name.split("=", 1)
    return rows[rows[column] == value]


def _sessions(rows: pd.DataFrame, name: str, metric: CanaryMetric) -> pd.DataFrame:
    """One row a session: the sums `n` and `d` whose ratio is the rate."""
    import pandas as pd

    if metric.kind == "ratio":
        known = rows.dropna(subset=[metric.numerator, metric.denominator])
        table = pd.DataFrame({"n": known[metric.numerator], "d": known[metric.denominator]}).astype(float)
    else:
        column = metric.column or name
        known = rows.dropna(subset=[column])
        over = known[column].astype(float) > (metric.budget if metric.budget is not None else math.inf)
        table = pd.DataFrame({"n": over.astype(float), "d": 1.0}, index=known.index)
    return table.groupby(known["session_id"]).sum()


def _rate(sessions: pd.DataFrame) -> float | None:
    total = float(sessions["d"].sum())
    return float(sessions["n"].sum()) / total if total > 0 else None


def _variance(sessions: pd.DataFrame) -> float:
    """Variance of the ratio of sums over sessions, by linearisation."""
    rate = _rate(sessions)
    if rate is None or len(sessions) < 2:
        return 0.0
    residual = sessions["n"] - rate * sessions["d"]
    return float(residual.var(ddof=1) * len(sessions) / sessions["d"].sum() ** 2)


def _decide(evidence: list[SliceEvidence], plan: CanaryPlan, late: bool) -> tuple[CanaryDecision, list[str]]:
    worse = [row for row in evidence if row.state == "worse"]
    if worse:
        slices = {row.slice for row in worse}
        routable = all(name != "overall" and name.split("=")[0] in plan.routable for name in slices)
        partial = routable and len(slices) <= MAX_PARTIAL_SLICES
        return "partial_rollback" if partial else "rollback", [_sentence(row) for row in worse]
    unsettled = [_sentence(row) for row in evidence if row.state == "undecided"]
    unsettled += [_waiting(row, plan) for row in evidence if row.state == "waiting"]
    if evidence and not unsettled:
        return "promote", ["no slice is worse by more than its margin"]
    return "hold" if late else "continue", unsettled or ["no evidence yet"]


def _waiting(row: SliceEvidence, plan: CanaryPlan) -> str:
    if min(row.canary_sessions, row.stable_sessions) >= plan.min_sessions:
        return f"{row.slice} {row.metric}: nothing to compare with (a first release is held to the metric's budget)"
    return (
        f"{row.slice} {row.metric}: {row.canary_sessions} canary and {row.stable_sessions} stable sessions "
        f"of {plan.min_sessions} needed"
    )


def _sentence(row: SliceEvidence) -> str:
    if row.estimate is None or row.lower is None or row.upper is None:
        return f"{row.slice} {row.metric}: no estimate"
    return (
        f"{row.slice} {row.metric}: {row.stable_rate:.3f} -> {row.canary_rate:.3f}, difference {row.estimate:+.3f} "
        f"[{row.lower:+.3f}, {row.upper:+.3f}], margin {row.margin:.3f}: {row.state}"
    )
