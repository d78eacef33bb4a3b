"""Which rows of telemetry a canary's stage compares: audits of a cascade are nobody's answers."""

from __future__ import annotations

import pandas as pd

from contracts.routing import CanaryRoute
from operations.canary_rows import comparable

STABLE, CANARY, SMALL = "5" * 64, "c" * 64, "d" * 64


def test_what_a_cascade_answers_and_audits_is_compared_with_nothing() -> None:
    rows = pd.DataFrame(
        [
            {"arm": "stable", "bundle": STABLE, "cascade": "large"},
            {"arm": "stable", "bundle": SMALL, "cascade": "small"},
            {"arm": "shadow", "bundle": STABLE, "cascade": "audit"},
            {"arm": "shadow", "bundle": CANARY, "cascade": "none"},
        ]
    ).assign(route_version=7)
    route = CanaryRoute(bundle=CANARY, stage="shadow", weight=1.0)
    compared = comparable(rows, route, STABLE, first_version=7, last_version=7, elsewhere={})
    assert list(zip(compared["arm"], compared["bundle"], strict=True)) == [("stable", STABLE), ("canary", CANARY)]
