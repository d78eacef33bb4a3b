"""Small before large: switch a cascade on and off by one signed command (coverage row 23).

Boundary: operations/steering.py makes the change; serving/cascade.py serves it.
Invariants: the small bundle was stable before; it hears audio at the rate the stable one does.
"""

from __future__ import annotations

from contracts.digest import Digest, short
from contracts.errors import Refused, WrongCall
from contracts.routing import Cascade
from operations import pointer
from operations.context import Context
from operations.payload import feature_contract
from operations.steering import Steered, once_stable, steer

AUDIT = 0.02
"""Share of the small model's answers that the stable one hears again, unless somebody says otherwise."""


def cascade(
    context: Context, family: str, *, small: str | None, below: float, key_name: str, reason: str, audit: float = AUDIT
) -> Steered:
    """Let a small bundle answer what it is sure of, or nobody but stable (`small` None).

    Args:
        small: a version or digest.
        below: confidence in [0, 1] under which stable hears the audio again, and answers.
        audit: share of the small bundle's answers that stable hears again in the background.

    Raises what `steer` raises, WrongCall for a share or confidence outside [0, 1], Refused for unlike sample rates.
    """
    wanted: Cascade | None = None
    if small is not None:
        if not (0 <= below <= 1 and 0 <= audit <= 1):
            raise WrongCall(
                "not a confidence or a share", got=f"below {below:g}, audit {audit:g}", expected="numbers from 0 to 1"
            )
        bundle = once_stable(context, family, small)
        _refuse_unlike(context, family, bundle)
        wanted = Cascade(small=bundle, below=below, audit=audit)
    return steer(
        context, family, step="cascade", change=wanted.in_words() if wanted else "no cascade",
        key_name=key_name, reason=reason,
        arranged=lambda beside: pointer.Beside(wanted, beside.degradation), uses=wanted.small if wanted else None,
    )  # fmt: skip


def _refuse_unlike(context: Context, family: str, small: Digest) -> None:
    stable = pointer.current(context, family).stable
    if stable is None:
        return  # `steer` refuses such a family
    large_hz, small_hz = (feature_contract(context, one).sample_rate_hz for one in (stable, small))
    if large_hz != small_hz:
        raise Refused(
            "the two models hear audio at different rates",
            where=f"{family}, bundle {short(small)}",
            got=f"{small_hz} Hz",
            expected=f"{large_hz} Hz, as the stable bundle",
            next_step="release a small model that is trained at the stable one's rate",
        )
