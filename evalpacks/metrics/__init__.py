"""One file a metric family: counts per utterance, never rates (R3.1), and how the metric is named and shown.

Boundary: pure.
Invariants: `METRICS` has every name that a policy may use (contracts.policy.MetricName), and nothing else.
"""

from __future__ import annotations

import numpy as np

from contracts.policy import MetricName
from evalpacks.metrics.calibration import BRIER
from evalpacks.metrics.characters import CER
from evalpacks.metrics.classification import CLASSIFICATION
from evalpacks.metrics.dialogue import DIALOGUE
from evalpacks.metrics.embedding import EMBEDDING
from evalpacks.metrics.entities import ENTITY_ERROR_RATE
from evalpacks.metrics.intents import INTENT_RECALL
from evalpacks.metrics.metric import Counts, Evidence, Metric, Outputs
from evalpacks.metrics.streaming import CHURN, EARLY_ENDPOINTS
from evalpacks.metrics.synthesis import SYNTHESIS

__all__ = ["METRICS", "WER", "Counts", "Evidence", "Metric", "Outputs"]


def _word_errors(evidence: Evidence) -> Counts:
    words = evidence.words
    return Counts(words.errors.astype(np.float64), words.reference_words.astype(np.float64))


WER = Metric("wer", "WER", "lower", _word_errors, 100.0, "%", " points", "reference words")

METRICS: dict[MetricName, Metric] = {
    metric.name: metric
    for metric in (
        WER,
        CER,
        ENTITY_ERROR_RATE,
        INTENT_RECALL,
        CHURN,
        EARLY_ENDPOINTS,
        BRIER,
        *EMBEDDING,
        *SYNTHESIS,
        *CLASSIFICATION,
        *DIALOGUE,
    )
}
"""Every metric a policy may name."""
