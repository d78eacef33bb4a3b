"""Rolling windows, their quantiles and the burn of error budgets, on a clock that the test sets."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving import windows
from serving.objectives import PERIOD_S, Objectives
from serving.windows import BUCKET_S, ERROR, OVERALL, SPAN_S, Sketch, Windows

BUNDLE, OTHER = "ab" * 32, "cd" * 32
FAMILY = "tiny"


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_000_000_000.0

    def __call__(self) -> float:
        return self.now_s


def row(**more: Any) -> dict[str, Any]:
    made = {
        "request_id": "0" * 32, "family": FAMILY, "bundle": BUNDLE, "arm": "stable", "tenant": "none",
        "device": "none", "language": "none", "codec": "none", "status": 200, "latency_ms": 100.0,
        "first_partial_ms": None, "first_audio_ms": None, "queue_ms": 1.0, "partial_words": 0, "unstable_words": 0,
        "privacy_errors": 0, "cost_usd": 0.5, "audio_s": 2.0,
    }  # fmt: skip
    return made | more


@given(st.lists(st.floats(0.01, 1e7), min_size=1, max_size=200), st.sampled_from([0.5, 0.95, 0.99, 1.0]))
def test_law_a_quantile_is_within_its_error_of_a_measured_value(values: list[float], share: float) -> None:
    sketch = Sketch()
    for value in values:
        sketch.add(value)
    exact = sorted(values)[max(math.ceil(share * len(values)), 1) - 1]
    assert abs(sketch.quantile(share) - exact) <= exact * (ERROR + 1e-9)
    assert sketch.maximum == max(values)


@given(st.lists(st.floats(0, 1e5), max_size=50), st.lists(st.floats(0, 1e5), max_size=50))
def test_law_merged_sketches_are_the_sketch_of_all_values(first: list[float], second: list[float]) -> None:
    parts, whole = (Sketch(), Sketch()), Sketch()
    for part, values in zip(parts, (first, second), strict=True):
        for value in values:
            part.add(value)
            whole.add(value)
    parts[0].merge(parts[1])
    assert parts[0].quantiles() == whole.quantiles()


def test_requests_are_counted_by_bundle_arm_and_slice() -> None:
    seen = Windows(clock=Clock())
    seen.record(row(device="phone", language="en"))
    seen.record(row(device="phone", status=503, latency_ms=9.0))
    seen.record(
        row(bundle=OTHER, arm="canary", first_partial_ms=50.0, first_audio_ms=70.0, partial_words=8, unstable_words=2)
    )
    seen.record(row(bundle=OTHER, arm="shadow"))
    seen.record(row(family="other"))
    found = {(window.bundle, window.arm, window.slice): window for window in seen.now(FAMILY)}
    assert set(found) == {
        (BUNDLE, "stable", OVERALL),
        (BUNDLE, "stable", "device=phone"),
        (BUNDLE, "stable", "language=en"),
        (OTHER, "canary", OVERALL),
        (OTHER, "shadow", OVERALL),
    }
    overall, canary = found[BUNDLE, "stable", OVERALL], found[OTHER, "canary", OVERALL]
    assert (overall.requests, overall.failures, overall.cost_usd, overall.audio_s) == (2, 1, 1.0, 4.0)
    assert overall.latency_ms is not None
    assert (overall.latency_ms.n, overall.latency_ms.maximum) == (1, 100.0)
    assert overall.first_partial_ms is None
    assert (canary.partial_words, canary.unstable_words) == (8, 2)
    assert canary.first_partial_ms is not None
    assert canary.first_partial_ms.p50 == pytest.approx(50, rel=ERROR)
    assert canary.first_audio_ms is not None
    assert canary.first_audio_ms.p50 == pytest.approx(70, rel=ERROR)


@pytest.mark.parametrize(
    ("status", "failures"), [(200, 0), (400, 0), (404, 0), (429, 1), (499, 0), (500, 1), (503, 1), (504, 1)]
)
def test_what_counts_as_a_failure_of_the_server(status: int, failures: int) -> None:
    seen = Windows(clock=Clock())
    seen.record(row(status=status))
    assert seen.now(FAMILY)[0].failures == failures


def test_what_clients_tell_is_counted_where_their_request_was() -> None:
    seen = Windows(clock=Clock())
    seen.record(row(request_id="1" * 32, device="phone"))
    for kind in ("correction", "correction", "interruption", "underrun", "abandonment", "probe", "support_ticket"):
        seen.event("1" * 32, kind)
    seen.event("2" * 32, "correction")
    for window in seen.now(FAMILY):
        counts = (window.corrections, window.interruptions, window.underruns, window.abandonments)
        assert counts == (2, 1, 1, 1)
        assert window.requests == 1


def test_a_series_is_in_time_order_and_forgets_after_half_an_hour() -> None:
    clock = Clock()
    seen = Windows(clock=clock)
    began_s = clock.now_s
    for step in range(SPAN_S // BUCKET_S + 20):
        clock.now_s = began_s + step * BUCKET_S
        seen.record(row(device="phone"))
    series = seen.series(FAMILY, slices=[OVERALL])
    assert len(series) == SPAN_S // BUCKET_S
    assert [window.since_s for window in series] == sorted(window.since_s for window in series)
    assert series[-1].since_s <= clock.now_s < series[-1].until_s
    assert {window.requests for window in series} == {1}
    minutes = seen.series(FAMILY, step_s=60, slices=[OVERALL])
    assert sum(window.requests for window in minutes) == sum(window.requests for window in series)
    assert sum(window.requests for window in seen.now(FAMILY) if window.slice == OVERALL) == 60 // BUCKET_S
    clock.now_s += SPAN_S + BUCKET_S
    assert seen.series(FAMILY) == ()


def test_a_clock_that_is_put_back_neither_loses_nor_doubles_traffic_fault_64(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Windows()
    seen.record(row())
    wall_s = time.time()
    monkeypatch.setattr(time, "time", lambda: wall_s - 86_400)
    seen.record(row())
    (window,) = seen.now(FAMILY)
    assert window.requests == 2
    assert abs(window.until_s - wall_s) < 60


def test_the_busiest_slices_come_after_overall() -> None:
    seen = Windows(clock=Clock())
    for name, times in (("phone", 3), ("car", 1), ("watch", 2)):
        for _ in range(times):
            seen.record(row(device=name))
    assert seen.busiest(FAMILY, limit=3) == (OVERALL, "device=phone", "device=watch")


def test_memory_is_bounded_and_overall_is_never_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "MAX_CELLS", 50)
    monkeypatch.setattr(windows, "MAX_MINUTES", 50)
    monkeypatch.setattr(windows, "REMEMBERED", 10)
    seen = Windows(clock=Clock())
    for index in range(500):
        seen.record(row(request_id=f"{index:032x}", tenant=f"t{index}", device=f"d{index}"))
    overall = [window for window in seen.now(FAMILY) if window.slice == OVERALL]
    assert [window.requests for window in overall] == [500]
    assert len(seen.now(FAMILY)) <= 51
    seen.event(f"{3:032x}", "correction")
    seen.event(f"{499:032x}", "correction")
    assert next(window for window in seen.now(FAMILY) if window.slice == OVERALL).corrections == 1


Traffic = Callable[[Windows, Clock], None]


def minutes(count: int, *, good: int = 0, bad: int = 0, **what: Any) -> Traffic:
    """`count` minutes of traffic with so many good and bad requests a minute."""

    def play(seen: Windows, clock: Clock) -> None:
        for _ in range(count):
            clock.now_s += 60
            for index in range(good + bad):
                seen.record(row(**what) if index < bad else row())

    return play


FAILED, SLOW, PRIVATE = {"status": 503}, {"latency_ms": 901.0}, {"privacy_errors": 1}
LATE: dict[str, Any] = {"first_audio_ms": 401.0}


@pytest.mark.parametrize(
    ("name", "traffic", "objective", "action", "overspent"),
    [
        ("all well", [minutes(60, good=10)], "availability", "none", False),
        (
            "one failure in a hundred, long enough",
            [minutes(120, good=99, bad=1, **FAILED)],
            "availability",
            "ticket",
            True,
        ),
        ("two in a hundred, an hour", [minutes(61, good=98, bad=2, **FAILED)], "availability", "page", True),
        ("everything fails, five minutes", [minutes(5, bad=10, **FAILED)], "availability", "page", True),
        ("it is over", [minutes(30, bad=10, **FAILED), minutes(30, good=10)], "availability", "none", True),
        ("two failures only", [minutes(1, bad=2, **FAILED)], "availability", "none", True),
        ("a third over the budget", [minutes(60, good=6, bad=4, **SLOW)], "latency", "ticket", True),
        ("nearly all over the budget", [minutes(60, good=1, bad=9, **SLOW)], "latency", "page", True),
        ("as many as are allowed", [minutes(60, good=19, bad=1, **SLOW)], "latency", "none", False),
        ("speech begins too late", [minutes(60, bad=9, **LATE)], "first_audio", "page", True),
        (
            "it began too late, and does no more",
            [minutes(60, bad=4, **LATE), minutes(60, bad=6, first_audio_ms=399.0)],
            "first_audio",
            "none",
            True,
        ),
        ("one private run", [minutes(60, good=10), minutes(1, bad=1, **PRIVATE)], "privacy", "page", True),
        (
            "a private run of two hours ago",
            [minutes(1, bad=1, **PRIVATE), minutes(120, good=1)],
            "privacy",
            "none",
            True,
        ),
    ],
)
def test_who_is_called_when_a_budget_burns(
    name: str, traffic: list[Traffic], objective: str, action: str, overspent: bool
) -> None:
    clock = Clock()
    seen = Windows({FAMILY: Objectives(availability=0.999, latency_ms=900, first_audio_ms=400)}, clock)
    for play in traffic:
        play(seen, clock)
    burns = {burn.objective: burn for burn in seen.burns(FAMILY) if burn.slice == OVERALL}
    assert set(burns) == {"availability", "latency", "first_audio", "privacy"}
    assert burns[objective].action == action, name
    assert (burns[objective].left < 0) == overspent, name


def test_a_slice_is_named_only_where_somebody_has_to_be_called() -> None:
    clock = Clock()
    seen = Windows(clock=clock)
    for _ in range(5):
        clock.now_s += 60
        for _ in range(10):
            seen.record(row(device="car", status=503))
        for _ in range(990):
            seen.record(row(device="phone"))
    assert [(burn.slice, burn.objective, burn.action) for burn in seen.burns(FAMILY)] == [
        (OVERALL, "availability", "ticket"),
        (OVERALL, "privacy", "none"),
        ("device=car", "availability", "page"),
    ]


def test_what_burn_rates_are_made_of_is_told_of_every_slice_and_window() -> None:
    clock = Clock()
    seen = Windows({FAMILY: Objectives(latency_ms=900)}, clock)
    minutes(10, good=1, bad=1, device="phone", **SLOW)(seen, clock)
    minutes(60)(seen, clock)
    minutes(2, good=3)(seen, clock)
    counts = {
        (one.objective, one.slice): {window.span_s: (window.asked, window.bad) for window in one.windows}
        for one in seen.counts(FAMILY)
    }
    assert list(counts) == [
        (objective, name) for name in (OVERALL, "device=phone") for objective in ("availability", "privacy", "latency")
    ]
    assert counts["latency", OVERALL] == {300: (6, 0), 1800: (6, 0), 3600: (6, 0), 21600: (26, 10)}
    assert counts["latency", "device=phone"] == {21600: (10, 10)}


def test_the_budget_of_a_shadow_copy_is_nobodys() -> None:
    clock = Clock()
    seen = Windows(clock=clock)
    minutes(5, bad=10, arm="shadow", **FAILED)(seen, clock)
    assert [(burn.rate, burn.left) for burn in seen.burns(FAMILY)] == [(0.0, 1.0), (0.0, 1.0)]


def test_a_budget_is_of_what_is_remembered() -> None:
    clock = Clock()
    seen = Windows(clock=clock)
    minutes(1, good=500, bad=500, **FAILED)(seen, clock)
    assert seen.burns(FAMILY)[0].left == pytest.approx(1 - 500)
    clock.now_s += PERIOD_S + 60
    seen.record(row())
    assert seen.burns(FAMILY)[0].left == 1.0
