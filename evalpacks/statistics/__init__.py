"""Statistics of a release decision (U1 to U5): paired differences, simultaneous bounds, three-way verdicts.

Boundary: pure; arrays and a seed in, intervals and verdicts out. `monitoring` may import this package, and nothing
else of this room.
"""

from evalpacks.statistics.blocks import Integers, Paired
from evalpacks.statistics.bootstrap import Interval, compare, significant
from evalpacks.statistics.verdicts import (
    Support,
    first_release_verdict,
    limit_verdict,
    more_units,
    regression_verdict,
    shown,
)

__all__ = [
    "Integers",
    "Interval",
    "Paired",
    "Support",
    "compare",
    "first_release_verdict",
    "limit_verdict",
    "more_units",
    "regression_verdict",
    "shown",
    "significant",
]
