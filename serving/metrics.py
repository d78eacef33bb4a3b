"""What `/metrics` shows: counts and durations by family and bundle, never by anything a client chose.

Boundary: a registry of its own, so that several gateways can live in one process; no text, key or session in a label.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from contracts.digest import short

_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.5, 4.0, 8.0, 16.0, 32.0)


class Metrics:
    """The gateway's figures."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self._registry = registry
        route = ("family", "bundle", "arm", "mode")
        self.requests = Counter(
            "soundcheck_requests", "Requests answered or failed.", (*route, "status", "code"), registry=registry
        )
        self.latency = Histogram(
            "soundcheck_latency_seconds", "Audio complete to answer.", route, registry=registry, buckets=_SECONDS
        )
        self.first_partial = Histogram(
            "soundcheck_first_partial_seconds",
            "First audio of a stream to its first partial.",
            ("family", "bundle"),
            registry=registry,
            buckets=_SECONDS,
        )
        self.queue = Histogram(
            "soundcheck_queue_seconds", "Wait for the model.", ("family", "bundle"), registry=registry, buckets=_SECONDS
        )
        self.infer = Histogram(
            "soundcheck_infer_seconds", "Time in the model.", ("family", "bundle"), registry=registry, buckets=_SECONDS
        )
        self.refused = Counter(
            "soundcheck_refused", "Requests refused before they were routed.", ("code",), registry=registry
        )
        self.audio = Counter("soundcheck_audio_seconds", "Audio heard.", ("family", "bundle"), registry=registry)
        self.privacy = Counter(
            "soundcheck_privacy_errors", "Private runs left in answers.", ("family", "bundle"), registry=registry
        )
        self.open_streams = Gauge("soundcheck_open_streams", "Streams that are open.", ("family",), registry=registry)
        self.route_version = Gauge("soundcheck_route_version", "Route table served.", ("family",), registry=registry)
        self.worker_ready = Gauge(
            "soundcheck_worker_ready", "1 while a worker answers.", ("family", "bundle"), registry=registry
        )
        self.worker_restarts = Counter(
            "soundcheck_worker_restarts", "Workers that died.", ("family", "bundle"), registry=registry
        )
        self.shadow_dropped = Counter(
            "soundcheck_shadow_dropped", "Shadow copies not made.", ("family",), registry=registry
        )
        self.cascade = Counter(
            "soundcheck_cascade",
            "Requests of cascades: small, escalated, skipped; audited, audit_dropped; mistake (audits that differ).",
            ("family", "outcome"),
            registry=registry,
        )
        self.store_errors = Counter(
            "soundcheck_store_errors", "Looks at a pointer that failed.", ("family",), registry=registry
        )
        self.events = Counter(
            "soundcheck_client_events", "What clients told about requests.", ("family", "kind"), registry=registry
        )
        self.telemetry_dropped = Gauge("soundcheck_telemetry_dropped", "Rows lost.", registry=registry)

    def request(self, row: dict[str, object]) -> None:
        """Count one telemetry row."""
        family, bundle = str(row["family"]), short(str(row["bundle"]))
        route = (family, bundle, str(row["arm"]), str(row["mode"]))
        self.requests.labels(*route, str(row["status"]), str(row["error_code"])).inc()
        self.privacy.labels(family, bundle).inc(_number(row["privacy_errors"]))
        if row["status"] == 200:
            self.latency.labels(*route).observe(_number(row["latency_ms"]) / 1000)
            self.queue.labels(family, bundle).observe(_number(row["queue_ms"]) / 1000)
            self.infer.labels(family, bundle).observe(_number(row["infer_ms"]) / 1000)
            self.audio.labels(family, bundle).inc(_number(row["audio_s"]))
        if row["first_partial_ms"] is not None:
            self.first_partial.labels(family, bundle).observe(_number(row["first_partial_ms"]) / 1000)

    def event(self, family: str, kind: str) -> None:
        """Count what a client told."""
        self.events.labels(family, kind).inc()

    def render(self) -> bytes:
        """The text exposition."""
        return generate_latest(self._registry)


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
