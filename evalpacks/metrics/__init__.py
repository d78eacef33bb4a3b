"""One file a metric family: counts per utterance, never rates (R3.1), and how the metric is named and shown.

Boundary: pure.
Invariants: `METRICS` has every name that a policy may use (contracts.policy.MetricName), and nothing else.
"""

from __future__ import annotations

import numpy as np

from contracts.policy import MetricName
from evalpacks.metrics.metric import Counts, Evidence, Metric, Outputs

__all__ = ["METRICS", "WER", "Counts", "Evidence", "Metric", "Outputs"]


def _word_errors(evidence: Evidence) -> Counts:
    words = evidence.words
    return Counts(words.errors.astype(np.float64), words.reference_words.astype(np.float64))


WER = Metric("wer", "WER", "lower", _word_errors, 100.0, "%", " points", "reference words")

METRICS: dict[MetricName, Metric] = {metric.name: metric for metric in (WER,)}
"""Every metric a policy may name."""
