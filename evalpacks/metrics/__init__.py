"""One file a metric family: counts per utterance, never rates (R3.1), and how the metric is named and shown.

Boundary: pure.
Invariants: a rate is a ratio of sums (U2), so every metric is a numerator and a denominator per utterance.
"""

from __future__ import annotations

from typing import NamedTuple

from contracts.reports import Better


class Metric(NamedTuple):
    """How a metric reads.

    Attributes:
        name: key in policies and reports.
        label: name in sentences.
        better: whether lower or higher values are better.
        scale: factor from the stored value to the shown one (100: a fraction shown in per cent).
        value_unit: written after a shown value.
        difference_unit: written after a shown difference.
        support: what the denominator counts.
    """

    name: str
    label: str
    better: Better
    scale: float = 1.0
    value_unit: str = ""
    difference_unit: str = ""
    support: str = "units"


WER = Metric("wer", "WER", "lower", 100.0, "%", " points", "reference words")

METRICS = {metric.name: metric for metric in (WER,)}
"""Every metric a policy may name."""
