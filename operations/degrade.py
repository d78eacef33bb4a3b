"""Degrade instead of roll back: less instead of nothing, by one signed command (coverage row 29).

Boundary: operations/steering.py makes the change; this module says what is changed.
Invariants: `no_partials` touches streams alone; `smaller` names a bundle that was stable before and takes less; a
canary and slice rules stay as they are.
"""

from __future__ import annotations

from typing import Literal

from contracts.digest import Digest, short
from contracts.errors import Refused
from contracts.routing import Degradation
from operations import pointer
from operations.context import Context
from operations.steering import Steered, once_stable, steer
from registry.bundle import load_manifest
from registry.resolver import candidates

Mode = Literal["no_partials", "smaller"]


def degrade(
    context: Context, family: str, *, mode: Mode | None, key_name: str, reason: str, bundle: str | None = None
) -> Steered:
    """Serve the family with less, or as before (`mode` None).

    Args:
        bundle: for `smaller`: a version or digest; None takes the lightest that was stable before.

    Raises what `steer` raises, and Refused where no bundle takes less than the stable one.
    """
    wanted: Degradation | None = None
    if mode == "smaller":
        small = once_stable(context, family, bundle) if bundle else lightest(context, family)
        wanted = Degradation(mode="smaller", bundle=small)
    elif mode is not None:
        wanted = Degradation(mode=mode)
    return steer(
        context, family, step="degrade", change=wanted.in_words() if wanted else "not degraded",
        key_name=key_name, reason=reason,
        arranged=lambda beside: pointer.Beside(beside.cascade, wanted), uses=wanted.bundle if wanted else None,
    )  # fmt: skip


def lightest(context: Context, family: str) -> Digest:
    """Of the bundles that a rollback might take, the one with the smallest payload; Refused where stable's is."""
    state = context.ledger(family).state()
    sizes = {bundle: _payload_bytes(context, bundle) for bundle in candidates(state)}
    stable = _payload_bytes(context, state.current) if state.current else 0
    found = min(sizes, key=lambda bundle: sizes[bundle], default=None)
    if found is None or sizes[found] >= stable:
        raise Refused(
            "no bundle takes less than the stable one",
            where=family,
            got=", ".join(f"{short(bundle)} of {size} bytes" for bundle, size in sizes.items()) or "no other bundle",
            expected=f"a bundle that was stable before, with less than {stable} bytes",
            next_step="degrade with --mode no_partials, or name a bundle with --bundle",
        )
    return found


def _payload_bytes(context: Context, bundle: Digest) -> int:
    return sum(entry.size for entry in load_manifest(context.store, bundle).payload().values())
