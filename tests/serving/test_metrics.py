"""What /metrics says: counts of rows, and what is asked at the scrape of a gateway whose tables and workers change."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from contracts.live import PROGRESS
from contracts.routing import CanaryRoute
from serving.client import RunningGateway, transcribe
from serving.metrics import Metrics
from serving.objectives import Objectives, judged
from tests.pages.live_examples import progress as canary_progress
from tests.serving.conftest import Home, StartGateway, silence, wav
from tests.serving.test_telemetry_keeping import request

Samples = dict[str, float]


def samples(text: str) -> Samples:
    """Every sample of a text exposition, by its name and labels as written."""
    found = re.findall(r"^(soundcheck_[^ ]+(?: [^ ]+)*?) (\S+)$", text, flags=re.MULTILINE)
    return {name: float(value) for name, value in found}


def counted(*rows: dict[str, Any]) -> Samples:
    metrics = Metrics({"tiny": Objectives(availability=0.99, latency_ms=100)})
    for row in rows:
        metrics.request(row)
    return samples(metrics.render().decode())


def total(found: Samples, name: str, *labels: str) -> float:
    """The sum over the samples of a metric that have these labels (`arm="stable"`)."""
    return sum(
        value
        for sample, value in found.items()
        if re.split(r"[{ ]", sample)[0] == name and all(label in sample for label in labels)
    )


@pytest.mark.parametrize(
    ("name", "row", "expected"),
    [
        ("well", {}, {"availability": False, "privacy": False, "latency": False}),
        ("slow", {"latency_ms": 100.1}, {"availability": False, "privacy": False, "latency": True}),
        ("just in time", {"latency_ms": 100.0}, {"availability": False, "privacy": False, "latency": False}),
        ("no room", {"status": 429}, {"availability": True, "privacy": False}),
        ("failed slowly", {"status": 500, "latency_ms": 900.0}, {"availability": True, "privacy": False}),
        ("left", {"status": 499}, {"availability": False, "privacy": False}),
        ("wrong call", {"status": 400}, {"availability": False, "privacy": False}),
        ("private", {"privacy_errors": 2}, {"availability": False, "privacy": True, "latency": False}),
        ("shadow", {"arm": "shadow", "status": 500}, {}),
    ],
)
def test_which_requests_are_bad(name: str, row: dict[str, Any], expected: dict[str, bool]) -> None:
    promised = Objectives(availability=0.99, latency_ms=100)
    assert judged(request(1, **row), promised) == expected, name
    found = counted(request(1, **row))
    for objective in ("availability", "privacy", "latency"):
        label = f'objective="{objective}"'
        assert total(found, "soundcheck_objective_requests_total", label) == (objective in expected), name
        assert total(found, "soundcheck_objective_bad_total", label) == expected.get(objective, False), name


def test_budgets_stand_there_before_the_first_request() -> None:
    found = counted()
    budgets = {'availability"': 0.01, 'latency"': 0.05, 'privacy"': 0.0}
    for objective, budget in budgets.items():
        label = f'objective="{objective}'
        assert total(found, "soundcheck_objective_budget_ratio", label) == pytest.approx(budget)
        assert any(label in name and "bad_total" in name for name in found), "rate() needs a counter's 0"


def test_stages_batches_words_and_cost_of_answers() -> None:
    found = counted(
        request(1, preprocess_ms=1.0, queue_ms=20.0, infer_ms=40.0, postprocess_ms=0.5, batch=4, cost_usd=0.25),
        request(2, mode="stream", partial_words=10, unstable_words=3, first_partial_ms=80.0, degraded="no_partials"),
        request(3, arm="shadow", shadow_edits=1, shadow_words=6),
        request(4, status=500, error_code="internal", worker_died=1, retries=1, infer_ms=7000.0),
    )
    assert total(found, "soundcheck_requests_total", 'status="200"') == 3
    assert total(found, "soundcheck_requests_total", 'code="internal"') == 1
    assert total(found, "soundcheck_stage_seconds_sum", 'stage="queue"') == pytest.approx(0.0202)
    assert total(found, "soundcheck_stage_seconds_sum", 'stage="infer"') == pytest.approx(0.048), "answers alone"
    assert total(found, "soundcheck_stage_seconds_count", 'stage="preprocess"') == 3
    assert total(found, "soundcheck_batch_size_sum") == 6
    assert total(found, "soundcheck_partial_words_total", 'outcome="shown"') == 10
    assert total(found, "soundcheck_partial_words_total", 'outcome="taken_back"') == 3
    assert total(found, "soundcheck_first_partial_seconds_sum") == pytest.approx(0.08)
    assert total(found, "soundcheck_degraded_requests_total", 'mode="no_partials"') == 1
    assert total(found, "soundcheck_shadow_words_total", 'outcome="heard"') == 6
    assert total(found, "soundcheck_shadow_words_total", 'outcome="edited"') == 1
    assert total(found, "soundcheck_cost_usd_total") == pytest.approx(0.25 + 3e-6)
    assert total(found, "soundcheck_retries_total") == 1


def test_turns_of_a_dialogue_are_counted_by_what_became_of_them() -> None:
    found = counted(
        request(1, grounded=1, handoff=0), request(2, grounded=1, handoff=1), request(3, grounded=0, handoff=1),
        request(4), request(5, grounded=0, handoff=1, status=500),
    )  # fmt: skip
    outcomes = {"heard": 3, "handoff": 2, "ungrounded": 1}
    assert {name: total(found, "soundcheck_turns_total", f'outcome="{name}"') for name in outcomes} == outcomes


def until(gateway: RunningGateway, holds: Callable[[Samples], bool], *, bound_s: float = 20.0) -> Samples:
    ends = time.monotonic() + bound_s
    while True:
        found = samples(httpx.get(f"{gateway.base_url}/metrics", trust_env=False).text)
        if holds(found):
            return found
        assert time.monotonic() < ends, sorted(found)
        time.sleep(0.05)


def test_a_scrape_shows_what_is_served_now(start_tiny: StartGateway, tmp_path: Path) -> None:
    tmp_path.joinpath("home").mkdir()
    home = Home(tmp_path / "home")
    old, new = home.bundle("old", "alpha", "tiny"), home.bundle("new", "bravo", "tiny")
    canary = CanaryRoute(bundle=new, stage="wide", weight=0.25, release="r2")
    home.point("tiny", old, canary=canary)
    with start_tiny(home.root, families=["tiny"], options=("--latency-budget", "tiny=900@0.95")) as gateway:
        moved_s = datetime(2026, 11, 20, tzinfo=UTC).timestamp()
        both = until(gateway, lambda found: total(found, "soundcheck_worker_ready") == 2)
        assert total(both, "soundcheck_canary_weight_ratio", f'bundle="{new[:12]}"', 'stage="wide"') == 0.25
        assert total(both, "soundcheck_canary_looked_at_seconds") == moved_s, "nobody has looked yet"
        assert total(both, "soundcheck_objective_budget_ratio", 'objective="latency"') == pytest.approx(0.05)
        assert total(both, "soundcheck_worker_peak_memory_bytes") > 1e6
        assert len([name for name in both if "worker_waiting" in name]) == 4

        transcribe(gateway.base_url, wav(silence(0.5)), "tiny", home.key, {})
        progress = home.root / PROGRESS / "tiny.json"
        progress.parent.mkdir(parents=True)
        known = canary_progress().model_copy(update={"release": canary.release, "looked_at": "2026-11-20T00:01:00Z"})
        progress.write_bytes(known.canonical())
        seen = until(gateway, lambda found: total(found, "soundcheck_canary_looked_at_seconds") == moved_s + 60)
        assert total(seen, "soundcheck_canary_settled") == 0
        settled = known.model_copy(update={"decision": "promote", "stage": "shadow"})
        progress.write_bytes(settled.canonical())
        home.point("tiny", old, canary=canary.model_copy(update={"stage": "shadow"}))
        until(gateway, lambda found: total(found, "soundcheck_canary_settled") == 1)
        progress.write_text("{")
        until(gateway, lambda found: total(found, "soundcheck_canary_looked_at_seconds") == moved_s)
        home.point("tiny", old)
        alone = until(gateway, lambda found: "canary_weight" not in " ".join(found))
        alone = until(gateway, lambda found: total(found, "soundcheck_worker_ready") == 1)
        assert not any(
            "canary_looked" in name or "canary_settled" in name or f'worker_load_ratio{{bundle="{new[:12]}' in name
            for name in alone
        )
        assert total(alone, "soundcheck_route_version") == 3
        written = until(gateway, lambda found: total(found, "soundcheck_telemetry_written_total") == 1)
        assert total(written, "soundcheck_telemetry_dropped_total") == 0
