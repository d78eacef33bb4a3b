"""Planted faults: each does what it says to whom it says, in a running gateway, and to nobody in production."""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest
import yaml

from contracts.errors import WrongCall
from contracts.policy import ServingSettings, Task
from serving.asking import Asked, Door, asker
from serving.client import ApiFailure, RunningGateway, Streamed, stream, transcribe
from serving.gateway import main
from serving.planting import LOOK_S, Fault, parse, refuse_production
from serving.telemetry import read
from speech.kinds import Prompt
from tests.serving.conftest import Home, StartGateway, silence, wav

PHONE, DESKTOP = {"X-Soundcheck-Device": "phone"}, {"X-Soundcheck-Device": "desktop"}
SAID = "alpha bravo charlie"
AUDIO_S = 1.5
Plant = Callable[..., None]


@pytest.fixture(scope="module")
def struck_home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("struck"))


@pytest.fixture(scope="module")
def struck(struck_home: Home, start_tiny: StartGateway) -> Iterator[RunningGateway]:
    serve = {"tiny": struck_home.folder("tiny", SAID)}
    serve |= {task: struck_home.folder(task, SAID, task=task) for task in ("synthesis", "classification")}
    options = ("--plant", str(struck_home.root / "faults.yaml"), "--deadline-s", "10")
    with start_tiny(struck_home.root, serve=serve, options=options) as gateway:
        yield gateway


@pytest.fixture
def plant(struck_home: Home) -> Iterator[Plant]:
    path = struck_home.root / "faults.yaml"

    def write(**fault: Any) -> None:
        fresh = path.with_suffix(".new")
        fresh.write_text(yaml.safe_dump([{"labels": {"device": "phone"}, **fault}]))
        os.replace(fresh, path)
        time.sleep(10 * LOOK_S)

    yield write
    path.unlink(missing_ok=True)
    time.sleep(10 * LOOK_S)


def heard(gateway: RunningGateway, home: Home, headers: dict[str, str]) -> tuple[str, float]:
    answer = transcribe(gateway.base_url, wav(silence(AUDIO_S)), "tiny", home.key, headers)
    return answer.text, answer.latency_ms


def streamed(gateway: RunningGateway, home: Home, headers: dict[str, str]) -> Streamed:
    pcm = (silence(AUDIO_S) * 32767).astype("<i2").tobytes()
    return stream(gateway.base_url, pcm, "tiny", home.key, headers, rate_hz=16_000, cadence=4.0)


def churn_of(said: Streamed) -> int:
    shown = [partial["text"].split() for partial in said.partials] + [said.text.split()]
    return sum(word not in after for before, after in itertools.pairwise(shown) for word in before)


def test_latency_is_planted_on_one_slice(struck: RunningGateway, struck_home: Home, plant: Plant) -> None:
    plant(kind="latency", ms=600)
    assert heard(struck, struck_home, PHONE)[1] > 550
    assert heard(struck, struck_home, DESKTOP)[1] < 550
    plant(kind="latency", ms=600, bundle="0" * 12)
    assert heard(struck, struck_home, PHONE)[1] < 550


def test_partials_churn_and_the_final_does_not(struck: RunningGateway, struck_home: Home, plant: Plant) -> None:
    assert churn_of(streamed(struck, struck_home, PHONE)) == 0
    plant(kind="churn")
    struck_stream = streamed(struck, struck_home, PHONE)
    assert struck_stream.text == SAID
    assert churn_of(struck_stream) > 0
    assert all(partial["text"].split()[: partial["committed"]] == SAID.split()[: partial["committed"]]
               for partial in struck_stream.partials)  # fmt: skip
    assert churn_of(streamed(struck, struck_home, DESKTOP)) == 0


def test_first_partials_come_late(struck: RunningGateway, struck_home: Home, plant: Plant) -> None:
    plant(kind="first_partial", ms=700)
    late, prompt = streamed(struck, struck_home, PHONE), streamed(struck, struck_home, DESKTOP)
    assert late.first_partial_ms is not None
    assert prompt.first_partial_ms is not None
    assert late.first_partial_ms > prompt.first_partial_ms + 400
    assert late.text == SAID


def test_words_of_an_answer_are_wrong(struck: RunningGateway, struck_home: Home, plant: Plant) -> None:
    plant(kind="errors")
    assert heard(struck, struck_home, PHONE)[0] == "ahplaa bravo eilrahca"
    assert heard(struck, struck_home, DESKTOP)[0] == SAID


def test_a_killed_worker_answers_again(struck: RunningGateway, struck_home: Home, plant: Plant) -> None:
    before = worker_of(struck)
    plant(kind="crash", share=1.0)
    with pytest.raises(ApiFailure):
        streamed(struck, struck_home, PHONE)
    assert heard(struck, struck_home, DESKTOP)[0] == SAID
    assert worker_of(struck)["restarts"] == before["restarts"] + 1


def worker_of(gateway: RunningGateway) -> dict[str, Any]:
    (worker,) = gateway.status()["families"]["tiny"]["workers"].values()
    found: dict[str, Any] = worker
    return found


def rows_of(home: Home, device: str, since_s: float) -> pd.DataFrame:
    time.sleep(2.5)
    rows = read(home.root / "telemetry", "tiny", since_s)
    return rows[rows["device"] == device]


def test_nan_is_never_stored(struck: RunningGateway, struck_home: Home, plant: Plant) -> None:
    since_s = time.time()
    plant(kind="nan")
    assert heard(struck, struck_home, PHONE)[0] == SAID
    assert heard(struck, struck_home, DESKTOP)[0] == SAID
    assert rows_of(struck_home, "phone", since_s).empty
    assert len(rows_of(struck_home, "desktop", since_s)) == 1
    assert struck.status()["telemetry"]["dropped"] == 1
    # A figure that is not finite would stay in a counter for ever.
    assert " nan" not in httpx.get(f"{struck.base_url}/metrics", trust_env=False).text.lower()
    assert httpx.get(f"{struck.base_url}/v1/live", trust_env=False).status_code == 200


@pytest.mark.parametrize("task", ["synthesis", "classification"])
def test_latency_is_planted_on_families_of_other_tasks(
    struck: RunningGateway, struck_home: Home, plant: Plant, tmp_path: Path, task: Task
) -> None:
    (tmp_path / "a.wav").write_bytes(wav(silence(1.0)))
    prompt, door = Prompt(tmp_path / "a.wav", "one."), Door(struck.base_url, task, struck_home.key)

    async def ask(headers: dict[str, str]) -> Asked:
        async with httpx.AsyncClient(timeout=20) as client:
            return await asker(task).ask(door, prompt, headers, client=client)

    asyncio.run(ask(PHONE))
    plant(kind="latency", ms=1_500)
    slow, fast = (asyncio.run(ask(headers)) for headers in (PHONE, DESKTOP))
    assert slow.latency_ms > 1_500 > fast.latency_ms
    assert slow.answer == fast.answer


def test_a_worker_that_is_asked_twice_says_what_both_took() -> None:
    from serving.link import Answer
    from serving.planting import Planting

    class Once:
        digest = "a" * 64

        async def hear(self, _operation: str, _samples: object, **_: object) -> Answer:
            return Answer("one", [], None, 1.0, 20.0)

    planting = Planting(Path("none"))
    planting.faults = (Fault(kind="twice"),)
    worker: Any = planting.strike(Once(), {}, "r")  # type: ignore[arg-type]
    assert asyncio.run(worker.transcribe(silence(1.0), deadline_s=1.0)).infer_ms == 40.0


@pytest.mark.parametrize(
    ("text", "said"),
    [("[{kind: thunder}]", "a planted fault is not valid"), ("{", "planted faults do not parse"),
     ("[{kind: churn, share: 2}]", "a planted fault is not valid")],
)  # fmt: skip
def test_a_file_of_faults_that_does_not_read(text: str, said: str) -> None:
    with pytest.raises(WrongCall, match=said):
        parse(text)
    assert parse("") == ()


@pytest.mark.parametrize(
    ("host", "store"), [("0.0.0.0", "file://store"), ("127.0.0.1", "s3://bucket/x"), ("example.org", "file://store")]
)
def test_production_is_never_struck(host: str, store: str, tmp_path: Path) -> None:
    with pytest.raises(WrongCall, match="faults are not planted in production"):
        refuse_production(host, store)
    refuse_production("127.0.0.1", "file://store")
    words = ["--home", str(tmp_path), "--family", "x", "--host", host, "--store", store, "--plant", "faults.yaml"]
    assert main(words) == 2


def test_no_setting_plants_faults() -> None:
    assert "plant" not in ServingSettings.model_fields
