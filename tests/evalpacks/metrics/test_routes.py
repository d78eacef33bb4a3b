"""What the router of a cascade did, as counts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from evalpacks.metrics.routes import route_counts
from tests.evalpacks.metrics.evidence_samples import make_evidence

PAIRS = [("turn on", "turn on"), ("turn on", "turn off"), ("call", "call"), ("call anna", "call ben")]
ROUTES = ["small", "small", "large", "large"]
MASKS = {"overall": np.ones(4, np.bool_), "noise=clean": np.array([True, False, True, False])}


def test_counts_of_each_slice() -> None:
    evidence = make_evidence(PAIRS)
    evidence = replace(evidence, measured=evidence.utterances.assign(route=ROUTES))
    found = route_counts(evidence, MASKS)
    assert found["overall"].model_dump() == {
        "utterances": 4, "sent_on": 2, "sure_and_wrong": 1,
        "small_errors": 1, "small_words": 4, "large_errors": 1, "large_words": 3,
    }  # fmt: skip
    assert (found["noise=clean"].sent_on, found["noise=clean"].sure_and_wrong) == (1, 0)


def test_a_model_that_does_not_route_has_none() -> None:
    evidence = make_evidence(PAIRS)
    assert route_counts(evidence, MASKS) == {}
    assert route_counts(replace(evidence, measured=evidence.utterances), MASKS) == {}
