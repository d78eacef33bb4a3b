"""What the automations of automations.yaml listen to: a canary is looked at, a budget burns, drift was found.

Boundary: Prefect's events, sent in the background. Source: Prefect's reactive and proactive triggers.
Invariants: without a Prefect server nothing is sent; a server that is away stops nobody, since an event is a hint and
never evidence; an event holds a family, a version, counts, rates, digests and a key's name, no label of a request;
what a process tells of one family is read in the order in which it was told.
"""

from __future__ import annotations

from prefect.events import Event, emit_event
from prefect.settings import PREFECT_API_URL

from contracts.digest import Digest
from contracts.drift import Outcome, TakeBack
from operations.burning import Burning

CANARY_LOOK = "soundcheck.canary.look"
"""Somebody watches the family's canary."""
CANARY_SETTLED = "soundcheck.canary.settled"
"""Nobody has to watch it any more: it was promoted or taken off, or it is a shadow that waits for approval."""
BUDGET = "soundcheck.budget."
"""An error budget burns too fast; `page` or `ticket` follows, as serving/objectives.py says."""
DRIFT = "soundcheck.drift."
"""Drift was looked for; its outcome follows."""
DRIFT_TAKES_BACK = "soundcheck.drift.start_rollback"
"""Drift recommends a rollback, and nothing stands against starting it."""

_told: dict[str, Event] = {}
"""The last event of each family: Prefect reads events two at a time, and a last look that is read after `settled` would
have a canary stopped that was settled."""


def canary_look(family: str, version: str, stage: str) -> None:
    """A canary was looked at."""
    _emit(CANARY_LOOK, family, version=version, stage=stage)


def canary_settled(family: str, version: str) -> None:
    """A canary need not be looked at any more."""
    _emit(CANARY_SETTLED, family, version=version)


def budget_burns(found: Burning) -> None:
    """A budget burns too fast in both windows of its alarm."""
    _emit(
        f"{BUDGET}{found.action}", found.family, objective=found.objective, rate=round(found.rate, 2),
        due_from=found.due_from, short_s=found.short_s, long_s=found.long_s, slices=found.slices,
    )  # fmt: skip


def drift_evaluated(family: str, outcome: Outcome) -> None:
    """Drift was looked for."""
    _emit(f"{DRIFT}{outcome}", family, outcome=outcome)


def drift_takes_back(family: str, evaluation: Digest, back: TakeBack) -> None:
    """Drift starts the rollback that an evaluation recommends."""
    _emit(DRIFT_TAKES_BACK, family, evaluation=evaluation, version=back.version, key=back.key)


def _emit(event: str, family: str, **payload: object) -> None:
    if PREFECT_API_URL.value():
        resource = {"prefect.resource.id": f"soundcheck.family.{family}", "prefect.resource.name": family}
        told = emit_event(event, {**resource, "soundcheck.family": family}, payload=payload, follows=_told.get(family))
        if told is not None:
            _told[family] = told
