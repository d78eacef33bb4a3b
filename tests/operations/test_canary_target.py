"""What a canary goes back to, and who must agree before it begins: a broken stable (fault 44), high risk (R8.4)."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from contracts.digest import short
from contracts.errors import Refused
from contracts.routing import CanaryRoute
from operations import pointer
from operations.canary import must_be_approved_first
from operations.canary_route import Canary, enter, withdraw
from operations.context import Context
from registry.store.keys import blob_key
from tests.evalpacks.evaluation_samples import make_policy
from tests.operations.canary_world import BUNDLE, FAMILY, PLAN, STABLE
from tests.operations.gated_releases import open_installation
from tests.operations.packaged import Packaged
from tests.registry.registry_parts import flip_bit


def a_canary(stable: str | None, plan: dict[str, Any] | None = None, **changes: Any) -> Canary:
    policy = make_policy(canary=PLAN | (plan or {}), **changes)
    return Canary(
        family=FAMILY, release="a" * 64, version="v9", bundle=BUNDLE, stable=stable, policy=policy,
        inputs={"bundle": BUNDLE},
    )  # fmt: skip


def broken(context: Context, packaged: Packaged) -> None:
    flip_bit(context.store, blob_key(packaged.manifest.files["payload/weights.safetensors"].sha256), 0)


def test_fault_44_a_stable_that_is_broken_in_the_store_pages_and_names_the_next_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its workers hold it in memory and serve on: a canary goes back to it, and a person is told what comes next."""
    context = open_installation(tmp_path)
    first = Packaged(context, tmp_path / "one", version="v1", weights=b"one")
    second = Packaged(context, tmp_path / "two", version="v2", weights=b"two")
    first.promote()
    second.promote()
    said: list[str] = []
    context.announce = said.append
    canary = a_canary(second.bundle)
    enter(context, canary, "shadow")
    assert not said, "a whole target pages nobody"
    withdraw(context, FAMILY, "try again")
    broken(context, second)
    with caplog.at_level(logging.ERROR, "soundcheck"):
        enter(context, canary, "shadow")
        enter(context, canary, "cohort")
    pages = [record.getMessage() for record in caplog.records if "PAGE" in record.getMessage()]
    assert len(pages) == 1, "once a canary, not once a stage"
    assert "payload/weights.safetensors" in pages[0]
    assert f"the next one is v1 {short(first.bundle)}" in pages[0]
    assert f"soundcheck rollback {FAMILY} --key KEY --reason TEXT takes it" in said[-1]
    withdraw(context, FAMILY, "canary: rollback")
    table = pointer.current(context, FAMILY).table
    assert table is not None
    assert (table.stable, table.canary) == (second.bundle, None)


def test_a_canary_of_another_release_is_not_taken_off(tmp_path: Path) -> None:
    context = open_installation(tmp_path)
    route = CanaryRoute(bundle=BUNDLE, stage="wide", weight=1, release="b" * 64)
    pointer.move(context, FAMILY, pointer.Current(None, None), stable=STABLE, canary=route, actor="x", reason="other")
    assert not withdraw(context, FAMILY, "mine", release="a" * 64)
    assert withdraw(context, FAMILY, "this one", release="b" * 64)


@pytest.mark.parametrize(
    ("stable", "changes", "asked"),
    [
        (STABLE, {}, False),
        (STABLE, {"high_risk": True}, True),
        (STABLE, {"high_risk_slices": ["accent=scottish"]}, True),
        (None, {"high_risk": True}, False),
    ],
    ids=["low risk", "a family", "a slice", "a first release is heard by probes alone"],
)
def test_high_risk_is_approved_before_the_first_user(stable: str | None, changes: dict[str, Any], asked: bool) -> None:
    """R8.4."""
    assert must_be_approved_first(a_canary(stable, **changes)) is asked


def test_a_high_risk_plan_without_a_shadow_stage_is_refused() -> None:
    canary = a_canary(STABLE, {"stages": ["cohort", "wide"]}, high_risk=True)
    with pytest.raises(Refused, match="must be shadowed before people approve") as refused:
        must_be_approved_first(canary)
    assert (refused.value.got, refused.value.expected) == ("cohort, wide", "shadow first")
