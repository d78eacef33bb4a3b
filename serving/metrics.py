"""What `/metrics` shows: counts and durations by family and bundle, never by anything a client chose.

Boundary: a registry of its own, so that several gateways can live in one process; serving/exposition.py sets what is
read at a scrape; serving/alerts.yaml and docs/telemetry.md name the same metrics.
Invariants: no text, key, session or label of a client is a label here, so the number of series is bounded by the
bundles that a gateway has served.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from contracts.digest import short
from serving.objectives import Objectives, judged

SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.5, 4.0, 8.0, 16.0, 32.0)
STAGE_SECONDS = (0.0001, 0.0003, 0.001, 0.003, *SECONDS)
BATCHES = (1, 2, 4, 8, 16, 32)
STAGES = ("preprocess", "queue", "infer", "postprocess")
PREFIX = "soundcheck_"

_ROUTE = ("family", "bundle", "arm", "mode")
_BUNDLE = ("family", "bundle")


class Metrics:
    """The gateway's figures; `objectives` is what each family promises."""

    def __init__(self, objectives: Mapping[str, Objectives] | None = None) -> None:
        self.registry = CollectorRegistry()
        self._objectives = dict(objectives or {})
        self._requests()
        self._promises()
        self._routing()
        self._workers()

    # ---- what there is ------------------------------------------------------------------------------------------
    def _counter(self, name: str, says: str, labels: tuple[str, ...]) -> Counter:
        return Counter(PREFIX + name, says, labels, registry=self.registry)

    def _gauge(self, name: str, says: str, labels: tuple[str, ...]) -> Gauge:
        return Gauge(PREFIX + name, says, labels, registry=self.registry)

    def _histogram(
        self, name: str, says: str, labels: tuple[str, ...], buckets: tuple[float, ...] = SECONDS
    ) -> Histogram:
        return Histogram(PREFIX + name, says, labels, registry=self.registry, buckets=buckets)

    def _requests(self) -> None:
        self.requests = self._counter(
            "requests", "Requests answered or failed.", (*_ROUTE, "priority", "status", "code")
        )
        self.refused = self._counter("refused", "Requests refused before they were routed.", ("code",))
        self.latency = self._histogram("latency_seconds", "Audio complete to answer.", _ROUTE)
        self.first_partial = self._histogram(
            "first_partial_seconds", "First audio of a stream to its first partial.", ("family", "bundle", "arm")
        )
        self.first_audio = self._histogram(
            "first_audio_seconds", "The whole text, or the end of a turn, to the first samples.", _ROUTE
        )
        self.spoken = self._counter("spoken_seconds", "Audio made.", _BUNDLE)
        self.starved = self._counter("starved", "Answers whose playback would have paused.", _BUNDLE)
        self.stage = self._histogram(
            "stage_seconds", "Time in a stage of a request.", (*_BUNDLE, "stage"), STAGE_SECONDS
        )
        self.batch = self._histogram("batch_size", "Utterances that the model heard at once.", _BUNDLE, BATCHES)
        self.audio = self._counter("audio_seconds", "Audio heard; of a synthesis, made.", _BUNDLE)
        self.cost = self._counter("cost_usd", "Compute in US dollars.", ("family", "bundle", "arm"))
        self.partial_words = self._counter(
            "partial_words", "Words shown in partials, and those taken back.", ("family", "bundle", "arm", "outcome")
        )
        self.turns = self._counter(
            "turns",
            "Turns of dialogues: heard; of them handoff, and ungrounded.",
            ("family", "bundle", "arm", "outcome"),
        )
        self.open_streams = self._gauge("open_streams", "Streams that are open.", ("family",))
        self.events = self._counter("client_events", "What clients told about requests.", ("family", "kind"))

    def _promises(self) -> None:
        self.privacy = self._counter("privacy_errors", "Private runs left in answers.", _BUNDLE)
        self.objective = self._counter(
            "objective_requests", "Requests that count for an objective.", ("family", "objective")
        )
        self.objective_bad = self._counter("objective_bad", "Those of them that are bad.", ("family", "objective"))
        self.objective_budget = self._gauge(
            "objective_budget_ratio", "Share of requests that may be bad.", ("family", "objective")
        )
        for family, promised in self._objectives.items():
            for objective, budget in promised.budgets().items():
                self.objective_budget.labels(family, objective).set(budget)
                # A counter that begins at 1 has not grown: rate() needs the 0.
                self.objective.labels(family, objective)
                self.objective_bad.labels(family, objective)

    def _routing(self) -> None:
        self.route_version = self._gauge("route_version", "Route table served.", ("family",))
        self.store_errors = self._counter("store_errors", "Looks at a pointer that failed.", ("family",))
        self.canary_weight = self._gauge("canary_weight_ratio", "Share of traffic.", ("family", "bundle", "stage"))
        self.canary_looked = self._gauge(
            "canary_looked_at_seconds", "When the judge last looked, or the table was moved (epoch).", ("family",)
        )
        self.canary_settled = self._gauge(
            "canary_settled", "1 while a shadow that went well waits for approval; 0 while it is judged.", ("family",)
        )
        self.degraded = self._gauge("degraded", "1 while the route table degrades stable.", ("family", "mode"))
        self.degraded_requests = self._counter("degraded_requests", "Requests served with less.", ("family", "mode"))
        self.cascade = self._counter(
            "cascade",
            "Requests of cascades: small, escalated, skipped; audited, audit_dropped; mistake (audits that differ).",
            ("family", "outcome"),
        )
        self.shadow_dropped = self._counter("shadow_dropped", "Shadow copies not made.", ("family",))
        self.shadow_words = self._counter(
            "shadow_words", "Words of answers that a shadow heard too, and edits between both.", ("family", "outcome")
        )

    def _workers(self) -> None:
        self.worker_ready = self._gauge("worker_ready", "1 while a worker answers.", _BUNDLE)
        self.worker_restarts = self._counter("worker_restarts", "Workers that died.", _BUNDLE)
        self.worker_waiting = self._gauge(
            "worker_waiting", "Utterances that wait for a worker.", (*_BUNDLE, "priority")
        )
        self.worker_streams = self._gauge("worker_streams", "Streams open on a worker.", _BUNDLE)
        self.worker_load = self._gauge("worker_load_ratio", "How full a worker's fullest queue is.", _BUNDLE)
        self.worker_memory = self._gauge("worker_peak_memory_bytes", "Most memory a worker has had.", _BUNDLE)
        self.asked = (
            self.worker_ready, self.worker_waiting, self.worker_streams, self.worker_load, self.worker_memory,
            self.canary_weight, self.canary_looked, self.canary_settled, self.degraded,
        )  # fmt: skip
        """Gauges that are set anew at each scrape, so that what is gone is not shown."""
        self.retries = self._counter("retries", "Requests that were heard again after their worker died.", _BUNDLE)

    # ---- what happens -------------------------------------------------------------------------------------------
    def request(self, row: Mapping[str, Any]) -> None:
        """Count one telemetry row."""
        family, bundle, arm = str(row["family"]), short(str(row["bundle"])), str(row["arm"])
        route = (family, bundle, arm, str(row["mode"]))
        self.requests.labels(*route, str(row["priority"]), str(row["status"]), str(row["error_code"])).inc()
        self.privacy.labels(family, bundle).inc(row["privacy_errors"])
        self.cost.labels(family, bundle, arm).inc(row["cost_usd"])
        self.retries.labels(family, bundle).inc(row["retries"])
        for objective, bad in judged(row, self._objectives.get(family, Objectives())).items():
            self.objective.labels(family, objective).inc()
            self.objective_bad.labels(family, objective).inc(bad)
        if row["status"] == 200:
            self._answered(row, route)
        if row["first_partial_ms"] is not None:
            self.first_partial.labels(family, bundle, arm).observe(row["first_partial_ms"] / 1000)
        if row["first_audio_ms"] is not None:
            self.first_audio.labels(*route).observe(row["first_audio_ms"] / 1000)
            self.spoken.labels(family, bundle).inc(row["spoken_s"])
            self.starved.labels(family, bundle).inc(row["starved"])
        if row["degraded"] != "no":
            self.degraded_requests.labels(family, row["degraded"]).inc()
        if row.get("shadow_words") is not None:
            self.shadow_words.labels(family, "heard").inc(row["shadow_words"])
            self.shadow_words.labels(family, "edited").inc(row["shadow_edits"])

    def _answered(self, row: Mapping[str, Any], route: tuple[str, str, str, str]) -> None:
        family, bundle, arm, _ = route
        self.latency.labels(*route).observe(row["latency_ms"] / 1000)
        for stage in STAGES:
            self.stage.labels(family, bundle, stage).observe(row[f"{stage}_ms"] / 1000)
        self.batch.labels(family, bundle).observe(row["batch"])
        self.audio.labels(family, bundle).inc(row["audio_s"])
        if row["partial_words"]:
            self.partial_words.labels(family, bundle, arm, "shown").inc(row["partial_words"])
            self.partial_words.labels(family, bundle, arm, "taken_back").inc(row["unstable_words"])
        if row.get("grounded") is not None:
            self.turns.labels(family, bundle, arm, "heard").inc()
            self.turns.labels(family, bundle, arm, "handoff").inc(row["handoff"])
            self.turns.labels(family, bundle, arm, "ungrounded").inc(1 - row["grounded"])

    def event(self, family: str, kind: str) -> None:
        """Count what a client told."""
        self.events.labels(family, kind).inc()

    def render(self) -> bytes:
        """The text exposition."""
        return generate_latest(self.registry)
