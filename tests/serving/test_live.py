"""The live report: on a real gateway under traffic, and of what it is made when files, stores and workers fail."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from contracts.live import PROGRESS, LiveReport
from contracts.routing import CanaryRoute
from registry.ledger import Ledger
from registry.store import Store, open_store
from serving.client import RunningGateway
from serving.live import alert_rules
from serving.live_past import KEPT, Past
from tests.pages.live_examples import CANARY, OLD, STABLE, progress, table
from tests.serving.conftest import Home, StartGateway, silence, wav

FAMILY = "watched"
AT = "2026-11-20T13:00:00Z"


class Watched:
    """A gateway with a canary, under traffic, as people look at it."""

    def __init__(self, gateway: RunningGateway, home: Home) -> None:
        self.gateway, self.home = gateway, home

    def report(self) -> LiveReport:
        answer = httpx.get(f"{self.gateway.base_url}/v1/live")
        assert answer.status_code == 200
        return LiveReport.parse(answer.content)

    def page(self) -> httpx.Response:
        return httpx.get(self.gateway.base_url)

    def until(self, holds: Callable[[LiveReport], Any]) -> LiveReport:
        ends = time.monotonic() + 30
        while not holds(report := self.report()):
            assert time.monotonic() < ends, report
            time.sleep(0.2)
        return report

    def ask(self, session: int, device: str = "phone", **headers: str) -> httpx.Response:
        named = {"X-Soundcheck-Session": f"s{session}", "X-Soundcheck-Device": device, **headers}
        return httpx.post(
            f"{self.gateway.base_url}/v1/audio/transcriptions",
            headers={"Authorization": f"Bearer {self.home.key}", **named},
            files={"file": ("a.wav", wav(silence(0.3)))},
            data={"model": FAMILY},
        )


@pytest.fixture(scope="module")
def watched(home: Home, start_tiny: StartGateway) -> Iterator[Watched]:
    stable = home.bundle("live-v1", "alpha bravo", FAMILY)
    canary = home.bundle("live-v2", "alpha charlie", FAMILY)
    ledger = Ledger(home.store, FAMILY)
    for version, bundle in (("v1", stable), ("v2", canary)):
        ledger.append("package", "complete", at=AT, outputs={"bundle": bundle}, data={"version": version})
    home.point(FAMILY, stable)
    with start_tiny(home.root, families=[FAMILY], options=("--latency-budget", f"{FAMILY}=400@0.95")) as gateway:
        home.point(FAMILY, stable, canary=CanaryRoute(bundle=canary, stage="wide", weight=0.5))
        found = Watched(gateway, home)
        found.until(lambda report: (report.families[0].table or {}).get("canary"))
        yield found


def requests_of(report: LiveReport, name: str = "overall") -> int:
    return sum(window.requests for window in report.families[0].now if window.slice == name)


def test_what_is_counted_is_what_was_asked(watched: Watched) -> None:
    assert all(watched.ask(session, "web").status_code == 200 for session in range(24))
    (live,) = watched.until(lambda report: requests_of(report, "device=web") >= 24).families
    assert {window.arm for window in live.now if window.slice == "device=web"} == {"stable", "canary"}
    assert sorted(live.versions.values()) == ["v1", "v2"]
    assert [promise.objective for promise in live.promises] == ["availability", "privacy", "latency"]
    assert all(worker["state"] == "ready" and "waiting" in worker for worker in live.workers.values())
    assert [move.canary is not None for move in live.history[-2:]] == [False, True]
    assert live.history[-1].version == (live.table or {})["version"]


def test_the_page_is_drawn_of_it_and_asks_for_no_key(watched: Watched) -> None:
    watched.ask(1)
    answer = watched.page()
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["cache-control"] == "no-store"
    assert "<b>v2</b>" in answer.text
    assert "answers 50% of all sessions" in answer.text


def test_nothing_that_a_client_sent_is_on_the_page(watched: Watched) -> None:
    planted = "planted-7781"
    watched.ask(2, **{"X-Soundcheck-Tenant": planted.upper() + "!", "X-Soundcheck-Session": planted})
    time.sleep(1.1)
    shown = watched.page().text + httpx.get(f"{watched.gateway.base_url}/v1/live").text
    assert planted not in shown.lower()
    assert watched.home.key not in shown
    assert "alpha" not in shown


def test_the_canary_that_runs_is_told_and_a_spoiled_file_is_passed_over(watched: Watched) -> None:
    path = watched.home.root / PROGRESS / f"{FAMILY}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.write_bytes(progress().canonical())
        assert watched.until(lambda report: report.families[0].canary).families[0].canary == progress()
        path.write_text("{}")
        watched.until(lambda report: report.families[0].canary is None)
        assert watched.page().status_code == 200
    finally:
        path.unlink()


def test_many_who_look_get_one_report(watched: Watched) -> None:
    times = {watched.report().at_s for _ in range(5)}
    assert len(times) <= 3


def test_a_worker_that_died_is_told(watched: Watched) -> None:
    table = watched.report().families[0].table or {}
    stable = str(table["stable"])
    pid = watched.report().families[0].workers[stable]["pid"]
    assert isinstance(pid, int)
    os.kill(pid, signal.SIGKILL)
    watched.until(lambda report: report.families[0].workers[stable]["restarts"] == 1)
    watched.until(lambda report: report.families[0].workers[stable]["state"] == "ready")
    assert "1 restart" in watched.page().text


def test_a_family_without_a_table_is_told(home: Home, start_tiny: StartGateway) -> None:
    with start_tiny(home.root, families=["unreleased"]) as gateway:
        found = Watched(gateway, home)
        (live,) = found.report().families
        assert (live.table, live.history, live.workers) == (None, (), {})
        assert "No bundle of these families is named by a route table" in found.page().text


def test_every_alert_has_words_without_a_template() -> None:
    rules = alert_rules()
    assert {rule.action for rule in rules} == {"page", "ticket"}
    assert len(rules) > 10
    assert not [rule for rule in rules if "{{" in rule.says + rule.command or not rule.command]
    assert any(rule.says == "FAMILY: the OBJECTIVE budget burns N times too fast" for rule in rules)


# ---- what was ---------------------------------------------------------------------------------------------------
def move(ledger: Ledger, step: str, version: int, bundle: str, **data: Any) -> None:
    facts = {"actor": "r.manager", "reason": f"why {version}", "route_version": version, **data}
    ledger.append(step, "complete", at=AT, outputs={"bundle": bundle, "route_table": f"{version:064x}"}, data=facts)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store("file://store", tmp_path)


@pytest.fixture
def told(store: Store) -> Past:
    """v1, v2 with a shadow before it, a slice back on v1, degraded, all back on v1."""
    ledger = Ledger(store, FAMILY)
    for name, bundle in (("v1", OLD), ("v2", STABLE), ("v3", CANARY)):
        ledger.append("package", "complete", at=AT, outputs={"bundle": bundle}, data={"version": name})
    move(ledger, "promote", 1, OLD)
    stage: dict[str, Any] = {"stage": "shadow", "route_version": 2}
    ledger.append("canary_stage", "start", at=AT, inputs={"bundle": STABLE, "stable": OLD}, data=stage)
    move(ledger, "promote", 3, STABLE)
    move(ledger, "rollback", 4, OLD, slices={"device": "phone"})
    ledger.append(
        "degrade", "complete", at=AT,
        data={"route_version": 5, "change": "streams send finals alone", "actor": "ops", "reason": "load"},
    )  # fmt: skip
    move(ledger, "rollback", 6, OLD)
    past = Past(FAMILY, lambda: store)
    past.read()
    return past


def test_the_ledger_tells_who_moved_the_table_and_why(told: Past) -> None:
    assert [(one.version, one.actor, one.reason, one.stable, one.canary) for one in told.moves()] == [
        (1, "r.manager", "promote: why 1", OLD, None),
        (2, "release", "canary: shadow", OLD, STABLE),
        (3, "r.manager", "promote: why 3", STABLE, None),
        (4, "r.manager", "rollback of device=phone: why 4", STABLE, None),
        (5, "ops", "streams send finals alone: load", STABLE, None),
        (6, "r.manager", "rollback: why 6", OLD, None),
    ]
    assert dict(told.versions) == {OLD: "v1", STABLE: "v2", CANARY: "v3"}


def test_a_table_that_was_served_is_told_as_it_was(told: Past) -> None:
    told.saw(table(6, OLD, canary=CanaryRoute(bundle=CANARY, stage="wide", weight=0.1)))
    told.saw(None)
    last = told.moves()[-1]
    assert (last.version, last.reason, last.canary) == (6, "release v2", CANARY)


def test_the_newest_moves_are_kept() -> None:
    past = Past(FAMILY, None)
    for version in range(1, 3 * KEPT):
        past.saw(table(version, STABLE))
    past.read()
    assert [one.version for one in past.moves()] == list(range(2 * KEPT, 3 * KEPT))


def test_a_store_that_is_away_leaves_what_was_known(told: Past, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    before = told.moves()

    def away(*_: object, **__: object) -> None:
        raise OSError("gone")

    monkeypatch.setattr(type(store), "read", away)
    told.read()
    assert told.moves() == before


def test_a_pinned_family_has_no_past() -> None:
    past = Past(FAMILY, None)
    past.saw(table(0, STABLE))
    past.read()
    assert past.moves() == ()
