"""May drift start the rollback that it recommends? Every limit, each with its reason in a sentence.

Boundary: pure; where the family stands in, refusals out.
Invariants: nothing is started unless params.yaml says so for the family; all limits are looked at when the evaluation
is made and again when the rollback runs; what is not known is a refusal.

T1 `drift.rollback` is `start`.
T2 A rollback is what the evaluation recommends: what stable makes of traffic got worse by twice a margin of `page_on`,
   and traffic did not move; or audio comes at rates that stable refuses and the bundle before takes, and nothing else
   of our own differs. For a change of the population another bundle would hear the same; front end and engines are
   those of every bundle of this machine: both page a person instead.
T3 Every check of our own machinery could be made.
T4 The bundle that was looked at is still stable, and the evaluation is not older than FRESH_S.
T5 No canary has traffic, and no move of the pointer is under way.
T6 No person has set the family: it is not frozen, no slices are routed by hand, and its newest move is a promotion (a
   bundle that somebody went back or forward to stays).
T7 The family's last rollback, whoever made it, is `rollback_cooldown_h` hours ago or more.
T8 There is a bundle to go to that was stable, verifies and is compatible (B1 to B4).
T9 The key named by `rollback_key` lies here and may act as operator (B0).
Source: release-algorithm B0 to B4, R7.4; coverage 27, 37.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from contracts.drift import DriftEvaluation, DriftSettings

FRESH_S = 6 * 3600.0
"""How old an evaluation may be when its rollback runs."""


class Standing(NamedTuple):
    """Where a family stands.

    Attributes:
        is_stable: whether the bundle that was evaluated still is.
        age_s: of the evaluation.
        has_canary, is_moving: a canary has traffic; a promotion or rollback has begun and has no outcome.
        is_frozen, slices: promotions are forbidden; how many slices are routed by a rule.
        newest: kind of the family's newest move.
        since_rollback_s: since its last rollback; None: never.
        no_target, no_signer: why there is no bundle to go to, and nobody who signs; "" where there is.
    """

    is_stable: bool
    age_s: float
    has_canary: bool
    is_moving: bool
    is_frozen: bool
    slices: int
    newest: Literal["promote", "rollback", "forward"] | None
    since_rollback_s: float | None
    no_target: str
    no_signer: str


def refusals(evaluation: DriftEvaluation, standing: Standing, settings: DriftSettings) -> tuple[str, ...]:
    """What stands against starting it, by T1 to T9; () where nothing does."""
    unseen = [check.name for check in evaluation.checks if check.same is None]
    hours = None if standing.since_rollback_s is None else standing.since_rollback_s / 3600
    against = (
        (settings.rollback != "start", "T1: params.yaml says rollback: recommend"),
        (evaluation.outcome != "recommend_rollback" or evaluation.cause not in ("bundle", "pipeline"),
         f"T2: the evaluation asks for {evaluation.outcome}, the change is of: {evaluation.cause}"),
        (bool(unseen), f"T3: could not be checked: {', '.join(unseen)}"),
        (not standing.is_stable, "T4: another bundle is stable now"),
        (standing.age_s > FRESH_S,
         f"T4: the evaluation is {standing.age_s / 3600:.1f} h old, at most {FRESH_S / 3600:g} h"),
        (standing.has_canary, "T5: a canary has traffic"),
        (standing.is_moving, "T5: a promotion or rollback is under way"),
        (standing.is_frozen, "T6: the family is frozen"),
        (standing.slices > 0, f"T6: slices are routed by hand: {standing.slices}"),
        (standing.newest != "promote", f"T6: the newest move is no promotion but: {standing.newest or 'none'}"),
        (hours is not None and hours < settings.rollback_cooldown_h,
         f"T7: the last rollback was {hours or 0:.1f} h ago, {settings.rollback_cooldown_h:g} h must be between two"),
        (bool(standing.no_target), f"T8: {standing.no_target}"),
        (bool(standing.no_signer), f"T9: {standing.no_signer}"),
    )  # fmt: skip
    return tuple(reason for holds, reason in against if holds)
