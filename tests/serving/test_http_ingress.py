"""Ingress of API 1.1 on a real gateway: rate limits, terms, languages, traces, and what is measured of an upload."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest

from contracts.policy import RateLimit, ServingSettings
from contracts.serving_api import STATUS, ApiError, Transcription
from serving.client import RunningGateway
from serving.gateway import options_of, settings_from
from tests.registry.registry_parts import registry_entry
from tests.serving.conftest import Home, StartGateway, silence, wav, with_command
from tests.serving.talking import row_of
from tests.serving.test_preprocess import noisy, speech
from tests.serving.tiny_engine import SLOW

RATE = RateLimit(per_s=4.0, burst=12)
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture(scope="module")
def limited(home: Home, start_tiny: StartGateway) -> Iterator[RunningGateway]:
    """A gateway with a rate limit; `english` was released for English and German alone."""
    folder = home.folder("english", "alpha bravo charlie")
    entry = registry_entry().model_copy(update={"languages": ("en", "de")})
    (folder / "registry_entry.json").write_bytes(entry.canonical())
    options = ("--deadline-s", "5", "--queue-limit", "2", "--rate", f"{RATE.per_s}:{RATE.burst}")
    with start_tiny(home.root, serve={"english": folder}, options=options) as gateway:
        yield gateway


def ask(
    gateway: RunningGateway,
    key: str,
    content: bytes | None = None,
    headers: dict[str, str] | None = None,
    **fields: str,
) -> httpx.Response:
    """Ask, and where the key asks too often, as often as it takes."""
    while True:
        answer = httpx.post(
            f"{gateway.base_url}/v1/audio/transcriptions",
            files={"file": ("a.wav", wav(silence(1.0)) if content is None else content)},
            data={"model": "english", **fields},
            headers={"Authorization": f"Bearer {key}", **(headers or {})},
            timeout=20,
        )
        if answer.status_code != 429 or answer.json()["error"]["code"] != "rate_limited":
            return answer
        time.sleep(1 / RATE.per_s)


def code_of(answer: httpx.Response) -> str:
    error = ApiError.model_validate(answer.json()["error"])
    assert STATUS[error.code] == answer.status_code
    return error.code


def test_a_key_that_asks_too_often_is_told_when_to_come_back(limited: RunningGateway, home: Home) -> None:
    url = f"{limited.base_url}/v1/models"
    answers: list[httpx.Response] = []
    with httpx.Client(headers={"Authorization": f"Bearer {home.key}"}) as http:
        while not answers or answers[-1].status_code == 200:
            answers.append(http.get(url))
        assert len(answers) > RATE.burst // 2
        refused = answers[-1]
        assert code_of(refused) == "rate_limited"
        assert refused.headers["retry-after"] == "1"
        assert refused.json()["error"]["retry_after_s"] == 1
        # Another key has a bucket of its own; who has none is refused as before.
        assert httpx.get(url, headers={"Authorization": f"Bearer {home.tenant_key}"}).status_code == 200
        assert httpx.get(url).status_code == 401
        time.sleep(1.1)
        assert http.get(url).status_code == 200
    metrics = httpx.get(f"{limited.base_url}/metrics").text
    assert 'soundcheck_refused_total{code="rate_limited"}' in metrics


@pytest.mark.parametrize("language", ["en", "en-GB", "DE", ""])
def test_a_language_of_the_bundle_is_taken(limited: RunningGateway, home: Home, language: str) -> None:
    answer = ask(limited, home.key, response_format="verbose_json", language=language)
    assert answer.json()["language"] == (language or "en")


def test_another_language_is_refused(limited: RunningGateway, home: Home) -> None:
    answer = ask(limited, home.key, language="fr")
    assert code_of(answer) == "unsupported_language"
    assert answer.json()["error"]["param"] == "language"
    assert "it knows: en, de" in answer.json()["error"]["message"]
    assert len(answer.headers["x-soundcheck-bundle"]) == 64


def test_a_client_may_want_its_answer_sooner(limited: RunningGateway, home: Home) -> None:
    slow = wav(with_command(SLOW))
    began = time.perf_counter()
    answer = ask(limited, home.key, slow, {"X-Soundcheck-Deadline-Ms": "200"})
    assert code_of(answer) == "deadline"
    assert time.perf_counter() - began < 5
    assert ask(limited, home.key, slow, {"X-Soundcheck-Deadline-Ms": "60000"}).status_code == 200
    assert code_of(ask(limited, home.key, headers={"X-Soundcheck-Priority": "vip"})) == "bad_request"


def test_a_batch_request_says_so_in_telemetry(limited: RunningGateway, home: Home) -> None:
    answer = ask(limited, home.key, headers={"X-Soundcheck-Priority": "batch"})
    assert row_of(home.root, "english", answer.headers["x-request-id"])["priority"] == "batch"


def test_answers_and_refusals_carry_the_trace_on(limited: RunningGateway, home: Home) -> None:
    sent = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
    for answer in (
        ask(limited, home.key, headers=sent),
        ask(limited, "nobody", headers=sent),
        httpx.get(f"{limited.base_url}/healthz", headers=sent),
    ):
        version, trace, span, flags = answer.headers["traceparent"].split("-")
        assert (version, trace, flags) == ("00", TRACE, "01")
        assert span != "00f067aa0ba902b7"
        assert answer.headers["x-request-id"] == TRACE


def test_an_upload_is_measured_and_its_segments_are_told(limited: RunningGateway, home: Home) -> None:
    samples = noisy(speech(), -65)
    answer = ask(limited, home.key, wav(samples), response_format="verbose_json")
    said = Transcription.model_validate(answer.json())
    assert len(said.segments) == 2
    assert [segment.id for segment in said.segments] == [0, 1]
    assert said.segments[0].start == pytest.approx(1.0, abs=0.15)
    assert " ".join(segment.text for segment in said.segments) == said.text
    row = row_of(home.root, "english", answer.headers["x-request-id"])
    assert row["segments"] == 2
    assert row["speech_s"] == pytest.approx(sum(segment.end - segment.start for segment in said.segments), abs=0.01)
    assert row["sent_rate_hz"] == 16_000
    assert row["snr_db"] > 20
    assert -40 < row["level_dbfs"] < -10
    assert row["clipped"] == 0
    assert row["preprocess_ms"] > 0


@pytest.mark.parametrize(
    ("granularity", "words", "segments"), [("word", True, False), ("segment", False, True), ("", True, True)]
)
def test_granularities(limited: RunningGateway, home: Home, granularity: str, words: bool, segments: bool) -> None:
    fields: dict[str, Any] = {"timestamp_granularities[]": granularity} if granularity else {}
    answer = ask(limited, home.key, wav(noisy(speech(), -65)), response_format="verbose_json", **fields).json()
    assert (bool(answer["words"]), bool(answer["segments"])) == (words, segments)


def test_an_upload_at_another_accepted_rate_and_a_packed_one(limited: RunningGateway, home: Home) -> None:
    for content in (wav(silence(1.0, 8_000), 8_000), wav(silence(1.0, 8_000), 8_000, container="FLAC")):
        answer = ask(limited, home.key, content)
        assert answer.json()["text"] == "alpha bravo"
        assert row_of(home.root, "english", answer.headers["x-request-id"])["sent_rate_hz"] == 8_000


def test_a_full_queue_says_when_to_come_back(limited: RunningGateway, home: Home) -> None:
    import asyncio

    slow = wav(np.concatenate([with_command(SLOW)]))

    async def flood() -> list[httpx.Response]:
        async with httpx.AsyncClient(timeout=20) as http:
            url, bearer = f"{limited.base_url}/v1/audio/transcriptions", {"Authorization": f"Bearer {home.tenant_key}"}
            files = {"file": ("a.wav", slow)}
            return await asyncio.gather(
                *(http.post(url, files=files, data={"model": "english"}, headers=bearer) for _ in range(6))
            )

    answers = asyncio.run(flood())
    refused = [answer for answer in answers if answer.status_code == 429 and code_of(answer) == "overloaded"]
    assert refused
    for answer in refused:
        # Two wait, one is heard, each for 0.7 seconds.
        assert 1 <= int(answer.headers["retry-after"]) <= 4
        assert answer.json()["error"]["retry_after_s"] == int(answer.headers["retry-after"])


def test_the_gateways_options_are_those_of_params_yaml() -> None:
    settings = ServingSettings(
        poll_s=0.1, queue_limit=3, batch_queue_limit=5, stream_limit=7, max_batch=2, batch_wait_ms=1.5,
        no_partials_at=0.5, rate=RateLimit(per_s=2.5, burst=9), deadline_s=11, drain_s=12, worker_start_s=13,
    )  # fmt: skip
    read = settings_from(["--home", "h", *options_of(settings)])
    for name, value in settings:
        if value is not None:
            assert getattr(read, name) == value, name
    bare = ServingSettings(poll_s=0.1, queue_limit=3, deadline_s=11, drain_s=12, worker_start_s=13)
    assert settings_from(["--home", "h", *options_of(bare)]).rate is None


@pytest.mark.parametrize("rate", ["", "3", "a:b", "0:5", "5:0", "1:2:3"])
def test_a_rate_that_is_none_is_a_wrong_call(rate: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        settings_from(["--home", "h", "--rate", rate])
    assert "is not PER_S:BURST" in capsys.readouterr().err
