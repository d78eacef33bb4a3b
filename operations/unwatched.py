"""A canary that has traffic and that nobody judges: taken off.

Boundary: the pointer, HOME/run/canary/FAMILY.json; moves the pointer through operations/canary.py.
Invariants: a missing heartbeat is a hint that may be wrong (Prefect was away); what the controller itself wrote down
decides. A file that is gone, torn, or of another release vouches for nobody.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from operations import pointer
from operations.canary import abort
from operations.canary_looks import read
from operations.context import Context

ACTOR = "the canary-unwatched automation"


class Unwatched(NamedTuple):
    """Whether a canary was stopped, and why or why not."""

    stopped: bool
    reason: str


def abort_unwatched(context: Context, family: str, *, unwatched_s: float) -> Unwatched:
    """Stop the family's canary unless it was looked at within the last `unwatched_s` seconds, or is settled."""
    table = pointer.current(context, family).table
    if table is None or table.canary is None:
        return Unwatched(False, "no canary is running")
    known = read(context.home, family)
    if known is None or known.release != table.canary.release:
        seen = "nobody has looked at this canary"
    else:
        age_s = (context.now() - datetime.fromisoformat(known.looked_at)).total_seconds()
        seen = f"the last look was {age_s:.0f} s ago"
        if known.settled(table.canary):
            return Unwatched(False, f"{seen}: its shadow went well and waits for approval, which nobody hears")
        if age_s < unwatched_s:
            return Unwatched(False, f"{seen}: the canary goes on, only its heartbeats were lost")
    if abort(context, family, actor=ACTOR) == "none":
        return Unwatched(False, "the canary was taken off meanwhile")
    return Unwatched(True, f"{seen}: the canary is stopped, stable serves all traffic")
