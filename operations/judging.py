"""The canary judge on a file of telemetry: replayed in time order, as if it were live.

Boundary: reads a Parquet table and a YAML plan.
Invariants: no look sees a row dated after it; the first terminal decision stands, and is found exactly.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import yaml
from pydantic import ValidationError

from contracts.errors import WrongCall
from contracts.policy import CanaryPlan
from monitoring.canary import Judge, Judgement

if TYPE_CHECKING:
    import pandas as pd

SESSION_GAP_S = 30.0
"""A session of a table is closed when it has been silent for this long: people pause between two commands."""
LOOKS = 200
"""Looks after a settled canary was kept from its promotion."""


def read_plan(path: Path) -> CanaryPlan:
    """A plan in the form of house.md; WrongCall names the first wrong field."""
    try:
        return CanaryPlan.model_validate(yaml.safe_load(path.read_text()))
    except yaml.YAMLError as error:
        raise WrongCall("the plan does not parse", where=str(path), got=str(error).split("\n")[0]) from None
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise WrongCall(
            "the plan has a wrong value", where=f"{path}: {field}", got=first["msg"], next_step=f"correct {field!r}"
        ) from None


def judge_file(telemetry: Path, plan_path: Path) -> dict[str, Any]:
    """The JSON of `soundcheck judge`: decision, at, reasons, slices.

    `at` is the first time at which a look would have found an end; a table that ends before the deadline is at its end
    `continue`, or `hold` where its telemetry cannot be trusted. Raises WrongCall where plan or table do not read.
    """
    plan = read_plan(plan_path)
    rows = _read_rows(telemetry)
    times = rows["timestamp"].to_numpy(dtype=float)
    if not np.isfinite(times).any():
        return {"decision": "hold", "at": None, "reasons": ["the telemetry has no rows with a time"], "slices": {}}
    started_s = float(np.nanmin(times))
    end_s = min(float(np.nanmax(times[np.isfinite(times)])) + SESSION_GAP_S, started_s + plan.deadline_s)
    judgement = _first_end(rows, times, plan, started_s, end_s)
    decision = "hold" if judgement.decision == "continue" and judgement.faults else judgement.decision
    slices: dict[str, dict[str, Any]] = {}
    for row in judgement.evidence:
        slices.setdefault(row.slice, {})[row.metric] = row.model_dump(exclude={"slice", "metric"})
    return {"decision": decision, "at": judgement.at_s, "reasons": list(judgement.reasons), "slices": slices}


def _read_rows(telemetry: Path) -> pd.DataFrame:
    """The table in time order, rows without a time last."""
    import pandas as pd

    try:
        rows = pd.read_parquet(telemetry)
    except (OSError, ValueError) as error:
        raise WrongCall(
            "the telemetry does not read", where=str(telemetry), got=type(error).__name__, expected="a Parquet table"
        ) from None
    lacking = sorted({"timestamp", "session_id", "arm"} - set(rows.columns))
    if lacking:
        raise WrongCall(
            "the telemetry lacks columns", where=str(telemetry), got="missing: " + ", ".join(lacking),
            expected="timestamp, session_id, arm, slice and metric columns", next_step="add them",
        )  # fmt: skip
    if not pd.api.types.is_numeric_dtype(rows["timestamp"]):
        raise WrongCall(
            "timestamps are not seconds", where=str(telemetry), got=str(rows["timestamp"].dtype),
            expected="numbers: seconds since the epoch, or since the start",
        )  # fmt: skip
    return rows.sort_values("timestamp", kind="stable", na_position="last", ignore_index=True)


def _first_end(
    rows: pd.DataFrame, times: npt.NDArray[np.float64], plan: CanaryPlan, started_s: float, end_s: float
) -> Judgement:
    """The first look that ends: a judge that saw everything says when to look, one that sees the past alone decides.

    Where telemetry that cannot be trusted keeps a settled canary from its promotion, looks go on from then in steps.
    """
    ahead = Judge(plan, started_s=started_s, gap_s=SESSION_GAP_S)
    ahead.feed(rows)
    ahead.look(end_s)
    turns = [at_s for at_s in ahead.turning_points if at_s < end_s]
    looks = sorted({*turns, *(np.linspace(turns[0], end_s, LOOKS) if turns else ()), end_s})
    judging = Judge(plan, started_s=started_s, gap_s=SESSION_GAP_S)
    seen = 0
    for now_s in looks:
        known = int(np.searchsorted(times, now_s, side="right")) if now_s < end_s else len(times)
        judging.feed(rows.iloc[seen:known])
        seen = known
        judgement = judging.look(now_s)
        if judgement.decision != "continue":
            break
    return judgement
