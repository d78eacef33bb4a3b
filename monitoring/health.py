"""Whether telemetry can be trusted now: missing, stale, not a number, dated in the future, mislabelled (R7.3).

Boundary: pure; rows and the time in, sentences out.
Invariants: telemetry that has a fault never promotes; what is broken in a row stays a fault for as long as the row is
part of the evidence; rows that are not valid are kept from the judge.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from contracts.policy import CanaryMetric, CanaryPlan
from monitoring.sessions import values

if TYPE_CHECKING:
    import pandas as pd

FUTURE_S = 60.0
"""Rows dated later than this after `now_s` are a broken clock."""
LEAST_ROWS = 20
"""Of an arm, before it is asked whether a metric is lacking."""
LACKING = 0.10
"""By how much the share of rows without a metric may be larger on the canary than on stable."""
ARMS = ("stable", "canary")
IGNORED_ARMS = ("shadow",)
"""Copies that answer nobody; in the shadow stage they are handed over as the canary."""


class Health:
    """Fed with the rows that the judge gets; `faults` says what is wrong with them."""

    def __init__(self, plan: CanaryPlan, *, started_s: float, baseline: bool) -> None:
        self._plan = plan
        self._started_s = started_s
        self._arms = ARMS if baseline else ("canary",)
        self._newest = dict.fromkeys(ARMS, -math.inf)
        self._future_s = -math.inf
        self._broken: Counter[str] = Counter()
        self._lacking_columns: dict[str, str] = {}
        self._rows = dict.fromkeys(ARMS, 0)
        self._usable: Counter[tuple[str, str]] = Counter()
        self._bundles: dict[str, set[object]] = {arm: set() for arm in ARMS}

    def take(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Note what is wrong with the rows; returns those that can be judged."""
        times = rows["timestamp"].to_numpy(dtype=np.float64, na_value=np.nan)
        dated, named = np.isfinite(times), rows["session_id"].notna().to_numpy()
        labelled = rows["arm"].isin(ARMS).to_numpy()
        self._note("rows without a finite timestamp", ~dated)
        self._note("rows without a session", ~named)
        self._note(
            "rows whose arm is neither stable nor canary", ~labelled & ~rows["arm"].isin(IGNORED_ARMS).to_numpy()
        )
        rows = rows[dated & named & labelled]
        for arm in ARMS:
            self._take_arm(arm, rows[(rows["arm"] == arm).to_numpy()])
        return rows

    def _take_arm(self, arm: str, rows: pd.DataFrame) -> None:
        if rows.empty:
            return
        self._rows[arm] += len(rows)
        self._newest[arm] = max(self._newest[arm], float(rows["timestamp"].max()))
        if "bundle" in rows.columns:
            self._bundles[arm] |= set(rows["bundle"].dropna().unique())
        for column in self._plan.slices:
            if column not in rows.columns:
                self._lacking_columns[column] = f"telemetry has no column {column} for the slices"
        for name, metric in self._plan.metrics.items():
            columns = columns_of(name, metric)
            if lacking := [column for column in columns if column not in rows.columns]:
                self._lacking_columns[name] = f"telemetry has no column {', '.join(lacking)} for the metric {name}"
                continue
            self._take_metric(arm, name, metric, rows, columns)

    def _take_metric(self, arm: str, name: str, metric: CanaryMetric, rows: pd.DataFrame, columns: list[str]) -> None:
        found = [rows[column].to_numpy(dtype=np.float64, na_value=np.nan) for column in columns]
        for column, value in zip(columns, found, strict=True):
            self._note(f"rows with infinite values in {column}", np.isinf(value))
            self._note(f"rows with values below 0 in {column}", value < 0)
        if metric.kind == "ratio":
            self._note(f"rows with one of {' and '.join(columns)} alone", np.isnan(found[0]) != np.isnan(found[1]))
        if metric.kind == "never":
            self._note(f"rows of the {arm} that say nothing of {columns[0]}", np.isnan(found[0]))
        else:
            self._usable[arm, name] += int(np.isfinite(values(rows, name, metric)[0]).sum())

    def _note(self, fault: str, where: np.ndarray) -> None:
        if count := int(where.sum()):
            self._broken[fault] += count

    @property
    def came(self) -> bool:
        """Whether any telemetry of the canary ever came."""
        return self._rows["canary"] > 0

    @property
    def same_bundle(self) -> bool:
        """Whether both arms name one bundle, so that there is nothing to compare."""
        canary, stable = self._bundles["canary"], self._bundles["stable"]
        return len(canary) == 1 and canary == stable

    def faults(self, now_s: float) -> list[str]:
        """Why the telemetry cannot be trusted now."""
        if not any(self._rows.values()) and not self._broken:
            silent_s = now_s - self._started_s
            late = silent_s > self._plan.stale_after_s
            return [f"no telemetry for {silent_s:.0f} s" if late else "no telemetry yet"]
        found = [f"telemetry has {count} {fault}" for fault, count in self._broken.items()]
        found += self._lacking_columns.values()
        for arm in self._arms:
            found += self._silent(arm, now_s)
        for name, metric in self._plan.metrics.items():
            if metric.kind != "never" and name not in self._lacking_columns:
                found += self._missing(name)
        return found

    def _silent(self, arm: str, now_s: float) -> list[str]:
        limit_s = self._plan.stale_after_s
        newest = self._newest[arm]
        if newest > now_s + FUTURE_S:
            return [f"telemetry of the {arm} is dated in the future"]
        if newest == -math.inf:
            silent_s = now_s - self._started_s
            return [f"no telemetry of the {arm} for {silent_s:.0f} s"] if silent_s > limit_s else []
        if now_s - newest <= limit_s:
            return []
        return [f"telemetry of the {arm} is stale: the last row is {now_s - newest:.0f} s old (limit {limit_s:g})"]

    def _missing(self, name: str) -> list[str]:
        if any(self._rows[arm] < LEAST_ROWS for arm in self._arms):
            return []
        lacking = {arm: 1 - self._usable[arm, name] / self._rows[arm] for arm in self._arms}
        elsewhere = lacking.get("stable", 0.0)
        if lacking["canary"] == 1 or (len(lacking) > 1 and lacking["canary"] - elsewhere > LACKING):
            return [
                f"telemetry lacks {name} on {lacking['canary']:.0%} of the canary's rows, {elsewhere:.0%} of stable's"
            ]
        return []


def columns_of(name: str, metric: CanaryMetric) -> list[str]:
    """The columns that a metric is read from."""
    return list(metric.columns(name))
