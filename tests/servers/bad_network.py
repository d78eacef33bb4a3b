"""A network that misbehaves on order: an HTTP proxy on loopback before a real S3 server.

Signatures hold, because the Host header is passed on as the client signed it.
"""

from __future__ import annotations

import http.client
import threading
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from tests.servers.loopback import Handler, listening
from tests.servers.seaweed import PUBLISHER

CONDITIONS = ("if-match", "if-none-match")


@dataclass
class Plan:
    """What goes wrong.

    Attributes:
        refuse: so many next requests of `methods` are answered with `status` and never reach the server.
        lose: so many next requests of `methods` reach the server, their answers do not reach the client.
        cut: so many next answers to `methods` lose the second half of their body.
        hold_s: every request waits so long before it is passed on.
        ignore_conditions: conditional headers are not passed on, as by a server that does not know them.
        seen: (method, path) of every request.
    """

    methods: tuple[str, ...] = ("PUT",)
    refuse: int = 0
    status: int = 503
    lose: int = 0
    cut: int = 0
    hold_s: float = 0.0
    ignore_conditions: bool = False
    seen: list[tuple[str, str]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, what: str, method: str) -> bool:
        """Whether this request is one of the planned ones; counts it off."""
        with self.lock:
            left = getattr(self, what)
            if method not in self.methods or not left:
                return False
            setattr(self, what, left - 1)
            return True


def between(endpoint: str, plan: Plan) -> AbstractContextManager[str]:
    """The address of a proxy to `endpoint` that follows the plan."""
    return listening(_handler(urlsplit(endpoint), plan))


def _handler(target: Any, plan: Plan) -> type[Handler]:
    class Passing(Handler):
        protocol_version = "HTTP/1.1"

        def respond(self) -> None:
            plan.seen.append((self.command, self.path))
            if plan.hold_s:
                threading.Event().wait(plan.hold_s)
            if plan.take("refuse", self.command):
                self._send(plan.status, [("Content-Type", "application/xml")], _error(plan.status))
                return
            status, headers, content = self._ask()
            if plan.take("lose", self.command):
                self.close_connection = True
                return
            self._send(status, headers, content, cut=plan.take("cut", self.command))

        def _ask(self) -> tuple[int, list[tuple[str, str]], bytes]:
            headers = {name: value for name, value in self.headers.items() if name.lower() != "expect"}
            if plan.ignore_conditions:
                headers = _signed_without_conditions(
                    self.command, f"http://{headers['Host']}{self.path}", headers, self.body
                )
            connection = http.client.HTTPConnection(target.hostname, target.port, timeout=60)
            connection.request(self.command, self.path, body=self.body, headers=headers)
            answer = connection.getresponse()
            content = answer.read()
            connection.close()
            return answer.status, answer.getheaders(), content

        def _send(self, status: int, headers: list[tuple[str, str]], content: bytes, *, cut: bool = False) -> None:
            self.send_response(status)
            length = next((value for name, value in headers if name.lower() == "content-length"), str(len(content)))
            for name, value in headers:
                if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                    self.send_header(name, value)
            self.send_header("Content-Length", length if self.command == "HEAD" else str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2] if cut else content)
            self.close_connection = cut

    return Passing


def _signed_without_conditions(method: str, url: str, headers: dict[str, str], body: bytes) -> dict[str, str]:
    """The headers that a client would have sent who knows no conditional writes."""
    from botocore.auth import S3SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    kept = {
        name: value
        for name, value in headers.items()
        if name.lower() not in (*CONDITIONS, "authorization", "x-amz-date")
    }
    request = AWSRequest(method=method, url=url, data=body, headers=kept)
    S3SigV4Auth(Credentials(*PUBLISHER), "s3", "us-east-1").add_auth(request)
    return dict(request.headers.items())


def _error(status: int) -> bytes:
    codes: dict[int, str] = {503: "SlowDown", 500: "InternalError", 409: "ConditionalRequestConflict"}
    code = codes.get(status, "AccessDenied")
    return f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>planned</Message></Error>'.encode()
