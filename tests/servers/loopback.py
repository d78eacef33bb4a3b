"""HTTP servers that a test makes up: a handler on a free port of loopback, for the length of a block."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler, ABC):
    """A request; `body` is its content, whole. A test's own server says in `respond` what is answered."""

    body = b""

    @abstractmethod
    def respond(self) -> None:
        """Answer the request, or leave."""

    def _read_and_respond(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.respond()

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _read_and_respond  # noqa: N815 - the server's names

    def answer(self, status: int, content: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Tests are quiet."""


@contextmanager
def listening(handler: type[Handler]) -> Iterator[str]:
    """The server's address, without a slash at its end; who is being answered when the block ends is not waited for."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    # The default interval lets every shutdown take half a second.
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
