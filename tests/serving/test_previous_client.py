"""The client of API 1.0 finds today's answers readable, and says what it misses in answers that are not."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from serving.client import RunningGateway
from serving.previous_client import PreviousClient
from tests.serving.conftest import Home, silence, wav

PCM = (silence(1.0) * 32767).astype("<i2").tobytes()


class Changed(BaseHTTPRequestHandler):
    """A server that forgot 1.0: the text has another name, refusals another form and status, there are no streams."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._say(200, {"transcript": "planted secret"})

    def do_GET(self) -> None:
        self._say(503, {"ready": False})

    def _say(self, status: int, body: dict[str, object]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def changed() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Changed)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


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
