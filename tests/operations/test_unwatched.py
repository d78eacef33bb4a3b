"""A canary that nobody looks at is taken off; one that somebody looks at goes on, whatever a heartbeat says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from contracts.live import CanaryProgress
from contracts.reports import CanaryDecision
from contracts.routing import CanaryRoute
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


def looked(family: TinyFamily, ago_s: float, release: str, decision: CanaryDecision = "continue") -> None:
    at = (NOW - timedelta(seconds=ago_s)).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
    bundle = family.bundles["v1"]
    progress = CanaryProgress(
        family=FAMILY, release=release, version="v2", bundle=bundle, stable=bundle, stage="wide", stages=("wide",),
        weight=0.5, started_at=at, looked_at=at, deadline_s=60.0, alpha=0.05, decision=decision,
    )  # fmt: skip
    write(family.home, progress)


def route(family: TinyFamily, release: str) -> None:
    seen = pointer.current(family.context, FAMILY)
    canary = CanaryRoute(bundle=family.bundles["v1"], stage="wide", weight=0.5, release=release)
    pointer.move(family.context, FAMILY, seen, stable=seen.stable, canary=canary, actor="release", reason="canary")


def aborts(family: TinyFamily) -> list[object]:
    return [event.data["actor"] for event in family.context.ledger(FAMILY).events() if event.step == "abort"]


CASES: dict[str, tuple[Any, str]] = {
    "never looked at": (None, f"nobody has looked at this canary: {STOPPED}"),
    "looked at long ago": (("mine", 90.0), f"the last look was 90 s ago: {STOPPED}"),
    "another canary was looked at": (("another", 1.0), f"nobody has looked at this canary: {STOPPED}"),
    "looked at just now": (
        ("mine", 5.0),
        "the last look was 5 s ago: the canary goes on, only its heartbeats were lost",
    ),
    "went well long ago": (
        ("mine", 5000.0, "promote"),
        "the last look was 5000 s ago: the canary went well and waits for approval",
    ),
    "another went well": (("another", 5000.0, "promote"), f"nobody has looked at this canary: {STOPPED}"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_canary_goes_on_only_while_somebody_looks(family: TinyFamily, name: str) -> None:
    look, reason = CASES[name]
    progress_path(family.home, FAMILY).unlink(missing_ok=True)
    route(family, "mine")
    if look:
        release, ago_s, *decision = look
        looked(family, ago_s, release, *decision)
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
