"""The canary judge on a file of telemetry: replayed in time order, as if it were live.

Boundary: reads a Parquet table and a YAML plan.
Invariants: no look sees a row dated after it; the first terminal decision stands.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from contracts.errors import WrongCall
from contracts.policy import CanaryPlan
from monitoring.canary import SESSION_GAP_S, judge

LOOKS = 500
"""Looks over the whole file: often enough to find when, few enough for millions of rows."""


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
    """The JSON of `soundcheck judge`: decision, at, reasons, slices."""
    import pandas as pd

    plan = read_plan(plan_path)
    rows = pd.read_parquet(telemetry)
    lacking = sorted({"timestamp", "session_id", "arm"} - set(rows.columns))
    if lacking:
        raise WrongCall(
            "the telemetry lacks columns", where=str(telemetry), got="missing: " + ", ".join(lacking),
            expected="timestamp, session_id, arm, slice and metric columns", next_step="add them",
        )  # fmt: skip
    rows = rows.sort_values("timestamp", kind="stable")
    if rows.empty:
        return {"decision": "hold", "at": None, "reasons": ["the telemetry has no rows"], "slices": {}}
    started_s = float(rows["timestamp"].iloc[0])
    last_s = min(float(rows["timestamp"].iloc[-1]) + SESSION_GAP_S, started_s + plan.deadline_s)
    step_s = max((last_s - started_s) / LOOKS, 1e-3)
    now_s = started_s
    while True:
        now_s = min(now_s + step_s, last_s)
        judgement = judge(rows[rows["timestamp"] <= now_s], plan, now_s=now_s, started_s=started_s)
        if judgement.decision != "continue" or now_s >= last_s:
            break
    slices: dict[str, dict[str, Any]] = {}
    for row in judgement.evidence:
        slices.setdefault(row.slice, {})[row.metric] = row.model_dump(exclude={"slice", "metric"})
    return {
        "decision": judgement.decision,
        "at": now_s,
        "reasons": list(judgement.reasons),
        "slices": slices,
    }
