"""The rollback that drift recommends: where it goes to, and whether drift may start it.

Boundary: the ledger, the pointer, the store, the key ring; moves nothing. Prefect's rollback deployment does, through
operations/rollback.py, after `require` has looked at every limit again.
Invariants: the limits are those of monitoring/drift/take_back.py; who signs is a key of its own, so that the ledger
names drift as the actor of what drift did.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from contracts.digest import Digest, short
from contracts.drift import DriftEvaluation, DriftSettings, TakeBack
from contracts.errors import Refused, SoundcheckError
from monitoring.drift import take_back
from operations import keys, pointer
from operations.context import Context
from operations.rollback import way_back
from registry.documents import get_document
from registry.release_state import ReleaseState

SECTION = "drift"


class Target(NamedTuple):
    """The bundle to go to and its version, or why there is none."""

    bundle: Digest | None
    version: str
    fault: str


def settings_of(context: Context, family: str, window_h: int | None = None) -> DriftSettings:
    """The family's section of `drift` in params.yaml over that of `defaults`; WrongCall for a wrong value."""
    over = {"window_h": window_h} if window_h else {}
    return context.settings.of_family(SECTION, DriftSettings, family, **over)


def decide(context: Context, evaluation: DriftEvaluation) -> TakeBack:
    """The rollback of an evaluation that recommends one, with all that stands against starting it now."""
    settings = settings_of(context, evaluation.family)
    state = context.ledger(evaluation.family).state()
    found = target(context, evaluation.family)
    standing = _standing(context, evaluation, settings, state, found)
    against = take_back.refusals(evaluation, standing, settings)
    return TakeBack(target=found.bundle, version=found.version, key=settings.rollback_key, refusals=against)


def require(context: Context, family: str, evaluation: Digest, *, key_name: str) -> None:
    """Refused unless drift may start the rollback of this evaluation of the family now, signed by this key."""
    found = get_document(context.store, DriftEvaluation, evaluation)
    decided = decide(context, found)
    against = list(decided.refusals)
    if found.family != family:
        against.append(f"the evaluation is of {found.family}")
    if key_name != decided.key:
        against.append("the key is not the one that params.yaml names as `rollback_key`")
    if against:
        raise Refused(
            "drift may not take the family back",
            where=f"{family}, drift evaluation {short(evaluation)}",
            got="; ".join(against),
            expected="no limit of docs/drift.md reached",
            next_step=f"look at its page; a person may: soundcheck rollback {family} --key KEY --reason TEXT",
        )


def target(context: Context, family: str) -> Target:
    """The newest bundle that was stable, verifies and is compatible (B1 to B4)."""
    try:
        found = way_back(context, family, context.ledger(family).state())
    except SoundcheckError as error:
        return Target(None, "", error.what)
    return Target(found.target, found.version, "")


def _standing(
    context: Context, evaluation: DriftEvaluation, settings: DriftSettings, state: ReleaseState, found: Target
) -> take_back.Standing:
    table, now_s = pointer.current(context, evaluation.family).table, context.now().timestamp()
    back = [move for move in (*state.history, *state.slice_moves) if move.kind == "rollback"]
    last_s = max((datetime.fromisoformat(move.at).timestamp() for move in back), default=None)
    return take_back.Standing(
        is_stable=table is not None and table.stable == evaluation.bundle == state.current,
        age_s=now_s - datetime.fromisoformat(evaluation.at).timestamp(),
        has_canary=table is not None and table.canary is not None,
        is_moving=bool(state.open_intents),
        is_frozen=state.frozen,
        slices=len(table.slice_rules) if table else 0,
        newest=state.history[-1].kind if state.history else None,
        since_rollback_s=None if last_s is None else now_s - last_s,
        no_target=found.fault,
        no_signer=_no_signer(context, settings.rollback_key),
    )


def _no_signer(context: Context, name: str) -> str:
    try:
        keys.require_role(context, keys.load(context, name), "operator")
    except SoundcheckError as error:
        return f"{error.what} (soundcheck keys new {name} --role operator)"
    return ""
