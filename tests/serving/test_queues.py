"""Laws of a worker's queues: bounds, classes, order, batches, cancellation; and how long the first of a batch waits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from serving.frames import Header, Priority
from serving.queues import CLASSES, MAX_WAITING_S, SLICE_S, WINDOW, Job, Limits, Operation, Queues
from speech.runtimes import Samples

LIMITS = Limits(interactive=3, batch=4, streams=3, max_batch=3, batch_wait_s=0.0)
NOTHING = np.zeros(0, dtype=np.float32)


class Nobody:
    """A peer that nothing is said to: queues speak to no one."""

    gone = False

    def send(self, header: Header, samples: Samples | None = None) -> None:
        raise AssertionError(header, samples)


def job(
    operation: Operation = "transcribe",
    number: int = 0,
    priority: Priority = "interactive",
    *,
    arrived: float = 0.0,
    expires: float = float("inf"),
    audio_s: float = 1.0,
) -> Job:
    return Job(operation, (0, number), Nobody(), NOTHING, priority, arrived, expires, audio_s)


def filled(*jobs: Job, limits: Limits = LIMITS) -> Queues:
    queues = Queues(limits)
    for one in jobs:
        assert queues.admit(one)
    return queues


def taken(queues: Queues, *, together: bool = True) -> list[tuple[str, list[int]]]:
    """What is done until nothing waits: operation and numbers of each step."""
    steps: list[tuple[str, list[int]]] = []
    while (jobs := queues.take(0.0, together=together)[0]) != []:
        steps.append((jobs[0].operation, [one.key[1] for one in jobs]))
        queues.done()
    return steps


class QueueMachine(RuleBasedStateMachine):
    """Any order of arrivals, departures and steps, beside a plain account of what waits: (number, operation)."""

    def __init__(self) -> None:
        super().__init__()
        self.queues = Queues(LIMITS)
        self.number = 0
        self.utterances: dict[Priority, list[Job]] = {name: [] for name in CLASSES}
        self.steps: dict[Priority, list[Job]] = {name: [] for name in CLASSES}
        self.open: dict[int, Priority] = {}

    @rule(priority=st.sampled_from(CLASSES), audio_s=st.sampled_from((1.0, SLICE_S + 1, 500.0)))
    def utterance_comes(self, priority: Priority, audio_s: float) -> None:
        self.number += 1
        waiting = self.utterances[priority]
        fits = (
            len(waiting) < getattr(LIMITS, priority) and sum(one.audio_s for one in waiting) + audio_s <= MAX_WAITING_S
        )
        one = job("transcribe", self.number, priority, audio_s=audio_s)
        assert self.queues.admit(one) is (fits or not waiting)
        if fits or not waiting:
            waiting.append(one)

    @rule(priority=st.sampled_from(CLASSES))
    def stream_opens(self, priority: Priority) -> None:
        self.number += 1
        one = job("open", self.number, priority)
        assert self.queues.admit(one) is (len(self.open) < LIMITS.streams)
        if len(self.open) < LIMITS.streams:
            self.open[self.number] = priority
            self.steps[priority].append(one)

    @rule(data=st.data(), operation=st.sampled_from(("chunk", "chunk", "chunk", "restart", "end")))
    def stream_says(self, data: st.DataObject, operation: Operation) -> None:
        if self.open:
            number = data.draw(st.sampled_from(sorted(self.open)))
            one = job(operation, number)
            assert self.queues.admit(one)
            self.steps[self.open[number]].append(one)

    @rule(data=st.data())
    def somebody_leaves(self, data: st.DataObject) -> None:
        known = {one.key[1] for lane in self.utterances.values() for one in lane} | set(self.open)
        if known:
            number = data.draw(st.sampled_from(sorted(known)))
            waiting = [one for lane in self._lanes() for one in lane if one.key[1] == number]
            assert len(self.queues.cancel((0, number))) == len(waiting)
            assert all(one.cancelled for one in waiting)
            self._forget(number)

    @rule(together=st.booleans())
    def step(self, together: bool) -> None:
        jobs, wait_s = self.queues.take(0.0, together=together)
        assert wait_s is None
        first = next((lane[0] for lane in self._lanes() if lane), None)
        assert (jobs[0] if jobs else None) is first
        assert len(jobs) <= (LIMITS.max_batch if together else 1)
        assert len({one.operation for one in jobs}) <= 1
        assert len({one.key for one in jobs}) == len(jobs)
        assert len(jobs) == 1 or not any(one.long for one in jobs)
        for one in jobs:
            lane = next(lane for lane in self._lanes() if one in lane)
            assert next(other for other in lane if other.key == one.key) is one  # no step overtakes its own stream
            lane.remove(one)
        if first is not None and first.operation == "end":
            self.queues.closed(first.key)
            self._forget(first.key[1])
        self.queues.done()

    @invariant()
    def account_agrees(self) -> None:
        for name in CLASSES:
            assert self.queues.waiting(name) == len(self.utterances[name])
        assert self.queues.streams == len(self.open)
        assert 0 <= self.queues.load <= 1
        assert self.queues.idle is not bool(self.open or any(self._lanes()))

    def _lanes(self) -> list[list[Job]]:
        """In the order in which they are served."""
        return [lane for name in CLASSES for lane in (self.steps[name], self.utterances[name])]

    def _forget(self, number: int) -> None:
        for lane in self._lanes():
            lane[:] = [one for one in lane if one.key[1] != number]
        if number in self.open:
            # What the inference thread does when it comes to the `close`.
            self.queues.closed((0, number))
            del self.open[number]


QueueMachine.TestCase.settings = settings(deadline=None, max_examples=60, stateful_step_count=40)
TestQueueLaws = QueueMachine.TestCase


def test_interactive_goes_before_batch_and_streams_before_utterances() -> None:
    queues = filled(
        job("transcribe", 1, "batch"),
        job("open", 2, "batch"),
        job("transcribe", 3),
        job("open", 4),
        job("transcribe", 5, "batch"),
    )
    assert taken(queues) == [("open", [4]), ("transcribe", [3]), ("open", [2]), ("transcribe", [1, 5])]


def test_batch_delays_interactive_work_by_no_more_than_the_step_that_runs() -> None:
    """A long batch utterance comes back after each slice, behind whatever interactive work came meanwhile."""
    queues = filled(job("transcribe", 1, "batch", audio_s=60.0), job("transcribe", 2, "batch"))
    order = []
    for turn in range(4):
        (one,), _ = queues.take(0.0, together=True)
        order.append(one.key[1])
        if one.key[1] == 1:
            one.position += 1
            queues.put_back(one)
        if turn == 0:
            assert queues.admit(job("transcribe", 3))
    assert order == [1, 3, 1, 1]


def test_a_batch_is_of_chunks_of_different_streams_or_of_short_utterances() -> None:
    opened = filled(*(job("open", number) for number in (1, 2, 3)))
    assert taken(opened) == [("open", [1]), ("open", [2]), ("open", [3])]
    for number in (1, 1, 2):
        assert opened.admit(job("chunk", number))
    for one in (job("end", 2), job("end", 3), job("chunk", 1)):
        assert opened.admit(one)
    assert taken(opened) == [
        ("chunk", [1, 2]),
        ("chunk", [1]),
        ("end", [2]),
        ("end", [3]),
        ("chunk", [1]),
    ]
    mixed = filled(job(number=1), job(number=2, audio_s=SLICE_S + 0.1), job(number=3))
    assert taken(mixed) == [("transcribe", [1]), ("transcribe", [2]), ("transcribe", [3])]
    assert taken(filled(job(number=1), job(number=2)), together=False) == [("transcribe", [1]), ("transcribe", [2])]


def test_a_barge_in_drops_the_chunks_before_it_and_keeps_those_after() -> None:
    queues = filled(job("open", 1), job("open", 2), job("chunk", 1), job("chunk", 2), job("chunk", 1))
    assert queues.admit(job("restart", 1))
    assert queues.admit(job("chunk", 1))
    assert taken(queues) == [
        ("open", [1]),
        ("open", [2]),
        ("skip", [1]),
        ("chunk", [2]),
        ("skip", [1]),
        ("restart", [1]),
        ("chunk", [1]),
    ]


def test_what_runs_is_marked_when_nobody_wants_it_any_more() -> None:
    queues = filled(job(number=1), job(number=2), job(number=3))
    running, _ = queues.take(0.0, together=False)
    assert len(queues.cancel((0, 1))) == 0
    assert len(queues.cancel((0, 3))) == 1
    assert running[0].cancelled
    assert taken(queues) == [("transcribe", [2])]


def test_one_utterance_of_any_length_may_wait_and_no_more_audio_than_the_bound() -> None:
    queues = filled(job(number=1, audio_s=MAX_WAITING_S * 2))
    assert not queues.admit(job(number=2))
    assert queues.admit(job(number=3, priority="batch"))
    assert taken(queues) == [("transcribe", [1]), ("transcribe", [3])]
    assert queues.admit(job(number=4))


@pytest.mark.parametrize(
    ("now", "arrived", "expires", "others", "expected_wait_s"),
    [
        pytest.param(10.0, 10.0, 99.0, 0, 0.02, id="the first waits for others"),
        pytest.param(10.015, 10.0, 99.0, 0, 0.005, id="what is left of the time"),
        pytest.param(10.02, 10.0, 99.0, 0, None, id="its time is over"),
        pytest.param(10.0, 10.0, 99.0, 2, None, id="a full batch goes at once"),
        pytest.param(10.0, 10.0, 99.0, 1, 0.02, id="a batch that is not full waits"),
        pytest.param(10.0, 10.0, 10.13, 0, 0.01, id="never past its deadline less the time that hearing takes"),
        pytest.param(10.0, 10.0, 10.05, 0, None, id="it would be late already"),
    ],
)
def test_how_long_the_first_of_a_batch_waits(
    now: float, arrived: float, expires: float, others: int, expected_wait_s: float | None
) -> None:
    queues = filled(
        job(number=1, arrived=arrived, expires=expires),
        *(job(number=2 + other, arrived=arrived) for other in range(others)),
        limits=LIMITS._replace(batch_wait_s=0.02),
    )
    jobs, wait_s = queues.take(now, together=True, expected_s=0.12)
    assert wait_s == (None if expected_wait_s is None else pytest.approx(expected_wait_s))
    assert len(jobs) == (1 + others if expected_wait_s is None else 0)


def test_an_engine_that_hears_one_at_a_time_waits_for_nobody() -> None:
    queues = filled(job(arrived=10.0), limits=LIMITS._replace(batch_wait_s=5.0))
    assert len(queues.take(10.0, together=False)[0]) == 1


def test_the_load_is_the_share_of_the_interactive_queue() -> None:
    queues = filled(job(number=1), job(number=2), job(number=3, priority="batch"))
    assert queues.load == pytest.approx(2 / 3)
    assert (queues.before("interactive"), queues.before("batch")) == (2, 3)


# ---- speech -----------------------------------------------------------------------------------------------------
def spoken(queues: Queues, chunk_s: float, *, now: float = 0.0) -> int:
    """One chunk of whoever's turn it is is made and sent; whose it was."""
    (one,), _ = queues.take(now, together=False)
    one.speech = iter(())
    one.dry_at = max(one.dry_at, now) + chunk_s
    one.untaken += 1
    queues.put_back(one)
    queues.done()
    return one.key[1]


def test_who_runs_dry_first_is_served_first_and_a_new_text_before_all() -> None:
    queues = filled(job("speak", 1, audio_s=0.0), job("speak", 2, audio_s=0.0))
    assert [spoken(queues, 5.0), spoken(queues, 2.0)] == [1, 2]
    assert spoken(queues, 1.0, now=1.0) == 2  # dry at 2; the first has until 5
    assert queues.admit(job("speak", 3, arrived=1.5, audio_s=0.0))
    assert [spoken(queues, 9.0, now=1.5), spoken(queues, 9.0, now=1.5), spoken(queues, 9.0, now=1.5)] == [3, 2, 1]


@settings(max_examples=50)
@given(lengths=st.lists(st.sampled_from((0.5, 1.0, 3.0)), min_size=2, max_size=LIMITS.streams))
def test_law_listeners_of_texts_that_are_made_faster_than_they_last_never_run_dry(lengths: list[float]) -> None:
    """Chunks that take together no longer than the shortest of them lasts are there in time, whoever else is served."""
    queues = filled(*(job("speak", number, audio_s=0.0) for number in range(len(lengths))))
    work_s = min(lengths) / len(lengths)
    now, dry_at = 0.0, dict.fromkeys(range(len(lengths)), float("inf"))
    for _ in range(WINDOW):
        for _ in lengths:
            (one,), _ = queues.take(now, together=False)
            number = one.key[1]
            now += work_s
            assert now <= dry_at[number] + 1e-9
            one.speech, one.dry_at = iter(()), max(one.dry_at, now) + lengths[number]
            dry_at[number] = one.dry_at
            queues.put_back(one)
            queues.done()


def test_a_listener_who_takes_nothing_has_no_more_made_until_it_does() -> None:
    queues = filled(job("speak", 1, audio_s=0.0))
    assert [spoken(queues, 1.0) for _ in range(WINDOW)] == [1] * WINDOW
    assert queues.take(0.0, together=False) == ([], None)
    assert (queues.streams, queues.idle, queues.waiting("interactive")) == (1, False, 0)
    queues.taken((0, 1))
    assert spoken(queues, 1.0) == 1
    assert queues.take(0.0, together=False) == ([], None)
    queues.closed((0, 1))
    assert queues.idle


def test_what_is_being_said_takes_no_place_of_those_that_wait_and_is_bounded_itself() -> None:
    queues = Queues(LIMITS)
    for number in range(LIMITS.streams):
        assert queues.admit(job("speak", number, audio_s=0.0))
        assert spoken(queues, 1.0) == number
    assert queues.waiting("interactive") == 0
    assert not queues.admit(job("speak", 9, audio_s=0.0))
    assert queues.admit(job("transcribe", 9))
    assert len(queues.cancel((0, 0))) == 1
    assert queues.admit(job("speak", 9, audio_s=0.0))


@pytest.mark.parametrize("when", ["waiting", "being made", "parked"])
def test_speech_that_is_cancelled_is_over_wherever_it_stands(when: str) -> None:
    queues = filled(job("speak", 1, audio_s=0.0))
    if when == "parked":
        assert [spoken(queues, 1.0) for _ in range(WINDOW)] == [1] * WINDOW
    made = queues.take(0.0, together=False)[0] if when == "being made" else []
    queues.cancel((0, 1))
    assert all(one.cancelled for one in made)
    queues.done()
    assert queues.idle
    assert queues.unfinished() == set()
