"""OpenTelemetry spans of a request, continuing the client's trace, to an OTLP/HTTP collector.

Boundary: a thread of the SDK sends; nothing of this is imported or done where no collector is named (`serving.traces`).
Headers a collector needs (a token) come from OTEL_EXPORTER_OTLP_HEADERS, which has no place in a file.
Invariants: spans are made when the request is recorded, from times that were taken anyway, so a trace costs a request
next to nothing; a collector that is away or slow costs spans, which are counted, and no request; attributes are names
from fixed lists, labels and numbers: never text, keys or sessions. A client whose trace is not sampled has no spans.

A request is one span, called by its task (`transcribe`, `stream`, `speak`, `embed`, `classify`, `turn`), with the
gateway's own span id (the one its answer's `traceparent` names), and below it `ingress`, `preprocess`, `route`,
`queue`, `infer`, `postprocess`. Ingress and route have their times; the others are laid one after the other from the
routing on, and of a stream each is the sum over its chunks
(`soundcheck.summed`). Shadow copies and audits are spans of their own below the request.
"""

from __future__ import annotations

import logging
import os
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from contracts.digest import short
from contracts.policy import Task
from contracts.telemetry import REQUEST_LABELS
from serving.ingress import Trace

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

log = logging.getLogger(__name__)

EXPORT_TIMEOUT_S = 3.0
MAX_WAITING = 4096
_SENT_EVERY_MS = 1000
_PATH = "/v1/traces"

_NUMBERS = (
    "status", "route_version", "audio_s", "batch", "retries", "worker_died", "partial_words", "unstable_words",
    "confidence", "cost_usd", "privacy_errors", "shadow_edits", "shadow_words", "cascade_edits", "cascade_words",
    "first_audio_ms", "starved", "spoken_s", "cached", "tokens", "handoff", "grounded", "citations", "barge_ins",
)  # fmt: skip
_NAMES = ("family", "arm", "mode", "task", "priority", "degraded", "cascade", "error_code", *REQUEST_LABELS)
STAGES = ("preprocess", "queue", "infer", "postprocess")


class Timing(NamedTuple):
    """When a request arrived, was admitted and was routed, on the monotonic clock (s)."""

    arrived: float
    admitted: float
    routed: float


class Tracer:
    """Makes spans of recorded requests and hands them to the SDK's exporter."""

    def __init__(self, collector: str) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

        exporter = OTLPSpanExporter(endpoint=_endpoint(collector), timeout=EXPORT_TIMEOUT_S)
        tracer = self

        class Counted(SpanExporter):
            """The exporter, whose losses are counted."""

            def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
                """Send a batch."""
                done = exporter.export(spans)
                if done is SpanExportResult.SUCCESS:
                    tracer.sent += len(spans)
                return done

            def shutdown(self) -> None:
                """Send nothing more."""
                exporter.shutdown()  # type: ignore[no-untyped-call]

        # The SDK's own messages name the collector's address, which may hold a secret; losses are counted instead.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        self.made = 0
        self.sent = 0
        self._resource = Resource({"service.name": "soundcheck-gateway", "process.pid": os.getpid()})
        self._processor = BatchSpanProcessor(
            Counted(), max_queue_size=MAX_WAITING, schedule_delay_millis=_SENT_EVERY_MS
        )

    def record(self, row: Mapping[str, Any], trace: Trace, timing: Timing) -> None:
        """Make the spans of one telemetry row. Never raises for what a row holds."""
        if not int(trace.flags, 16) & 1:
            return
        for span in self._spans(row, trace, timing):
            self.made += 1
            self._processor.on_end(span)

    def close(self) -> None:
        """Send what is waiting, for as long as an export may take."""
        self._processor.shutdown()  # type: ignore[no-untyped-call]

    def _spans(self, row: Mapping[str, Any], trace: Trace, timing: Timing) -> Iterator[ReadableSpan]:
        beside = row["arm"] == "shadow"
        own = secrets.token_hex(8) if beside else trace.span
        began = timing.routed if beside else timing.arrived
        offset_ns = time.time_ns() - time.monotonic_ns()
        ended_ns = time.monotonic_ns()
        name = "audit" if row["cascade"] == "audit" else "shadow" if beside else _name(row)
        yield self._span(
            name, trace, own, trace.span if beside else trace.parent, _ns(began) + offset_ns, ended_ns + offset_ns,
            {**_attributes(row)}, server=not beside, failed=row["status"] >= 500,
        )  # fmt: skip
        for stage, since_ns, until_ns in _stages(row, timing, ended_ns, beside=beside):
            attributes = {"soundcheck.summed": True} if row["mode"] == "stream" and stage in STAGES else {}
            yield self._span(
                stage, trace, secrets.token_hex(8), own, since_ns + offset_ns, until_ns + offset_ns, attributes
            )

    def _span(
        self,
        name: str,
        trace: Trace,
        own: str,
        parent: str,
        since_ns: int,
        until_ns: int,
        attributes: dict[str, Any],
        *,
        server: bool = False,
        failed: bool = False,
    ) -> ReadableSpan:
        from opentelemetry.sdk.trace import ReadableSpan
        from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

        def context(span: str, *, remote: bool) -> SpanContext:
            return SpanContext(int(trace.request_id, 16), int(span, 16), remote, TraceFlags(TraceFlags.SAMPLED))

        return ReadableSpan(
            name,
            context(own, remote=False),
            parent=context(parent, remote=server) if parent else None,
            resource=self._resource,
            attributes=attributes,
            kind=SpanKind.SERVER if server else SpanKind.INTERNAL,
            status=Status(StatusCode.ERROR if failed else StatusCode.UNSET),
            start_time=since_ns,
            end_time=max(until_ns, since_ns),
        )


_KINDS: dict[Task, str] = {
    "transcription": "transcribe",
    "synthesis": "speak",
    "embedding": "embed",
    "classification": "classify",
    "dialogue": "turn",
}


def _name(row: Mapping[str, Any]) -> str:
    """What a request's span is called; a stream of audio that is transcribed is a `stream`."""
    streamed = row["mode"] == "stream" and row["task"] == "transcription"
    return "stream" if streamed else _KINDS[row["task"]]


def _stages(row: Mapping[str, Any], timing: Timing, ended_ns: int, *, beside: bool) -> Iterator[tuple[str, int, int]]:
    """Name, begin and end (monotonic ns) of each stage that took time; none goes over the request's end."""
    if not beside:
        yield "ingress", _ns(timing.arrived), _ns(timing.admitted)
        yield "route", _ns(timing.admitted), _ns(timing.routed)
    since_ns = _ns(timing.routed)
    for stage in STAGES:
        took_ns = int(row[f"{stage}_ms"] * 1e6)
        if took_ns:
            until_ns = min(since_ns + took_ns, ended_ns)
            yield stage, since_ns, until_ns
            since_ns = until_ns


def _attributes(row: Mapping[str, Any]) -> dict[str, Any]:
    found = {f"soundcheck.{name}": row[name] for name in (*_NAMES, *_NUMBERS) if row.get(name) not in (None, "")}
    return {**found, "soundcheck.bundle": short(str(row["bundle"]))}


def _ns(monotonic_s: float) -> int:
    return int(monotonic_s * 1e9)


def _endpoint(collector: str) -> str:
    """A collector's address is its base, or the whole path for traces."""
    return collector if urlsplit(collector).path.strip("/") else collector.rstrip("/") + _PATH
