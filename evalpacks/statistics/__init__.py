"""Statistics of a release decision (U1 to U5): paired differences, simultaneous bounds, three-way verdicts.

Boundary: pure; arrays and a seed in, intervals and verdicts out. `monitoring` may import this package, and nothing
else of this room.
"""

from evalpacks.statistics.blocks import Integers, Paired
from evalpacks.statistics.bootstrap import Interval, compare, significant
from evalpacks.statistics.power import Assumptions, minimum_detectable_effect, power_of, speakers_needed
from evalpacks.statistics.quantiles import quantile_interval
from evalpacks.statistics.verdicts import (
    Support,
    first_release_verdict,
    limit_verdict,
    more_units,
    regression_verdict,
    shown,
)

__all__ = [
    "Assumptions",
    "Integers",
    "Interval",
    "Paired",
    "Support",
    "compare",
    "first_release_verdict",
    "limit_verdict",
    "minimum_detectable_effect",
    "more_units",
    "power_of",
    "quantile_interval",
    "regression_verdict",
    "shown",
    "significant",
    "speakers_needed",
]
