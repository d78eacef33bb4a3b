"""R9.3 Bake: a new stable bundle is watched for a while after its promotion; a breach takes the family back.

Boundary: reads telemetry and the ledger; goes back by operations/rollback.py.
Invariants: there is no second arm any more, so what is judged is what needs none: budgets and `never` metrics of the
family's canary plan, by the same sequential judge, as a first release is (R4.3, R7.2); however often one looks, the
error stays the plan's. Telemetry that is missing or stale takes nobody back: that is an alarm's business. Somebody
else's move ends the watch. The bundle that was left stays warm meanwhile (operations/promote.py).
"""

from __future__ import annotations

import time
from datetime import datetime
from typing import Literal, NamedTuple

from contracts.digest import Digest
from contracts.errors import Refused
from contracts.policy import CanaryPlan
from monitoring.canary import Judgement, judge
from operations import keys
from operations.context import Context
from operations.rollback import RolledBack, rollback
from registry.release_state import Promotion

LOOK_S = 1.0
"""Seconds between two looks of the judge."""
_FAR_S = 86_400.0
"""The plan's deadline lies beyond the bake time: what a deadline decides is not asked here."""


class Baked(NamedTuple):
    """How the watch ended; `reasons` say why the family was taken back, by `back`."""

    bundle: Digest
    outcome: Literal["good", "taken back", "superseded"]
    watched_s: float
    reasons: tuple[str, ...] = ()
    back: RolledBack | None = None


def bake(context: Context, family: str, *, key_name: str) -> Baked:
    """Watch the newest promotion until its bake time is over; a breach is a rollback, signed by the operator's key.

    Raises Refused where the newest move was no promotion, or the key is no operator's; what `rollback` raises.
    """
    keys.require_role(context, keys.load(context, key_name), "operator")
    policy = context.settings.policy(family)
    promotion = _promotion(context, family)
    started_s = datetime.fromisoformat(promotion.at).timestamp()
    plan = policy.canary.model_copy(update={"deadline_s": policy.bake_time_s + _FAR_S})
    while (watched_s := context.now().timestamp() - started_s) < policy.bake_time_s:
        context.progress("bake", int(watched_s), int(policy.bake_time_s))
        if _newest(context, family) != promotion:
            return Baked(promotion.bundle, "superseded", watched_s)
        said = _judged(context, family, promotion, plan, started_s)
        if said.decision == "rollback":
            back = rollback(context, family, key_name=key_name, reason=f"bake: {said.reasons[0]}")
            return Baked(promotion.bundle, "taken back", watched_s, said.reasons, back)
        time.sleep(LOOK_S)
    return Baked(promotion.bundle, "good", watched_s)


def _newest(context: Context, family: str) -> Promotion | None:
    history = context.ledger(family).state().history
    return history[-1] if history else None


def _promotion(context: Context, family: str) -> Promotion:
    newest = _newest(context, family)
    if newest is None or newest.kind != "promote":
        raise Refused(
            "nothing bakes",
            where=family,
            got=f"the newest move is a {newest.kind}" if newest else "no release was promoted yet",
            expected="a family whose newest move is a promotion",
            next_step=f"soundcheck status {family}",
        )
    return newest


def _judged(context: Context, family: str, promotion: Promotion, plan: CanaryPlan, started_s: float) -> Judgement:
    """The judge's word on what users got from the promoted bundle."""
    from serving.telemetry import read

    rows = read(context.home / "telemetry", family, started_s)
    own = rows[
        (rows["arm"] == "stable")
        & (rows["bundle"] == promotion.bundle)
        & (rows["route_version"] >= (promotion.route_version or 0))
    ]
    now_s = context.now().timestamp()
    return judge(own.assign(arm="canary"), plan, now_s=now_s, started_s=started_s, baseline=False)
