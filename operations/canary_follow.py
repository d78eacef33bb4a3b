"""Looks at a long stage: what is old is judged once, each look reads and judges what came since.

Purpose: a stage of a large family has more than a million rows (docs/scale.md); reading and judging all of them takes
longer than the second between two looks.
Boundary: rows in, a judgement out; who reads rows, and who decides, is canary_watch.py.
Invariants: what this says ends no stage: whoever is told anything but that it goes on asks the judge about all rows.
Rows that came later than SETTLE_S after they are dated, or whose probe did, are seen when all rows are taken anew, each
WHOLE_S.
For rows that came in time it says what the judge says of all rows (a law, tests/operations/test_canary_follow.py), but
of a session that both arms hear beyond the plan's cap of requests, which may close sooner here.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from monitoring.canary import Judge, Judgement

if TYPE_CHECKING:
    import pandas as pd

LEAST_ROWS = 50_000
"""A stage of fewer rows is judged whole at each look, which takes a quarter of a second."""
SETTLE_S = 60.0
"""Seconds after which a row is taken to be as it will stay."""
WHOLE_S = 60.0
"""Seconds after which all rows are taken anew."""


class _Known(NamedTuple):
    """A judge that was fed the rows until `settled_s` of the traffic that `of` names, as they were at `at_s`."""

    judge: Judge
    settled_s: float
    at_s: float
    of: object


class Follower:
    """Keeps the judge of what is old in a stage that began at `began_s`; `make` gives a judge that was fed nothing."""

    def __init__(self, make: Callable[[], Judge], began_s: float) -> None:
        self._make, self._began_s = make, began_s
        self._known: _Known | None = None

    def take(self, rows: pd.DataFrame, now_s: float, of: object) -> Judgement:
        """What is to be said of all rows of the stage, as they are now; `of` changes when these are other rows."""
        self._known = None
        settled_s = now_s - SETTLE_S
        new = (rows["timestamp"] > settled_s).to_numpy()
        judging = self._make()
        judging.feed(rows[~new])
        judging.look(settled_s)
        self._known = _Known(judging, settled_s, now_s, of)
        return self.look(rows[new], now_s)

    def is_for(self, rows: pd.DataFrame, now_s: float) -> bool:
        """Whether the stage is long enough, in rows and in time."""
        return len(rows) >= LEAST_ROWS and now_s - SETTLE_S > self._began_s

    def since_s(self, now_s: float, of: object) -> float | None:
        """The time after which rows are asked for; None where all rows must be judged."""
        known = self._known
        if known is None or known.of != of or not 0 <= now_s - known.at_s < WHOLE_S:
            return None
        return known.settled_s

    def look(self, newer: pd.DataFrame, now_s: float) -> Judgement:
        """What is to be said of the old rows and of these, all those after `since_s`."""
        assert self._known is not None
        judging = copy.deepcopy(self._known.judge)
        judging.feed(newer)
        return judging.look(now_s)
