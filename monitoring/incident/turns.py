"""Which requests are one turn: a recording that a session sends again shortly after is the same turn, asked again.

Boundary: pure; columns in, one row a request. Source: coverage 39 ("retries" of the cost diagnosis).
Method: telemetry holds no audio and no client says that it retries, but the same recording has the same length, level
and speech to the last digit. Requests of one session that agree in all three, each at most `within_s` after the one
before, are attempts at one turn; it succeeds where one of them does, and once.
Invariants: a request whose sound was not measured is a turn of its own; what another session sends never counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
_MIX = np.uint64(0x9E3779B97F4A7C15)


class Turns(NamedTuple):
    """By request: whether it asks a turn again, and whether it is the first success of its turn; shape (requests,)."""

    again: Bools
    success: Bools


def turns_of(
    session: npt.NDArray[np.int64], times: Floats, sound: Sequence[Floats], success: Bools, *, within_s: float
) -> Turns:
    """Join requests to turns.

    Args:
        session: a code for each session; times: of the answers, in seconds.
        sound: what tells recordings apart; NaN where it was not measured.
        success: whether the request alone succeeded.
    """
    key = session.astype(np.uint64)
    known = np.ones(len(session), dtype=bool)
    for part in sound:
        key = (key ^ (key >> np.uint64(29))) * _MIX ^ np.ascontiguousarray(part).view(np.uint64)
        known &= ~np.isnan(part)
    order = np.lexsort((times, key))
    ordered = key[order]
    again = np.zeros(len(session), dtype=bool)
    again[order[1:]] = (ordered[1:] == ordered[:-1]) & (np.diff(times[order]) <= within_s)
    again &= known
    begins = ~again[order]
    won = success[order]
    before: npt.NDArray[np.int64] = np.cumsum(won) - won  # successes before each request
    at_begin: npt.NDArray[np.int64] = before[begins][np.cumsum(begins) - 1] if len(begins) else before
    first = np.zeros(len(session), dtype=bool)
    first[order] = won & (before == at_begin)
    return Turns(again, first)
