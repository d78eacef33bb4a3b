"""A small OTLP/HTTP collector: a real HTTP server that parses the protobuf of every export."""

from __future__ import annotations

import gzip
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.servers.loopback import Handler, listening


class Collector:
    """What was sent: spans with their resource's attributes, and every body as it came."""

    def __init__(self) -> None:
        self.url = ""
        self.bodies: list[bytes] = []
        self.paths: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.status = 200

    def spans(self) -> list[Any]:
        """Every span so far."""
        found = []
        for body in self.bodies:
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                for scope in resource.scope_spans:
                    found += list(scope.spans)
        return found

    def wait(self, names: set[str], *, bound_s: float = 10.0) -> dict[str, Any]:
        """The newest span of each name, when all are there."""
        ends = time.monotonic() + bound_s
        while True:
            found = {span.name: span for span in self.spans()}
            if names <= set(found):
                return found
            assert time.monotonic() < ends, f"only {sorted(found)} came"
            time.sleep(0.05)


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector on a free port of loopback for the length of a block."""

    collector = Collector()

    class Taking(Handler):
        def respond(self) -> None:
            body = self.body
            collector.paths.append(self.path)
            collector.headers.append(dict(self.headers))
            if collector.status == 200:
                collector.bodies.append(gzip.decompress(body) if self.headers["Content-Encoding"] == "gzip" else body)
            self.answer(collector.status)

    with listening(Taking) as collector.url:
        yield collector


def attributes(span: Any) -> dict[str, Any]:
    """A span's attributes as plain values."""
    return {item.key: getattr(item.value, item.value.WhichOneof("value")) for item in span.attributes}
