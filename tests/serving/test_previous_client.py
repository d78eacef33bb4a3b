"""The client of API 1.0 finds today's answers readable, and says what it misses in answers that are not."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from serving.client import RunningGateway
from serving.previous_client import PreviousClient
from tests.servers.loopback import Handler, listening
from tests.serving.conftest import Home, silence, wav

PCM = (silence(1.0) * 32767).astype("<i2").tobytes()


class Changed(Handler):
    """A server that forgot 1.0: the text has another name, refusals another form and status, there are no streams."""

    def respond(self) -> None:
        heard = self.command == "POST"
        body = {"transcript": "planted secret"} if heard else {"ready": False}
        self.answer(200 if heard else 503, json.dumps(body).encode(), {"Content-Type": "application/json"})


@pytest.fixture
def changed() -> Iterator[str]:
    with listening(Changed) as url:
        yield url


def test_today_answers_it(pinned: RunningGateway, home: Home) -> None:
    client = PreviousClient(pinned.base_url, "tiny", home.key)
    client.ask_everything(wav(silence(1.0)), PCM, 16_000)
    assert (client.requests, client.complaints) == (8, [])


def test_it_says_what_it_misses_without_quoting(changed: str) -> None:
    client = PreviousClient(changed, "tiny", "key")
    client.ask_everything(wav(silence(1.0)), PCM, 16_000)
    assert client.complaints == [
        "json: fields missing or of another type: text",
        "verbose_json: fields missing or of another type: language, duration, text",
        "text: content type application/json instead of text/plain",
        "a wrong key: status 200 instead of 401",
        "an unknown model: status 200 instead of 404",
        "no audio: status 200 instead of 400",
        "a stream: InvalidMessage",
        "readiness: status 503 instead of 200",
    ]
