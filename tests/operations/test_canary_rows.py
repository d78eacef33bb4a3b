"""What a stage is judged by: like compared with like, as laws over a table of telemetry."""

from __future__ import annotations

from typing import Any, Literal

import pandas as pd
import pytest

from contracts.reports import Look, SliceEvidence
from contracts.routing import CanaryRoute
from operations.canary_looks import KEPT, Looks, look_of, slowest
from operations.canary_rows import MISLABELLED, comparable, never_again

STABLE, CANARY, SMALL = "5" * 64, "c" * 64, "e" * 64


def row(**changes: Any) -> dict[str, Any]:
    plain = {
        "session_id": "s", "arm": "stable", "bundle": STABLE, "route_version": 5, "tenant": "internal",
        "device": "phone", "probe": "yes", "cascade": "none", "degraded": "no", "privacy_errors": 0, "worker_died": 0,
    }  # fmt: skip
    return plain | changes


def arms(stage: Literal["probe", "shadow", "cohort", "wide"], *rows: dict[str, Any], **elsewhere: Any) -> list[str]:
    route = CanaryRoute(bundle=CANARY, stage=stage, weight=0.5, cohort={"tenant": ("internal",)})
    found = comparable(pd.DataFrame(rows), route, first_version=4, last_version=6, elsewhere=elsewhere)
    return list(found["arm"])


@pytest.mark.parametrize(
    ("stage", "changes", "expected"),
    [
        ("wide", {}, ["stable"]),
        ("wide", {"arm": "canary", "bundle": CANARY}, ["canary"]),
        ("wide", {"arm": "canary", "bundle": STABLE}, [MISLABELLED]),
        ("wide", {"arm": "nobody"}, ["nobody"]),
        ("wide", {"route_version": 3}, []),
        ("wide", {"route_version": 7}, []),
        ("wide", {"device": "laptop"}, []),
        ("wide", {"tenant": "acme"}, ["stable"]),
        ("cohort", {"tenant": "acme"}, []),
        ("cohort", {"tenant": "acme", "arm": "canary", "bundle": CANARY}, []),
        ("probe", {"probe": "no"}, []),
        ("shadow", {"arm": "shadow", "bundle": CANARY}, ["canary"]),
        ("wide", {"arm": "shadow", "bundle": CANARY}, []),
        ("shadow", {"arm": "shadow", "cascade": "audit"}, []),
        ("wide", {"bundle": SMALL, "cascade": "small"}, ["stable"]),
        ("wide", {"bundle": SMALL, "degraded": "smaller"}, []),
    ],
)
def test_a_row_is_in_the_arm_it_belongs_to(stage: Any, changes: dict[str, Any], expected: list[str]) -> None:
    assert arms(stage, row(**changes), device=("laptop", "watch")) == expected


@pytest.mark.parametrize(
    ("changes", "reasons", "close"),
    [
        ({"privacy_errors": 2}, 0, False),
        ({"arm": "canary", "privacy_errors": 2}, 1, True),
        ({"arm": "canary", "worker_died": 1}, 1, False),
        ({"arm": "canary", "worker_died": 1, "privacy_errors": 1}, 2, True),
        ({"arm": "canary", "worker_died": None, "privacy_errors": None}, 0, False),
    ],
)
def test_what_ends_a_canary_at_once(changes: dict[str, Any], reasons: int, close: bool) -> None:
    said, closes = never_again(pd.DataFrame([row(**changes)]))
    assert (len(said), closes) == (reasons, close)


# ---- looks ----------------------------------------------------------------------------------------------------------
def look(at_s: float, e_value: float) -> Look:
    return Look(at_s=at_s, stable_sessions=int(at_s), canary_sessions=int(at_s), e_worse={"overall wer": e_value})


def test_of_a_long_stage_the_first_the_last_and_what_moved_is_kept() -> None:
    kept = Looks(look(at, 1_000.0 if at >= 400 else 1.0) for at in range(1_000)).kept
    assert len(kept) <= KEPT
    assert (kept[0].at_s, kept[-1].at_s) == (0, 999)
    assert 400 in {one.at_s for one in kept}, "the look at which evidence jumped"
    assert [one.at_s for one in kept] == sorted(one.at_s for one in kept)


def test_looks_that_show_nothing_new_are_one() -> None:
    same = [look(5, 1.0).model_copy(update={"at_s": float(at)}) for at in range(50)]
    assert [one.at_s for one in Looks(same).kept] == [0, 49]


def evidence(slice_name: str, state: Any, e_fine: float | None) -> SliceEvidence:
    return SliceEvidence(
        slice=slice_name, metric="wer", stable_sessions=9, canary_sessions=9, stable_rate=None, canary_rate=None,
        estimate=None, lower=None, upper=None, margin=None, state=state, e_worse=None, e_fine=e_fine,
    )  # fmt: skip


def test_the_slowest_pair_is_the_one_that_is_furthest_from_its_bar() -> None:
    rows = [evidence("a=x", "fine", 30.0), evidence("a=y", "undecided", 4.0), evidence("a=z", "undecided", 9.0)]
    pair, share = slowest(rows, 0.05)
    assert pair is not None
    assert pair.slice == "a=y"
    assert 0.4 < share < 0.5
    assert slowest([evidence("a=x", "waiting", None)], 0.05)[1] == 0.0
    assert slowest([], 0.05) == (None, 0.0)


def test_an_e_value_is_written_finite_and_short() -> None:
    made = look_of(1.0, 1, 1, [evidence("a=x", "fine", 1e308)])
    assert made.e_fine == {"a=x wer": 1e300}
