"""Routing: the first rule wins, sessions stick, and every gateway routes alike."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.ledger_event import GENESIS
from contracts.routing import CanaryRoute, Cascade, Degradation, RouteTable, SliceRule, bucket, route

STABLE, CANARY, OLD = "a" * 64, "b" * 64, "c" * 64


def _table(**changes: Any) -> RouteTable:
    fields = {
        "family": "asr",
        "version": 1,
        "stable": STABLE,
        "ledger_sequence": 0,
        "ledger_head": GENESIS,
        "moved_at": "2026-11-20T14:02:31Z",
        "actor": "a",
        "reason": "b",
        **changes,
    }
    return RouteTable.model_validate(fields)


def _canary(stage: str, weight: float = 1.0, **changes: Any) -> CanaryRoute:
    return CanaryRoute.model_validate({"bundle": CANARY, "stage": stage, "weight": weight, **changes})


@pytest.mark.parametrize(
    ("canary", "labels", "expected"),
    [
        (None, {}, (STABLE, "stable", None)),
        (_canary("shadow"), {}, (STABLE, "stable", CANARY)),
        (_canary("shadow", 0.0), {}, (STABLE, "stable", None)),
        (_canary("probe"), {}, (STABLE, "stable", None)),
        (_canary("probe"), {"probe": "yes"}, (CANARY, "canary", None)),
        (_canary("cohort", cohort={"tenant": ("internal",)}), {"tenant": "internal"}, (CANARY, "canary", None)),
        (_canary("cohort", cohort={"tenant": ("internal",)}), {"tenant": "other"}, (STABLE, "stable", None)),
        (_canary("cohort", cohort={"tenant": ("internal",)}), {}, (STABLE, "stable", None)),
        (_canary("wide"), {}, (CANARY, "canary", None)),
        (_canary("wide", 0.0), {}, (STABLE, "stable", None)),
    ],
)
def test_where_a_request_goes(canary: CanaryRoute | None, labels: dict[str, str], expected: tuple[Any, ...]) -> None:
    assert tuple(route(_table(canary=canary), labels, "session")[:3]) == expected


def test_the_first_matching_rule_wins_over_the_canary() -> None:
    rules = (
        SliceRule(label="device", value="phone", bundle=OLD),
        SliceRule(label="device", value="phone", bundle=CANARY),
    )
    table = _table(canary=_canary("wide"), slice_rules=rules)
    assert route(table, {"device": "phone"}, "s").bundle == OLD
    assert route(table, {"device": "desk"}, "s").bundle == CANARY


def test_a_table_names_every_bundle_that_needs_a_worker_once() -> None:
    rules = (SliceRule(label="device", value="phone", bundle=OLD),)
    assert _table(canary=_canary("wide"), slice_rules=rules, warm=(STABLE, OLD)).bundles() == (STABLE, CANARY, OLD)
    assert _table(stable=None).bundles() == ()


@given(session=st.text(max_size=40), low=st.floats(0, 1), high=st.floats(0, 1))
def test_law_a_session_that_is_in_stays_in_when_the_share_grows(session: str, low: float, high: float) -> None:
    low, high = min(low, high), max(low, high)
    first = route(_table(canary=_canary("wide", low)), {}, session)
    later = route(_table(version=2, canary=_canary("wide", high)), {}, session)
    assert first == route(_table(canary=_canary("wide", low)), {}, session)
    assert first.arm == "stable" or later.arm == "canary"


def test_law_the_share_of_sessions_is_the_weight() -> None:
    table = _table(canary=_canary("wide", 0.3))
    arms = [route(table, {}, f"session-{number}").arm for number in range(4000)]
    assert abs(arms.count("canary") / len(arms) - 0.3) < 0.03


@given(st.text(max_size=20), st.text(max_size=20))
def test_law_a_bucket_is_a_number_below_one(session: str, salt: str) -> None:
    assert 0 <= bucket(session, salt) < 1
    assert bucket(session, salt) == bucket(session, salt)


def test_a_table_of_before_keeps_its_bytes() -> None:
    """Fields that came later are left out while they have their defaults, so old tables keep their names (S3)."""
    assert set(_table().as_json()) == {
        "kind", "family", "version", "stable", "canary", "slice_rules", "warm", "ledger_sequence", "ledger_head",
        "moved_at", "actor", "reason",
    }  # fmt: skip


def test_a_degraded_table_answers_by_its_smaller_model_and_leaves_a_canary_alone() -> None:
    smaller = Degradation(mode="smaller", bundle=OLD)
    table = _table(degradation=smaller, canary=_canary("wide", 1.0))
    assert route(table, {}, "s")[:2] == (CANARY, "canary")
    degraded = route(_table(degradation=smaller), {}, "s")
    assert (degraded.bundle, degraded.arm, degraded.degraded) == (OLD, "stable", "smaller")
    quiet = route(_table(degradation=Degradation(mode="no_partials")), {}, "s")
    assert (quiet.bundle, quiet.degraded) == (STABLE, "no_partials")


def test_a_cascade_stands_before_stable_alone() -> None:
    cascade = Cascade(small=OLD, below=0.8)
    assert route(_table(cascade=cascade), {}, "s") == (STABLE, "stable", None, cascade, "no")
    assert route(_table(cascade=cascade, canary=_canary("wide", 1.0)), {}, "s").cascade is None
    assert OLD in _table(cascade=cascade).bundles()
