"""Families of other tasks over HTTP: speech, vectors and classes, on a real gateway with tiny models."""

from __future__ import annotations

import io
import time
from typing import Any, cast

import httpx
import numpy as np
import openai
import pandas as pd
import pytest
import soundfile

from contracts.telemetry import TelemetryRow
from serving.client import RunningGateway
from serving.encoding import MEDIA_TYPES, pcm16, sent_rate_hz
from serving.telemetry import read
from tests.serving.conftest import TASKS, Home, Samples, silence, wav
from tests.serving.tiny_tasks import VOICE_RATE_HZ, WORD_S, tone

TEXT = "one two three. four five."
SAID = np.concatenate([tone(0, 3), tone(1, 2)])


def say(gateway: RunningGateway, home: Home, text: str = TEXT, headers: Any = None, **more: Any) -> httpx.Response:
    body = {"model": "synthesis", "input": text, "voice": "tiny", "response_format": "pcm", **more}
    own = {"Authorization": f"Bearer {home.key}", **(headers or {})}
    return httpx.post(f"{gateway.base_url}/v1/audio/speech", json=body, headers=own, timeout=20)


def upload(gateway: RunningGateway, home: Home, path: str, model: str, content: bytes) -> httpx.Response:
    return httpx.post(
        f"{gateway.base_url}/v1/audio/{path}", headers={"Authorization": f"Bearer {home.key}"},
        files={"file": ("a.wav", content)}, data={"model": model}, timeout=20,
    )  # fmt: skip


def row_of(home: Home, family: str, request_id: str) -> pd.Series:
    ends = time.monotonic() + 15
    while True:
        rows = read(home.root / "telemetry", family)
        found = rows[rows["request_id"] == request_id]
        if len(found):
            return found.iloc[0]
        assert time.monotonic() < ends
        time.sleep(0.1)


def decoded(content: bytes) -> tuple[Samples, int]:
    """Everything that libsndfile reads, as who keeps an answer as a file reads it."""
    return cast(tuple[Samples, int], soundfile.read(io.BytesIO(content), dtype="float32"))


def test_speech_is_sent_as_samples_of_the_voice(tasks: RunningGateway, home: Home) -> None:
    answer = say(tasks, home)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "audio/pcm")
    assert answer.headers["x-soundcheck-sample-rate"] == str(VOICE_RATE_HZ)
    assert answer.content == pcm16(SAID)
    assert len(answer.headers["x-soundcheck-bundle"]) == 64
    row = row_of(home, "synthesis", answer.headers["x-request-id"])
    assert (row["task"], row["mode"], row["status"], row["starved"], row["cached"]) == ("synthesis", "http", 200, 0, 0)
    assert (row["characters"], row["spoken_s"], row["audio_s"]) == (len(TEXT), pytest.approx(0.5), pytest.approx(0.5))
    assert 0 < row["first_audio_ms"] <= row["latency_ms"]
    assert row["cost_usd"] > 0


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("shape", sorted(set(MEDIA_TYPES) - {"pcm"}))
def test_a_real_decoder_plays_every_format_to_its_end(
    tasks: RunningGateway, home: Home, shape: Any, stream: bool
) -> None:
    answer = say(tasks, home, "one two three four five. " * 6, response_format=shape, stream=stream)
    assert (answer.status_code, answer.headers["content-type"]) == (200, MEDIA_TYPES[shape])
    played, rate_hz = decoded(answer.content)
    assert rate_hz == sent_rate_hz(shape, VOICE_RATE_HZ) == int(answer.headers["x-soundcheck-sample-rate"])
    # An MP3 decoder adds the encoder's delay and padding; nothing is missing from any format.
    assert 6 * 5 * WORD_S <= played.size / rate_hz < 6 * 5 * WORD_S + 0.15
    spectrum = np.abs(np.fft.rfft(played[-rate_hz // 4 :]))
    assert abs(np.argmax(spectrum) * 4 - 6 * 200) < 20  # the last sentence's pitch


def test_openai_s_client_speaks(tasks: RunningGateway, home: Home) -> None:
    client = openai.OpenAI(base_url=f"{tasks.base_url}/v1", api_key=home.key, max_retries=0)
    with client.audio.speech.with_streaming_response.create(
        model="synthesis", voice="default", input=TEXT, response_format="pcm", instructions="be kind"
    ) as answer:
        assert b"".join(answer.iter_bytes()) == pcm16(SAID)
    whole = client.audio.speech.create(model="synthesis", voice="default", input=TEXT)
    assert decoded(whole.read())[0].size > SAID.size
    with pytest.raises(openai.BadRequestError, match="'tiny' or 'default'"):
        client.audio.speech.create(model="synthesis", voice="alloy", input=TEXT)


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        ({"speed": 1.5}, "bad_request", "the request is not valid in speed"),
        ({"response_format": "aac"}, "bad_request", "the request is not valid in response_format"),
        ({"input": ""}, "bad_request", "the request is not valid in input"),
        ({"input": "x" * 2_001}, "bad_request", "this voice says at most 2000 characters at once"),
        ({"input": "..."}, "unusable_input", "says nothing"),
        ({"secret": 1}, "bad_request", "the request is not valid in an unknown field"),
        ({"model": "tiny"}, "wrong_task", "'tiny' does transcription, not synthesis: ask it at POST /v1/audio/trans"),
        ({"model": "nobody"}, "unknown_model", "there is no such model"),
        ({"input": "please fail now"}, "internal", "the model failed on this request"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)  # fmt: skip
def test_what_cannot_be_said_is_refused(
    tasks: RunningGateway, home: Home, more: dict[str, Any], code: str, message: str
) -> None:
    answer = say(tasks, home, **more)
    error = answer.json()["error"]
    assert error["code"] == code
    assert message in error["message"]
    assert answer.headers["x-request-id"]


def test_speech_begins_before_it_is_all_made(home: Home, start_tiny: Any) -> None:
    folder = home.folder("slow-voice", "", task="synthesis", work_ms=150)
    with start_tiny(home.root, serve={"synthesis": folder}) as gateway:
        body = {"model": "synthesis", "input": "one. two. three. four.", "response_format": "pcm"}
        headers = {"Authorization": f"Bearer {home.key}"}
        began = time.monotonic()
        with httpx.stream("POST", f"{gateway.base_url}/v1/audio/speech", json=body, headers=headers) as answer:
            arrived = [time.monotonic() - began for _ in answer.iter_raw()]
        assert arrived[0] < 0.45
        assert arrived[-1] >= 0.6
        row = row_of(home, "synthesis", answer.headers["x-request-id"])
        # A word lasts 0.1 s and takes 0.15 s: who plays it at once hears pauses.
        assert (row["starved"], row["status"]) == (1, 200)
        assert row["first_audio_ms"] < 450 < row["latency_ms"]


def test_a_worker_that_dies_before_it_spoke_is_asked_again_and_later_breaks_off(home: Home, start_tiny: Any) -> None:
    first, later = (home.folder(f"dying-{name}", "", task="synthesis") for name in ("first", "later"))
    with start_tiny(home.root, serve={"first": first, "later": later}) as gateway:
        answer = say(gateway, home, "crash two.", model="first")
        assert answer.content == pcm16(tone(0, 2))
        row = row_of(home, "first", answer.headers["x-request-id"])
        assert (row["worker_died"], row["retries"]) == (1, 1)
        with pytest.raises(httpx.RemoteProtocolError, match="incomplete"):
            say(gateway, home, "one two. crash.", model="later")
        ends = time.monotonic() + 10
        while not len(rows := read(home.root / "telemetry", "later")):
            assert time.monotonic() < ends
        assert (rows.iloc[0]["status"], rows.iloc[0]["worker_died"]) == (500, 1)


def test_a_vector_and_its_space(tasks: RunningGateway, home: Home) -> None:
    samples = silence(1.0)
    samples[:1600] = 0.5
    answer = upload(tasks, home, "embeddings", "embedding", wav(samples))
    said = answer.json()
    assert (said["object"], said["dimension"], said["space"], said["duration"]) == ("embedding", 10, "levels-1", 1.0)
    assert np.linalg.norm(said["embedding"]) == pytest.approx(1, abs=1e-6)
    assert np.argmax(said["embedding"]) == 0
    assert said["bundle"] == answer.headers["x-soundcheck-bundle"]
    row = row_of(home, "embedding", answer.headers["x-request-id"])
    assert (row["task"], row["audio_s"]) == ("embedding", 1.0)
    assert row["level_dbfs"] < 0
    assert pd.isna(row["first_audio_ms"])
    short = upload(tasks, home, "embeddings", "embedding", wav(silence(0.0001)))
    assert short.json()["error"]["code"] == "unusable_input"


@pytest.mark.parametrize(("level", "label"), [(0.5, "loud"), (0.01, "quiet")])
def test_a_class_and_the_score_of_each(tasks: RunningGateway, home: Home, level: float, label: str) -> None:
    answer = upload(tasks, home, "classifications", "classification", wav(silence(1.0) + level))
    said = answer.json()
    assert said["label"] == label
    assert set(said["scores"]) == {"loud", "quiet"}
    assert said["scores"][label] == 0.75
    assert row_of(home, "classification", answer.headers["x-request-id"])["confidence"] == 0.75


@pytest.mark.parametrize(
    ("path", "model", "route"),
    [
        ("transcriptions", "embedding", "POST /v1/audio/embeddings"),
        ("embeddings", "classification", "POST /v1/audio/classifications"),
        ("classifications", "dialogue", "the WebSocket /v1/assistant"),
        ("embeddings", "synthesis", "POST /v1/audio/speech or the WebSocket /v1/audio/speech/stream"),
    ],
)  # fmt: skip
def test_a_family_on_the_route_of_another_task_is_told_its_own(
    tasks: RunningGateway, home: Home, path: str, model: str, route: str
) -> None:
    answer = upload(tasks, home, path, model, wav(silence(1.0)))
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == ("wrong_task", "model")
    assert error["message"].endswith(f": ask it at {route}")


def test_the_list_of_models_says_what_each_does(tasks: RunningGateway, home: Home) -> None:
    said = httpx.get(f"{tasks.base_url}/v1/models", headers={"Authorization": f"Bearer {home.key}"}).json()
    found = {one["id"]: one["task"] for one in said["data"]}
    assert found == {
        **{task: task for task in TASKS},
        "tiny": "transcription",
    }


def test_columns_of_other_tasks_are_empty_in_rows_of_transcripts(tasks: RunningGateway, home: Home) -> None:
    answer = upload(tasks, home, "transcriptions", "tiny", wav(silence(1.0)))
    row = row_of(home, "tiny", answer.headers["x-request-id"])
    assert row["task"] == TelemetryRow.model_fields["task"].default
    assert row[["first_audio_ms", "starved", "spoken_s", "characters", "grounded"]].isna().all()
