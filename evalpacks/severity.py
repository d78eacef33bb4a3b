"""How bad a comparison is beside others: harm, strain on its budget, worst first.

Boundary: pure.
Invariants: each comparison is weighed against its own budget alone, so that metrics of different units can stand in one
order; evidence that is missing weighs more than any number.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from contracts.reports import Comparison


def harm(row: Comparison) -> float | None:
    """How much worse the candidate is, in the metric's unit; negative: better; None where no difference is known."""
    if row.estimate is None:
        return None
    return row.estimate if row.better == "lower" else -row.estimate


def is_proven(row: Comparison) -> bool:
    """Whether the simultaneous bounds exclude that the candidate is as good."""
    bound = row.lower if row.better == "lower" else row.upper
    return bound is not None and (bound > 0 if row.better == "lower" else bound < 0)


def strain(row: Comparison) -> float:
    """How much of its budget a comparison uses: 1 is exactly on budget, infinite where evidence is missing."""
    rate, loss = row.candidate.rate, harm(row)
    if rate is None or (loss is None and row.margin is not None):
        return math.inf
    used = [_share(loss, row.margin)] if loss is not None and row.margin is not None else []
    if row.limit is not None:
        used.append(_share(rate, row.limit) if row.better == "lower" else _share(row.limit, rate))
    return max(used, default=math.inf)


def by_severity(rows: Iterable[Comparison]) -> list[Comparison]:
    """Worst verdict first, then the highest strain, then by name."""
    return sorted(
        rows, key=lambda row: (-row.verdict.value.severity, -strain(row), row.pack, row.metric, row.slice, row.baseline)
    )


def _share(part: float, whole: float) -> float:
    return part / whole if whole else math.copysign(math.inf, part) if part else 0.0
