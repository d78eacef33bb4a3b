"""The capacity plan: what overlaps is hidden, what does not is added, and a queue costs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.capacity import Assumed, CapacityPlan
from contracts.digest import digest_of
from contracts.errors import WrongCall
from monitoring.capacity import Turns, plan, turns_of

ASSUMED = Assumed(frame_ms=20, network_ms=40, endpoint_ms=300, playback_ms=40, pause_s=2)


def turns(hear_ms: list[float], *, paused: bool = True, speak_ms: float = 10.0, compute_s: float = 0.5) -> Turns:
    count = len(hear_ms)
    same = np.ones(count)
    return Turns(
        hear_ms=np.array(hear_ms, float),
        retrieve_ms=same,
        respond_ms=same,
        speak_ms=same * speak_ms,
        compute_s=same * compute_s,
        speech_s=same * 2.0,
        reply_s=same * 3.0,
        margin_ms=same * 200.0,
        paused=np.full(count, paused),
    )


def made(given: Turns, assumed: Assumed = ASSUMED, budget_ms: float = 700.0) -> CapacityPlan:
    return plan(given, assumed, family="a", version="v", payload_digest=digest_of({}), budget_ms=budget_ms)


@pytest.mark.parametrize(
    ("hear_ms", "paused", "serial_ms", "overlapped_ms"),
    [
        (80, True, 20 + 40 + 300 + 80 + 12 + 80, 20 + 40 + 300 + 12 + 80),  # all of the hearing is hidden
        (250, True, 20 + 40 + 300 + 250 + 12 + 80, 20 + 40 + 200 + 250 + 12 + 80),  # a part of it is
        (80, False, 20 + 40 + 300 + 80 + 12 + 80, 20 + 40 + 300 + 80 + 12 + 80),  # noise hides the pause
    ],
    ids=["short", "long", "noise"],
)
def test_what_is_done_while_the_end_is_waited_for_is_hidden(
    hear_ms: float, paused: bool, serial_ms: float, overlapped_ms: float
) -> None:
    serial, overlapped = made(turns([hear_ms] * 4, paused=paused)).schedules
    assert (serial.p50_ms, serial.p95_ms) == (serial_ms, serial_ms)
    assert (overlapped.p50_ms, overlapped.p95_ms) == (overlapped_ms, overlapped_ms)
    assert (serial.in_use, overlapped.in_use) == (not paused, paused)
    assert serial.headroom_ms == 700 - serial_ms


def test_stages_are_those_of_coverage_row_40_and_say_what_was_measured() -> None:
    stages = made(turns([80.0])).schedules[0].stages
    assert [(stage.name, stage.measured) for stage in stages] == [
        ("capture of a frame", False),
        ("network, up", False),
        ("wait for the end of the turn", False),
        ("hearing", True),
        ("retrieval", True),
        ("response step", True),
        ("first sentence of voice", True),
        ("network, down", False),
        ("playback buffer", False),
    ]


Times = st.lists(st.floats(1, 800), min_size=1, max_size=30)


@given(hear_ms=Times, endpoint_ms=st.floats(0, 800))
@settings(deadline=None, max_examples=60)
def test_overlap_never_costs_and_hides_at_most_the_hearing(hear_ms: list[float], endpoint_ms: float) -> None:
    serial, overlapped = made(turns(hear_ms), ASSUMED.model_copy(update={"endpoint_ms": endpoint_ms})).schedules
    assert overlapped.p95_ms <= serial.p95_ms + 1e-6
    assert serial.p95_ms - overlapped.p95_ms <= max(hear_ms) + 1e-6


@given(hear_ms=Times)
@settings(deadline=None, max_examples=40)
def test_the_longest_wait_is_on_the_budget(hear_ms: list[float]) -> None:
    given = turns(hear_ms)
    for place, one in enumerate(made(given).schedules):
        if one.longest_endpoint_ms is None:
            assert one.headroom_ms < 0
            continue
        waited = ASSUMED.model_copy(update={"endpoint_ms": one.longest_endpoint_ms})
        assert made(given, waited).schedules[place].p95_ms <= 700 + 1e-6
        longer = ASSUMED.model_copy(update={"endpoint_ms": one.longest_endpoint_ms + 2})
        assert made(given, longer).schedules[place].p95_ms >= 700 - 2


@given(hear_ms=Times, compute_s=st.floats(0.05, 3))
@settings(deadline=None, max_examples=40)
def test_more_sessions_never_answer_sooner(hear_ms: list[float], compute_s: float) -> None:
    found = made(turns(hear_ms, compute_s=compute_s))
    late = [load.p95_ms for load in found.loads]
    assert late == sorted(late)
    assert found.loads[0].p95_ms == pytest.approx(next(one.p95_ms for one in found.schedules if one.in_use))
    within = [load.sessions for load in found.loads if load.p95_ms <= found.budget_ms]
    assert found.sessions_per_core == max(within, default=0)


def test_a_queue_is_what_pollaczek_and_khinchine_say() -> None:
    found = made(turns([88.0] * 5, compute_s=0.73))  # a turn of 7.3 s: each session keeps the core a tenth busy
    load = found.loads[5]
    assert load.sessions == 6
    assert load.busy == pytest.approx(0.5)
    mean_wait_ms = 0.5 * 100.0 / (2 * (1 - 0.5))  # jobs of 100 ms each
    assert load.p95_ms - found.loads[0].p95_ms == pytest.approx(np.log(0.5 / 0.05) * mean_wait_ms / 0.5)


def test_what_never_fits_carries_nobody() -> None:
    found = made(turns([2_000.0] * 3))
    assert found.sessions_per_core == 0
    assert [one.longest_endpoint_ms for one in found.schedules] == [None, None]


def test_no_turns_no_plan() -> None:
    with pytest.raises(WrongCall) as refused:
        made(turns([]))
    assert refused.value.diagnostics() == (
        "a capacity plan needs turns\n  got: none\n  next step: name a pack with utterances"
    )


def test_turns_are_read_from_a_table() -> None:
    columns: dict[str, Any] = {**turns([1.0, 2.0])._asdict(), "utterance_id": np.array(["a", "b"])}
    assert turns_of(columns).hear_ms.tolist() == [1.0, 2.0]
    assert turns_of(columns).paused.dtype == np.bool_
