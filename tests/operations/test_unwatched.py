"""A canary that nobody looks at is taken off; one that somebody looks at goes on, whatever a heartbeat says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import pytest

from contracts.live import CanaryProgress
from contracts.reports import CanaryDecision
from contracts.routing import CanaryRoute, Stage
from operations import pointer
from operations.canary_looks import progress_path, write
from operations.unwatched import ACTOR, abort_unwatched
from tests.operations.gated_releases import FAMILY
from tests.operations.tiny_family import TinyFamily

NOW = datetime(2026, 11, 20, 14, 2, 31, tzinfo=UTC)
STOPPED = "the canary is stopped, stable serves all traffic"


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> TinyFamily:
    found = TinyFamily(tmp_path_factory.mktemp("unwatched") / "project")
    found.promote("v1", "stable")
    found.context.now = lambda: NOW
    return found


class Look(NamedTuple):
    """The last look that is known: of which release, how long ago, at which stage, what it came to."""

    release: str
    ago_s: float
    stage: Stage = "wide"
    decision: CanaryDecision = "continue"


def looked(family: TinyFamily, look: Look) -> None:
    at = (NOW - timedelta(seconds=look.ago_s)).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
    bundle = family.bundles["v1"]
    progress = CanaryProgress(
        family=FAMILY, release=look.release, version="v2", bundle=bundle, stable=bundle, stage=look.stage,
        stages=("shadow", "wide"), weight=0.5, started_at=at, looked_at=at, deadline_s=60.0, alpha=0.05,
        decision=look.decision,
    )  # fmt: skip
    write(family.home, progress)


def route(family: TinyFamily, stage: Stage) -> None:
    seen = pointer.current(family.context, FAMILY)
    canary = CanaryRoute(bundle=family.bundles["v1"], stage=stage, weight=0.5, release="mine")
    pointer.move(family.context, FAMILY, seen, stable=seen.stable, canary=canary, actor="release", reason="canary")


def aborts(family: TinyFamily) -> list[object]:
    return [event.data["actor"] for event in family.context.ledger(FAMILY).events() if event.step == "abort"]


CASES: dict[str, tuple[Stage, Look | None, str]] = {
    "never looked at": ("wide", None, f"nobody has looked at this canary: {STOPPED}"),
    "looked at long ago": ("wide", Look("mine", 90.0), f"the last look was 90 s ago: {STOPPED}"),
    "another canary was looked at": ("wide", Look("another", 1.0), f"nobody has looked at this canary: {STOPPED}"),
    "looked at just now": (
        "wide", Look("mine", 5.0), "the last look was 5 s ago: the canary goes on, only its heartbeats were lost",
    ),
    "a shadow that went well": (
        "shadow", Look("mine", 5000.0, "shadow", "promote"),
        "the last look was 5000 s ago: its shadow went well and waits for approval, which nobody hears",
    ),
    "another's shadow went well": (
        "shadow", Look("another", 5000.0, "shadow", "promote"), f"nobody has looked at this canary: {STOPPED}",
    ),
    "users are exposed since its shadow": (
        "wide", Look("mine", 5000.0, "shadow", "promote"), f"the last look was 5000 s ago: {STOPPED}",
    ),
    "it went well, and has users": (
        "wide", Look("mine", 5000.0, "wide", "promote"), f"the last look was 5000 s ago: {STOPPED}",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_canary_goes_on_only_while_somebody_looks(family: TinyFamily, name: str) -> None:
    stage, look, reason = CASES[name]
    progress_path(family.home, FAMILY).unlink(missing_ok=True)
    route(family, stage)
    if look:
        looked(family, look)
    before = aborts(family)
    done = abort_unwatched(family.context, FAMILY, unwatched_s=60.0)
    table = pointer.current(family.context, FAMILY).table
    assert table is not None
    assert done.reason == reason
    assert done.stopped == (table.canary is None) == (STOPPED in reason)
    assert aborts(family) == before + [ACTOR] * done.stopped


def test_without_a_canary_nothing_happens(family: TinyFamily) -> None:
    pointer.move(
        family.context, FAMILY, pointer.current(family.context, FAMILY), stable=family.bundles["v1"], actor="release",
        reason="over",
    )  # fmt: skip
    before = family.context.ledger(FAMILY).events()
    done = abort_unwatched(family.context, FAMILY, unwatched_s=60.0)
    assert (done.stopped, done.reason) == (False, "no canary is running")
    assert family.context.ledger(FAMILY).events() == before
