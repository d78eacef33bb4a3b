"""Which bundle a family goes back to: clauses B1 to B4 of the release algorithm, in their order.

Boundary: no I/O and no clock here; whether a bundle is whole and compatible is asked of two functions that come in.
Invariants: the answer is a bundle that was stable, is not current, not condemned, not erased, and (unless it was
named) not withdrawn; nothing is guessed: no target is a refusal that says why each candidate fell out.
Source: release-algorithm B1 to B4; `weigh` is the rollback candidate selector of the seed labs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from contracts.digest import Digest, short
from contracts.errors import Corrupt, Refused, WrongCall
from registry.release_state import ReleaseState

Healthy = Callable[[Digest], list[str]]
"""The faults of a bundle's manifest, signature, blobs and chain, in sentences; [] is a whole bundle (B3)."""
Compatible = Callable[[Digest], str | None]
"""Why today's clients and data could not use a bundle, or None (B4)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """Where to go.

    Attributes:
        target, version: the bundle and its version.
        kind: `rollback` withdraws the bundle it leaves (B0); `forward` returns to a later, withdrawn one.
        skipped: broken bundles that were passed over, with the reason: to be condemned, and a person paged (B3).
    """

    target: Digest
    version: str
    kind: Literal["rollback", "forward"]
    skipped: tuple[tuple[Digest, str], ...] = ()


class NoTarget(Refused):
    """Nothing to go back to; `skipped` are the broken bundles, to be condemned all the same."""

    skipped: tuple[tuple[Digest, str], ...] = ()

    def __reduce__(self) -> tuple[object, ...]:
        """Keep `skipped` when the error crosses a process border."""
        return (*super().__reduce__(), {"skipped": self.skipped})


def candidates(state: ReleaseState) -> list[Digest]:
    """B1, B2: what an unnamed rollback may choose from, newest promotion first."""
    stable = {move.bundle for move in state.history}
    out = state.withdrawn | state.condemned | state.erased | {state.current}  # S5: what lacks its weights cannot run
    return sorted(stable - out, key=lambda bundle: -(state.promoted_at(bundle) or 0))


def rollback_target(
    state: ReleaseState, *, named: Digest | None, healthy: Healthy, compatible: Compatible
) -> Resolution:
    """The bundle to go back to.

    Args:
        state: the family's state.
        named: the bundle a person asks for, or None.
        healthy, compatible: see Healthy and Compatible; each is asked only about candidates, newest first.

    Raises Refused (NoTarget where broken bundles were passed over) with the reason and the way forward; Corrupt where
    the named bundle is broken.
    """
    if named is not None:
        return _named(state, named, healthy, compatible)
    skipped: list[tuple[Digest, str]] = []
    ordered = candidates(state)  # B1, B2
    for place, bundle in enumerate(ordered):
        if faults := healthy(bundle):  # B3
            skipped.append((bundle, "; ".join(faults)))
            continue
        if reason := compatible(bundle):  # B4
            raise _incompatible(state, bundle, reason, ordered[place + 1 :], compatible)
        return Resolution(target=bundle, version=version_of(state, bundle), kind="rollback", skipped=tuple(skipped))
    raise _nothing(state, tuple(skipped))


def _named(state: ReleaseState, named: Digest, healthy: Healthy, compatible: Compatible) -> Resolution:
    label = f"{version_of(state, named)} {short(named)}".strip()
    if reason := _unfit(state, named):
        raise Refused(
            f"cannot go back to {label}: {reason}",
            where=f"family {state.family}",
            expected=_offer(state, candidates(state)),
            next_step="name one that was stable, or leave --to out for the newest",
        )
    if faults := healthy(named):  # B3
        raise Corrupt(
            f"cannot go back to {label}: it is broken",
            where=f"family {state.family}",
            got="; ".join(faults),
            expected=_offer(state, candidates(state)),
            next_step="condemn it, then leave --to out for the newest that is whole",
        )
    if reason := compatible(named):  # B4
        others = [bundle for bundle in candidates(state) if bundle != named]
        raise _incompatible(state, named, reason, others, compatible)
    return Resolution(target=named, version=version_of(state, named), kind=_kind(state, named))


def _unfit(state: ReleaseState, named: Digest) -> str | None:
    """B1 for a named bundle: withdrawn ones return by being named."""
    if named == state.current:
        return "it is the stable one now"
    if state.promoted_at(named) is None:
        return "it was never stable" if named in state.packaged else "no release of this family packaged it"
    if named in state.erased:
        return "files that it runs from were erased"
    return "it is condemned" if named in state.condemned else None


def _kind(state: ReleaseState, named: Digest) -> Literal["rollback", "forward"]:
    current = state.promoted_at(state.current) if state.current else None
    later = (state.promoted_at(named) or 0) > (-1 if current is None else current)
    return "forward" if named in state.withdrawn and later else "rollback"


def version_of(state: ReleaseState, bundle: Digest) -> str:
    """The version a bundle was packaged as, or moved to as; "" where the ledger does not say."""
    moved = [move.version for move in state.history if move.bundle == bundle]
    return state.packaged.get(bundle) or (moved[-1] if moved else "")


def _offer(state: ReleaseState, bundles: list[Digest]) -> str:
    listed = ", ".join(f"{version_of(state, bundle)} {short(bundle)}".strip() for bundle in bundles)
    return f"one of: {listed}" if listed else "a bundle that was stable before (there is none left)"


def _incompatible(
    state: ReleaseState, bundle: Digest, reason: str, others: list[Digest], compatible: Compatible
) -> Refused:
    """B4: the refusal names the forward fix, and the older bundles that would fit."""
    fitting = [other for other in others if compatible(other) is None]
    older = f"; or name an older one that is compatible, {_offer(state, fitting)}" if fitting else ""
    return Refused(
        f"cannot go back to {version_of(state, bundle)} {short(bundle)}: it is not compatible",
        where=f"family {state.family}",
        got=reason,
        expected="the same request and response schema, embedding dimension and index",
        next_step=f"fix forward: release a candidate that repairs the fault under the present schema{older}",
    )


def _nothing(state: ReleaseState, skipped: tuple[tuple[Digest, str], ...]) -> NoTarget:
    reasons = [f"{version_of(state, bundle)} {short(bundle)} is broken ({why})" for bundle, why in skipped]
    passed = {bundle for bundle, _ in skipped}
    for bundle in dict.fromkeys(move.bundle for move in reversed(state.history)):
        if bundle not in passed and bundle != state.current:
            marks = {"erased": state.erased, "condemned": state.condemned}
            how = next((mark for mark, bundles in marks.items() if bundle in bundles), "withdrawn")
            reasons.append(f"{version_of(state, bundle)} {short(bundle)} is {how}")
    returning = any(bundle in state.withdrawn - state.condemned for bundle in (move.bundle for move in state.history))
    error = NoTarget(
        "there is no bundle to go back to",
        where=f"family {state.family}",
        got="; ".join(reasons) or f"{len({move.bundle for move in state.history})} bundle was ever stable",
        expected="a bundle that was stable, is whole, and is neither condemned nor withdrawn",
        next_step="name a withdrawn one with --to" if returning else "fix forward: release a repaired candidate",
    )
    error.skipped = skipped
    return error


def weigh(version_slices: Mapping[str, Mapping[str, float]], critical_weights: Mapping[str, float]) -> str | None:
    """Which of several regressed versions to roll back first: the most harm, critical slices weighted (B2).

    Args:
        version_slices: version -> slice -> regression (positive is worse, in the metric's unit; gains do not count).
        critical_weights: slice -> weight; 1 for slices that are not named.

    Returns the version with the greatest weighted harm, of equals the first; None where nothing regressed. Raises
    WrongCall for a regression or weight that is no finite number: unknown harm is not no harm.
    """
    harm: dict[str, float] = {}
    for version, slices in version_slices.items():
        weighted = [(name, regression, critical_weights.get(name, 1.0)) for name, regression in slices.items()]
        for name, regression, weight in weighted:
            if not math.isfinite(regression) or not math.isfinite(weight) or weight < 0:
                raise WrongCall(
                    "a regression cannot be weighed",
                    where=f"version {version}, slice {name}",
                    got=f"regression {regression}, weight {weight}",
                    expected="finite numbers, the weight not negative",
                )
        harm[version] = sum(max(0.0, regression) * weight for _, regression, weight in weighted)
    worst = max(harm, key=lambda version: harm[version], default=None)
    return worst if worst is not None and harm[worst] > 0 else None
