"""What the router of a cascade did: how much it sent on, how both routes fared, of what it was wrongly sure.

Boundary: pure; evidence in, parts of a ScoreReport out.
Invariants: counts, so that a rate is a ratio of sums (U2); a model that does not route has none. What the large model
would have said of the utterances that were not sent on is not known here: `sure_and_wrong` counts wrong answers, not
those that the large model would have had right.
Source: coverage row 23.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from contracts.route_counts import RouteCounts
from evalpacks.metrics.metric import Evidence
from evalpacks.slices import Mask

ROUTE = "route"


def route_counts(evidence: Evidence, masks: Mapping[str, Mask]) -> dict[str, RouteCounts]:
    """Of each slice; `masks` are the utterances of each, (utterances,). Empty where the model does not route."""
    if evidence.measured is None or ROUTE not in evidence.measured.columns:
        return {}
    sent = evidence.measured[ROUTE].to_numpy(dtype=object) == "large"
    errors, words = evidence.words.errors, evidence.words.reference_words
    wrong = ~sent & (errors > 0)
    return {
        name: RouteCounts(
            utterances=int(np.count_nonzero(mask)),
            sent_on=int(np.count_nonzero(mask & sent)),
            small_errors=int(errors[mask & ~sent].sum()),
            small_words=int(words[mask & ~sent].sum()),
            large_errors=int(errors[mask & sent].sum()),
            large_words=int(words[mask & sent].sum()),
            sure_and_wrong=int(np.count_nonzero(mask & wrong)),
        )
        for name, mask in masks.items()
    }
