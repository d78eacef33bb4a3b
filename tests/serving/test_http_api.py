"""The production API over HTTP, on a real gateway with a real worker process."""

from __future__ import annotations

import asyncio
import http.client
import json
import time
from typing import Any

import httpx
import numpy as np
import pytest

from contracts.serving_api import STATUS, ApiError, Transcription
from serving.client import ApiFailure, RunningGateway, transcribe
from tests.serving.conftest import Home, silence, wav, with_command
from tests.serving.tiny_engine import FAIL, SLOW

TWO_SECONDS = wav(silence(2.0))
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def post(gateway: RunningGateway, key: str, *, files: Any = None, data: Any = None, **more: Any) -> httpx.Response:
    files = {"file": ("a.wav", TWO_SECONDS)} if files is None else files
    data = {"model": "tiny"} if data is None else data
    headers = {"Authorization": f"Bearer {key}", **more.pop("headers", {})}
    return httpx.post(
        f"{gateway.base_url}/v1/audio/transcriptions", files=files, data=data, headers=headers, timeout=20, **more
    )


def openai_client(gateway: RunningGateway, key: str) -> Any:
    from openai import OpenAI

    return OpenAI(base_url=f"{gateway.base_url}/v1", api_key=key, http_client=httpx.Client(trust_env=False))


def code_of(response: httpx.Response) -> str:
    error = ApiError.model_validate(response.json()["error"])
    assert STATUS[error.code] == response.status_code
    return error.code


def test_the_openai_client_transcribes_a_wav(pinned: RunningGateway, home: Home) -> None:
    client = openai_client(pinned, home.key)
    answer = client.audio.transcriptions.create(model="tiny", file=("speech.wav", TWO_SECONDS))
    assert answer.text == "alpha bravo charlie alpha"
    verbose = client.audio.transcriptions.create(
        model="tiny", file=("speech.wav", TWO_SECONDS), response_format="verbose_json", timestamp_granularities=["word"]
    )
    assert verbose.duration == 2.0
    assert verbose.words is not None
    assert [word.word for word in verbose.words] == ["alpha", "bravo", "charlie", "alpha"]
    assert [model.id for model in client.models.list()] == ["private", "tiny"]
    client.close()


def test_the_openai_client_reads_a_refusal(pinned: RunningGateway, home: Home) -> None:
    from openai import BadRequestError

    with openai_client(pinned, home.key) as client, pytest.raises(BadRequestError) as refused:
        client.audio.transcriptions.create(model="tiny", file=("speech.wav", wav(silence(1, 12_000), 12_000)))
    assert refused.value.code == "unsupported_rate"


def test_formats(pinned: RunningGateway, home: Home) -> None:
    text = "alpha bravo charlie alpha"
    assert post(pinned, home.key).json() == {"text": text}
    assert post(pinned, home.key, data={"model": "tiny", "response_format": "text"}).text == text + "\n"
    verbose = post(pinned, home.key, data={"model": "tiny", "response_format": "verbose_json", "language": "fr"})
    answer = Transcription.model_validate(verbose.json())
    assert (answer.text, answer.language, answer.duration, len(answer.words)) == (text, "fr", 2.0, 4)


def test_answers_name_request_bundle_and_route(pinned: RunningGateway, home: Home) -> None:
    response = post(pinned, home.key, headers={"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"})
    assert response.headers["x-request-id"] == TRACE
    assert response.headers["x-soundcheck-route"] == "0"
    status = pinned.status()["families"]["tiny"]
    assert response.headers["x-soundcheck-bundle"] == status["stable"]
    worker = status["workers"][status["stable"]]
    assert worker["state"] == "ready"
    assert worker["peak_memory_mb"] > 1
    assert worker["cold_start_ms"] > 0


REFUSALS: dict[str, tuple[dict[str, Any], str]] = {
    "unknown family": ({"data": {"model": "nobody"}}, "unknown_model"),
    "no family": ({"data": {}}, "unknown_model"),
    "no file": ({"files": {"other": ("a.wav", TWO_SECONDS)}}, "bad_request"),
    "file as text": ({"files": {}, "data": {"model": "tiny", "file": "words"}}, "bad_request"),
    "format": ({"data": {"model": "tiny", "response_format": "srt"}}, "bad_request"),
    "not audio": ({"files": {"file": ("a.wav", b"hello")}}, "not_audio"),
    "empty": ({"files": {"file": ("a.wav", b"")}}, "empty_audio"),
    "rate": ({"files": {"file": ("a.wav", wav(silence(1, 12_000), 12_000))}}, "unsupported_rate"),
    "channels": ({"files": {"file": ("a.wav", wav(np.zeros((9, 2))))}}, "unsupported_channels"),
    "too long": ({"files": {"file": ("a.flac", wav(silence(601), container="FLAC"))}}, "too_long"),
    "too many fields": ({"data": {f"field{n}": "x" for n in range(80)}}, "bad_request"),
    "engine fails": ({"files": {"file": ("a.wav", wav(with_command(FAIL)))}}, "internal"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals(pinned: RunningGateway, home: Home, name: str) -> None:
    arguments, code = REFUSALS[name]
    response = post(pinned, home.key, **arguments)
    assert code_of(response) == code
    assert len(response.headers["x-request-id"]) == 32


def test_keys_bodies_and_sizes(pinned: RunningGateway, home: Home) -> None:
    assert code_of(post(pinned, "wrong")) == "unauthorized"
    url = f"{pinned.base_url}/v1/audio/transcriptions"
    bearer = {"Authorization": f"Bearer {home.key}"}
    assert code_of(httpx.post(url, content=b"{}", headers=bearer)) == "bad_request"
    broken = {**bearer, "Content-Type": "multipart/form-data; boundary=x"}
    assert code_of(httpx.post(url, content=b"--y\r\n", headers=broken)) == "bad_request"
    # The size is refused by its header alone, before the body is sent.
    connection = http.client.HTTPConnection(pinned.base_url.removeprefix("http://"))
    connection.request("POST", "/v1/audio/transcriptions", headers={**broken, "Content-Length": str(65 << 20)})
    large = connection.getresponse()
    assert (large.status, json.loads(large.read())["error"]["code"]) == (413, "too_large")
    connection.close()


def test_a_slow_request_meets_its_deadline_and_a_full_queue_refuses_at_once(pinned: RunningGateway, home: Home) -> None:
    slow = wav(with_command(SLOW))

    async def flood() -> list[httpx.Response]:
        async with httpx.AsyncClient(timeout=20) as client:
            asking = [
                client.post(
                    f"{pinned.base_url}/v1/audio/transcriptions",
                    files={"file": ("a.wav", slow)},
                    data={"model": "tiny"},
                    headers={"Authorization": f"Bearer {home.key}"},
                )
                for _ in range(8)
            ]
            return await asyncio.gather(*asking)

    answers = asyncio.run(flood())
    codes = sorted("ok" if answer.status_code == 200 else code_of(answer) for answer in answers)
    # One is heard and four wait; of those five, those that end within two seconds are answered.
    assert codes.count("overloaded") == 3
    assert codes.count("ok") in (1, 2)
    assert codes.count("deadline") == 5 - codes.count("ok")
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert refused.headers["retry-after"] == "1"
    assert refused.elapsed.total_seconds() < 2.0


def test_a_client_that_leaves_frees_the_worker(pinned: RunningGateway, home: Home) -> None:
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(
            f"{pinned.base_url}/v1/audio/transcriptions",
            files={"file": ("a.wav", wav(with_command(SLOW)))},
            data={"model": "tiny"},
            headers={"Authorization": f"Bearer {home.key}"},
            timeout=httpx.Timeout(5, read=0.2),
        )
    ends = time.monotonic() + 3
    while any(worker["in_use"] for worker in pinned.status()["families"]["tiny"]["workers"].values()):
        assert time.monotonic() < ends
        time.sleep(0.05)


def test_events_are_checked(pinned: RunningGateway, home: Home) -> None:
    url, bearer = f"{pinned.base_url}/v1/events", {"Authorization": f"Bearer {home.key}"}
    good = {"request_id": "0" * 32, "kind": "correction"}
    for kind in ("correction", "underrun", "interruption", "abandonment", "cancellation", "support_ticket"):
        assert httpx.post(url, json={**good, "kind": kind}, headers=bearer).status_code == 202
    assert httpx.post(url, json=good).status_code == 401
    wrong: list[Any] = [
        {},
        {**good, "kind": "gossip"},
        {**good, "text": "what I said"},
        {**good, "labels": {"accent": "A b"}},
        [],
    ]
    for bad in wrong:
        response = httpx.post(url, json=bad, headers=bearer)
        assert code_of(response) == "bad_request"
        assert "what I said" not in response.text
    assert code_of(httpx.post(url, content=b"x" * 20_000, headers=bearer)) == "too_large"


def test_redaction_reaches_text_and_words(pinned: RunningGateway, home: Home) -> None:
    answer = post(
        pinned,
        home.key,
        files={"file": ("a.wav", wav(silence(4.0)))},
        data={"model": "private", "response_format": "verbose_json"},
    ).json()
    assert answer["text"] == "call [number]"
    assert [word["word"] for word in answer["words"]] == ["call", "[number]"]


def test_health_metrics_and_the_client(pinned: RunningGateway, home: Home) -> None:
    assert httpx.get(f"{pinned.base_url}/healthz").json() == {"status": "ok"}
    assert httpx.get(f"{pinned.base_url}/readyz").json()["ready"] is True
    heard = transcribe(pinned.base_url, TWO_SECONDS, "tiny", home.key, {"X-Soundcheck-Session": "s"})
    assert heard.text == "alpha bravo charlie alpha"
    metrics = httpx.get(f"{pinned.base_url}/metrics").text
    assert f'soundcheck_worker_ready{{bundle="{heard.bundle[:12]}",family="tiny"}} 1.0' in metrics
    with pytest.raises(ApiFailure, match="unauthorized: the API key is missing or not valid"):
        transcribe(pinned.base_url, TWO_SECONDS, "tiny", "nobody")
