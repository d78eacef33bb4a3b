"""R9.3: a new stable bundle is watched; what breaks a budget or a promise takes the family back, nothing else does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from contracts.errors import Refused
from operations import pointer
from operations.bake import bake
from operations.rollback import rollback
from serving.presence import announce, withdraw
from serving.telemetry import Recorder
from tests.operations.gated_releases import FAMILY
from tests.operations.tiny_family import OPERATOR, TinyFamily

BAKE_S = 60
LOOK_S = 10
Looks = list[Callable[[], object]]


@pytest.fixture
def family(tmp_path: Path) -> Iterator[TinyFamily]:
    """v2 was promoted just now, over v1; a gateway (this process) has proved both."""
    made = TinyFamily(tmp_path / "project")
    params = made.root / "params.yaml"
    text = params.read_text()
    assert "bake_time_s: 0 " in text
    params.write_text(text.replace("bake_time_s: 0 ", f"bake_time_s: {BAKE_S} "))
    made.promote("v1", "one")
    made.promote("v2", "two")
    proof = {"equal": 1, "expected": 1, "erased": 0, "at": "now"}
    said = {"version": 10**6, "bundles": [], "proved": dict.fromkeys(made.bundles.values(), proof)}
    announce(made.home, "http://127.0.0.1:9", {FAMILY: said})
    yield made
    withdraw(made.home)


@pytest.fixture(autouse=True)
def looks(family: TinyFamily, monkeypatch: pytest.MonkeyPatch) -> Looks:
    """What happens between the looks of the bake, first to last; each is ten seconds later than the one before."""
    context = family.context
    real, slept, happens = context.now, [0], Looks()

    def sleep(_: float) -> None:
        slept[0] += LOOK_S
        if happens:
            happens.pop(0)()

    monkeypatch.setattr(context, "now", lambda: real() + timedelta(seconds=slept[0]))
    monkeypatch.setattr("operations.bake.time.sleep", sleep)
    return happens


def answered(family: TinyFamily, version: str, sessions: int, **more: Any) -> None:
    """Telemetry of so many sessions of one request each, some seconds ago."""
    table = pointer.current(family.context, FAMILY).table
    assert table is not None
    recorder, now_s = Recorder(family.home / "telemetry"), family.context.now().timestamp()
    for number in range(sessions):
        recorder.record({
            "timestamp": now_s - 5 + number / sessions, "request_id": f"{number:032x}", "session_id": f"s{number}",
            "family": FAMILY, "bundle": family.bundles[version], "arm": "stable", "route_version": table.version,
            "mode": "http", "status": 200, "audio_s": 2.0, "latency_ms": 40.0, "queue_ms": 0.0, "infer_ms": 30.0,
            "cost_usd": 1e-6, "confidence": 0.9, **more,
        })  # fmt: skip
    recorder.close()


def test_a_quiet_bake_ends_well_and_moves_nothing(family: TinyFamily, looks: Looks) -> None:
    looks.append(lambda: answered(family, "v2", 40))
    before = pointer.current(family.context, FAMILY)
    done = bake(family.context, FAMILY, key_name=OPERATOR)
    assert (done.outcome, done.reasons, done.bundle) == ("good", (), family.bundles["v2"])
    assert done.watched_s >= BAKE_S
    assert pointer.current(family.context, FAMILY) == before


def test_a_privacy_error_takes_the_family_back(family: TinyFamily, looks: Looks) -> None:
    looks.append(lambda: answered(family, "v2", 1, privacy_errors=1))
    done = bake(family.context, FAMILY, key_name=OPERATOR)
    assert done.outcome == "taken back"
    assert done.back is not None
    assert done.back.target == family.bundles["v1"] == pointer.current(family.context, FAMILY).stable
    move = family.context.ledger(FAMILY).state().history[-1]
    assert (move.kind, move.actor, move.reason) == ("rollback", OPERATOR, f"bake: {done.reasons[0]}")


def test_a_budget_that_is_broken_takes_the_family_back(family: TinyFamily, looks: Looks) -> None:
    for _ in range(4):
        looks.append(lambda: answered(family, "v2", 150, latency_ms=60_000.0))
    done = bake(family.context, FAMILY, key_name=OPERATOR)
    assert done.outcome == "taken back"
    assert "latency_ms" in done.reasons[0]


def test_what_another_bundle_answered_is_not_held_against_the_new_one(family: TinyFamily, looks: Looks) -> None:
    looks.append(lambda: answered(family, "v1", 1, privacy_errors=1))
    assert bake(family.context, FAMILY, key_name=OPERATOR).outcome == "good"


def test_silence_takes_nobody_back(family: TinyFamily) -> None:
    assert bake(family.context, FAMILY, key_name=OPERATOR).outcome == "good"


def test_somebody_s_move_ends_the_watch(family: TinyFamily, looks: Looks) -> None:
    looks.append(lambda: rollback(family.context, FAMILY, key_name=OPERATOR, reason="callers complain") and None)
    assert bake(family.context, FAMILY, key_name=OPERATOR).outcome == "superseded"
    assert pointer.current(family.context, FAMILY).stable == family.bundles["v1"]
    with pytest.raises(Refused, match="nothing bakes") as refused:
        bake(family.context, FAMILY, key_name=OPERATOR)
    assert refused.value.got == "the newest move is a rollback"
