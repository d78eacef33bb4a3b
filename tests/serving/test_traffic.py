from __future__ import annotations

import threading
import time
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from contracts.errors import WrongCall
from contracts.policy import Task
from serving.asking import Asked, asker
from serving.client import RunningGateway
from serving.shadow import word_edits
from serving.telemetry import read
from serving.traffic import Habits, Utterance, habits_of, play, quantiles, sessions, utterances_of
from serving.traffic.sessions import lateness_s
from tests.serving.conftest import TASKS, Home, silence, wav
from tests.serving.test_switching import eventually


def count(reference: str, hypothesis: str) -> tuple[int, int]:
    words = reference.split()
    return word_edits(words, hypothesis.split()), len(words)


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame]:
    root = tmp_path_factory.mktemp("pack")
    (root / "one.wav").write_bytes(wav(silence(1.0)))
    (root / "two.wav").write_bytes(wav(silence(1.5)))
    rows = [
        {"utterance_id": "one", "path": "one.wav", "text": "alpha bravo", "accent": "us", "noise": "clean"},
        {"utterance_id": "two", "path": "two.wav", "text": "alpha bravo delta", "accent": "scottish", "noise": "5db"},
    ]
    return root, pd.DataFrame(rows)


def test_traffic_is_played_counted_and_joined(
    pinned: RunningGateway, home: Home, pack: tuple[Path, pd.DataFrame]
) -> None:
    root, utterances = pack
    since = time.time()
    progress: list[tuple[int, float]] = []
    summary = play(
        pinned.base_url, family="tiny", utterances=utterances, root=root, api_key=home.key, requests=30, concurrency=3,
        seed=5, count_errors=count, cadence=0.0, on_progress=lambda made, done: progress.append((made, done)),
    )  # fmt: skip
    assert (summary.requests, summary.answered, summary.failures) == (30, 30, {})
    assert 0 < summary.streams < 30
    assert summary.mixed_sessions == 0
    assert sum(summary.bundles.values()) == 30
    assert len(summary.bundles) == 1
    # Each playing of "two" has one error in three words, "one" none in two.
    assert summary.words == 2 * 30 + summary.errors
    assert set(summary.http_latency_ms) == {"p50", "p95", "p99"}
    assert summary.stream_final_ms["p50"] > 0
    assert progress[-1] == (30, 1.0)

    ends = time.monotonic() + 20
    while True:
        rows = read(home.root / "telemetry", "tiny", since)
        rows = rows[rows["words"].notna()]
        if len(rows) == 30:
            break
        assert time.monotonic() < ends
        time.sleep(0.1)
    assert (rows["errors"].sum(), rows["words"].sum()) == (summary.errors, summary.words)
    assert set(rows["accent"]) == {"us", "scottish"}
    assert set(rows["probe"]) == {"yes"}
    assert len(set(rows["tenant"]) & {"internal", "acme", "globex"}) >= 2
    assert set(rows["mode"]) == {"http", "stream"}
    streams = rows[rows["mode"] == "stream"]
    assert (streams["partial_words"] > 0).all()
    assert (streams["unstable_words"] == 0).all()
    assert rows["session_id"].nunique() == summary.sessions
    assert (rows["cost_usd"] > 0).all()


def test_failures_are_counted_under_their_codes(
    pinned: RunningGateway, home: Home, pack: tuple[Path, pd.DataFrame]
) -> None:
    root, utterances = pack
    some = partial(play, family="tiny", utterances=utterances, root=root, count_errors=count, requests=6, concurrency=2)
    assert some(pinned.base_url, api_key="nobody").failures == {"unauthorized": 6}
    assert some("http://127.0.0.1:9", api_key=home.key).failures == {"unreachable": 6}


def test_a_stop_event_ends_traffic(pinned: RunningGateway, home: Home, pack: tuple[Path, pd.DataFrame]) -> None:
    root, utterances = pack
    stop = threading.Event()
    threading.Timer(0.5, stop.set).start()
    began = time.monotonic()
    summary = play(
        pinned.base_url, family="tiny", utterances=utterances, root=root, api_key=home.key, count_errors=count,
        stop=stop, cadence=2.0, pause_s=0.05,
    )  # fmt: skip
    assert time.monotonic() - began < 5
    assert summary.answered > 0


def test_law_the_seed_decides_the_sessions(pack: tuple[Path, pd.DataFrame]) -> None:
    root, utterances = pack
    recordings = utterances_of(utterances, root)
    first, again, other = (
        list(islice(sessions(recordings, seed=seed, habits=Habits(tenants=("a", "b"))), 20)) for seed in (1, 1, 2)
    )
    assert first == again != other


def test_calls_that_cannot_be_meant(pack: tuple[Path, pd.DataFrame]) -> None:
    root, utterances = pack
    with pytest.raises(WrongCall, match="traffic has no end"):
        play("", family="tiny", utterances=utterances, root=root, api_key="", count_errors=count)
    with pytest.raises(WrongCall, match="there is nothing to play"):
        play("", family="tiny", utterances=utterances[:0], root=root, api_key="", count_errors=count, requests=1)


def test_quantiles_are_nearest_ranks() -> None:
    assert quantiles([]) == {}
    assert quantiles([3.0, 1.0, 2.0, 4.0]) == {"p50": 2.0, "p95": 4.0, "p99": 4.0}


def test_users_retry_leave_and_tell(pinned: RunningGateway, home: Home, pack: tuple[Path, pd.DataFrame]) -> None:
    root, utterances = pack
    habits = Habits(stream=0.6, leave=0.4, events={"correction": 1.0}, delay_ms=80.0, retries=2)
    summary = play(
        pinned.base_url, family="tiny", utterances=utterances, root=root, api_key=home.key, count_errors=count,
        requests=24, rate_per_s=20.0, seed=9, cadence=8.0, habits=habits,
    )  # fmt: skip
    assert summary.failures == {}
    assert summary.left > 0
    assert summary.answered == summary.requests - summary.left
    assert summary.events == {"correction": summary.answered}


@pytest.mark.parametrize(
    ("plant", "failures"), [("wrong_rate", {"unsupported_rate": 8}), ("silence", {})], ids=["12 kHz", "silence"]
)
def test_faults_of_clients_are_planted(
    pinned: RunningGateway, home: Home, pack: tuple[Path, pd.DataFrame], plant: str, failures: dict[str, int]
) -> None:
    root, utterances = pack
    habits = habits_of(stream=0.5, plants={plant: 1.0}, devices=("phone",))
    summary = play(
        pinned.base_url, family="tiny", utterances=utterances, root=root, api_key=home.key, count_errors=count,
        requests=8, concurrency=2, cadence=0.0, habits=habits,
    )  # fmt: skip
    assert summary.failures == failures
    assert summary.answered == 8 - sum(failures.values())


def test_law_the_network_of_a_turn_is_drawn_once(pack: tuple[Path, pd.DataFrame]) -> None:
    root, utterances = pack
    habits = Habits(delay_ms=50.0, devices=("phone", "desktop"))
    for session in islice(sessions(utterances_of(utterances, root), seed=4, habits=habits), 10):
        for turn in session.turns:
            first, again = (list(islice(lateness_s(turn, session, habits), 5)) for _ in range(2))
            assert first == again


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"stream": 2.0}, "a share is not between 0 and 1"),
        ({"plants": {"thunder": 0.1}}, "this fault cannot be planted in clients"),
        ({"events": {"gossip": 0.1}}, "clients tell no such event"),
    ],
)
def test_habits_that_nobody_has(given: dict[str, Any], said: str) -> None:
    with pytest.raises(WrongCall, match=said):
        habits_of(**given)


@pytest.mark.parametrize("task", TASKS)
def test_families_of_every_task_are_played(
    tasks: RunningGateway, home: Home, pack: tuple[Path, pd.DataFrame], task: Task
) -> None:
    root, utterances = pack
    asked: list[Asked] = []

    def counted(utterance: Utterance, answer: Asked) -> tuple[int, int]:
        asked.append(answer)
        return len(utterance.row["noise"]) % 2, 2

    since = time.time()
    summary = play(
        tasks.base_url, family=task, task=task, utterances=utterances, root=root, api_key=home.key, requests=12,
        concurrency=3, seed=3, count_probe=counted, cadence=0.0,
    )  # fmt: skip
    assert (summary.answered, summary.failures, summary.words) == (12, {}, 24)
    assert len(asked) == 12
    assert (summary.streams > 0) == asker(task).streams
    spoken = task in ("synthesis", "dialogue")
    assert bool(summary.first_audio_ms) == spoken

    def told() -> list[pd.DataFrame]:
        rows = read(home.root / "telemetry", task, since)
        return [rows] if rows["words"].notna().sum() == 12 else []

    (rows,) = eventually(told)
    assert rows["errors"].sum() == summary.errors
    assert rows["underruns"].sum() == summary.starved == summary.events.get("underrun", 0)
    assert rows["first_audio_ms"].notna().all() == spoken


def test_habits_of_transcribing_clients_are_refused_elsewhere(pack: tuple[Path, pd.DataFrame]) -> None:
    root, utterances = pack
    with pytest.raises(WrongCall, match="these habits are of clients that send speech to be transcribed"):
        play(
            "", family="tts", task="synthesis", utterances=utterances, root=root, api_key="", requests=1,
            habits=habits_of(plants={"silence": 0.5}),
        )  # fmt: skip
