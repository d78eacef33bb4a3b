"""Which telemetry a stage of a canary is judged by: like compared with like.

Boundary: tables in, tables out; no I/O.
Invariants: both arms of a stage have the same kind of traffic: the cohort's stable arm is the cohort's own, and what a
slice rule sends elsewhere is in neither arm; the stable arm is what users get when nothing is wrong, the small model of
a cascade included, an answer that was degraded not; audits of a cascade are nobody's answer; a row that says it is the
canary's and names another bundle stays, with an arm nobody knows, so that the judge sees mislabelled telemetry
(fault 37).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from contracts.routing import CanaryRoute

if TYPE_CHECKING:
    import pandas as pd

MISLABELLED = "mislabelled"


def comparable(
    rows: pd.DataFrame,
    route: CanaryRoute,
    *,
    first_version: int,
    last_version: int,
    elsewhere: Mapping[str, tuple[str, ...]],
) -> pd.DataFrame:
    """The rows of one stage, with `arm` as the judge knows it.

    Args:
        rows: a family's telemetry (columns of TelemetryRow).
        first_version, last_version: of the route table while the stage was routed.
        elsewhere: label -> values whose traffic slice rules send elsewhere.
    """
    versions = rows["route_version"].between(first_version, last_version)
    copies = (rows["arm"] == "shadow") & ((rows["cascade"] == "audit") | (route.stage != "shadow"))
    less = (rows["arm"] == "stable") & (rows["degraded"] != "no")
    rows = rows[versions & _in_cohort(rows, route) & ~_ruled(rows, elsewhere) & ~copies & ~less]
    arm = rows["arm"].replace("shadow", "canary")
    return rows.assign(arm=arm.mask((arm == "canary") & (rows["bundle"] != route.bundle), MISLABELLED))


def _in_cohort(rows: pd.DataFrame, route: CanaryRoute) -> pd.Series[bool]:
    """Whether a request is of the traffic that the stage is about."""
    wanted: Mapping[str, tuple[str, ...]] = {}
    if route.stage == "cohort":
        wanted = route.cohort
    elif route.stage == "probe":
        wanted = {"probe": ("yes",)}
    inside = rows["arm"].notna() | True
    for label, values in wanted.items():
        inside &= rows[label].isin(values)
    return inside


def _ruled(rows: pd.DataFrame, elsewhere: Mapping[str, tuple[str, ...]]) -> pd.Series[bool]:
    ruled = rows["arm"].isna() & False
    for label, values in elsewhere.items():
        if label in rows.columns:
            ruled |= rows[label].isin(values)
    return ruled


def never_again(rows: pd.DataFrame) -> tuple[list[str], bool]:
    """R7.6: why the canary must end at once, in sentences; and whether its open streams must be closed with it.

    A privacy error closes them; a worker that died (out of memory, a crash) lets them drain.
    """
    mine = rows[rows["arm"] == "canary"]
    private = int((mine["privacy_errors"].fillna(0) > 0).sum())
    died = int(mine["worker_died"].fillna(0).sum())
    reasons = []
    if private:
        reasons.append(f"{private} canary requests have a privacy error, none may: its open streams are closed")
    if died:
        reasons.append(f"{died} workers of the canary died over its requests")
    return reasons, bool(private)
