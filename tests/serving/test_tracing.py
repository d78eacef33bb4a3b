"""Spans of real requests at a real OTLP collector, and none where nobody asked for them."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from serving.client import ApiFailure, RunningGateway, stream, transcribe
from serving.ingress import trace_of
from serving.tracing import Timing, Tracer
from tests.serving.conftest import Home, StartGateway, silence, wav, with_command
from tests.serving.otlp_collector import Collector, attributes, collecting
from tests.serving.test_windows import row
from tests.serving.tiny_engine import FAIL

SAID = "alpha bravo charlie"
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
STAGES = {"ingress", "route", "preprocess", "queue", "infer", "postprocess"}


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as found:
        yield found


@pytest.fixture(scope="module")
def traced(home: Home, start_tiny: StartGateway, collector: Collector) -> Iterator[RunningGateway]:
    folder = home.folder("traced", SAID)
    with start_tiny(home.root, serve={"tiny": folder}, options=("--traces", collector.url)) as gateway:
        yield gateway


def ask(gateway: RunningGateway, home: Home, traceparent: str, **more: str) -> httpx.Response:
    return httpx.post(
        f"{gateway.base_url}/v1/audio/transcriptions",
        files={"file": ("planted name.wav", wav(silence(1.0)))},
        data={"model": "tiny"},
        headers={"Authorization": f"Bearer {home.key}", "traceparent": traceparent, **more},
        trust_env=False,
    )


def test_a_request_continues_its_clients_trace(traced: RunningGateway, home: Home, collector: Collector) -> None:
    collector.bodies.clear()
    began_ns = time.time_ns()
    answer = ask(traced, home, f"00-{TRACE}-{PARENT}-01", **{"X-Soundcheck-Device": "phone"})
    took_ns = time.time_ns() - began_ns
    assert answer.status_code == 200
    found = collector.wait({"transcribe", *STAGES})
    assert collector.paths[0] == "/v1/traces"
    root = found["transcribe"]
    assert {span.trace_id.hex() for span in found.values()} == {TRACE}
    assert root.parent_span_id.hex() == PARENT
    assert root.span_id.hex() == answer.headers["traceparent"].split("-")[2]
    assert {found[name].parent_span_id for name in STAGES} == {root.span_id}
    assert len({span.span_id for span in found.values()}) == len(found)
    assert 0 < root.end_time_unix_nano - root.start_time_unix_nano <= took_ns
    for name in STAGES:
        span = found[name]
        assert root.start_time_unix_nano <= span.start_time_unix_nano, name
        assert span.start_time_unix_nano <= span.end_time_unix_nano <= root.end_time_unix_nano, name
    said = attributes(root)
    assert (said["soundcheck.family"], said["soundcheck.device"]) == ("tiny", "phone")
    assert (said["soundcheck.status"], said["soundcheck.audio_s"]) == (200, 1.0)
    assert said["soundcheck.bundle"] == answer.headers["X-Soundcheck-Bundle"][:12]
    assert all(isinstance(value, int | float) or len(value) <= 40 for value in said.values())


def test_a_stream_is_one_span_with_the_sums_of_its_chunks(
    traced: RunningGateway, home: Home, collector: Collector
) -> None:
    collector.bodies.clear()
    pcm = silence(1.0).astype("<i2").tobytes()
    answer = stream(traced.base_url, pcm, "tiny", home.key, {}, rate_hz=16_000)
    found = collector.wait({"stream", "queue", "infer"})
    assert found["stream"].trace_id.hex() == answer.request_id
    assert attributes(found["infer"]) == {"soundcheck.summed": True}
    assert attributes(found["stream"])["soundcheck.mode"] == "stream"


def test_a_request_that_fails_is_an_error_without_its_text(
    traced: RunningGateway, home: Home, collector: Collector
) -> None:
    collector.bodies.clear()
    with pytest.raises(ApiFailure):
        transcribe(traced.base_url, wav(with_command(FAIL)), "tiny", home.key, {})
    root = collector.wait({"transcribe"})["transcribe"]
    assert (root.status.code, root.status.message) == (2, "")
    assert attributes(root)["soundcheck.error_code"] == "internal"


def test_a_client_that_does_not_sample_has_no_spans(traced: RunningGateway, home: Home, collector: Collector) -> None:
    collector.bodies.clear()
    assert ask(traced, home, f"00-{'a' * 32}-{PARENT}-00").status_code == 200
    assert ask(traced, home, f"00-{'b' * 32}-{PARENT}-01").status_code == 200
    collector.wait({"transcribe"})
    assert {span.trace_id.hex() for span in collector.spans()} == {"b" * 32}


def test_nothing_private_is_in_a_span(traced: RunningGateway, home: Home, collector: Collector) -> None:
    collector.bodies.clear()
    planted = {"X-Soundcheck-Session": "planted-session", "X-Soundcheck-Tenant": "Planted Person 12 High Street"}
    assert ask(traced, home, "", **planted).status_code == 200
    collector.wait({"transcribe", "postprocess"})
    for secret in ("planted", "alpha", "bravo", "High Street", home.key):
        assert secret.encode() not in b"".join(collector.bodies), secret


def test_a_collector_that_fails_costs_spans_and_no_request(
    traced: RunningGateway, home: Home, collector: Collector
) -> None:
    collector.status = 400
    collector.paths.clear()
    try:
        assert ask(traced, home, "").status_code == 200
        ends = time.monotonic() + 10
        while not collector.paths:
            assert time.monotonic() < ends
            time.sleep(0.05)
        assert ask(traced, home, "").status_code == 200
        text = httpx.get(f"{traced.base_url}/metrics", trust_env=False).text
        made, sent = (float(line.split()[1]) for line in text.splitlines() if line.startswith("soundcheck_spans_"))
        assert made > sent > 0
    finally:
        collector.status = 200


def test_a_collector_that_is_away_delays_no_end(tmp_path: Path) -> None:
    tracer = Tracer("http://127.0.0.1:9/v1/traces")
    now = time.monotonic()
    tracer.record(full_row(), trace_of(""), Timing(now - 0.3, now - 0.2, now - 0.1))
    began = time.monotonic()
    tracer.close()
    assert time.monotonic() - began < 20
    assert (tracer.made > 1, tracer.sent) == (True, 0)


def full_row() -> dict[str, object]:
    return row(
        mode="http", task="transcription", priority="interactive", degraded="no", cascade="none", error_code="",
        route_version=1, preprocess_ms=1.0, infer_ms=2.0, postprocess_ms=0.5, batch=1, retries=0, worker_died=0,
        confidence=None,
    )  # fmt: skip


def test_a_shadow_copy_is_a_span_below_its_request() -> None:
    with collecting() as collector:
        tracer = Tracer(f"{collector.url}/v1/traces")
        trace, now = trace_of(f"00-{TRACE}-{PARENT}-01"), time.monotonic()
        timing = Timing(now - 0.3, now - 0.2, now - 0.1)
        tracer.record({**full_row(), "arm": "shadow", "shadow_edits": 1, "shadow_words": 4}, trace, timing)
        tracer.record({**full_row(), "arm": "shadow", "cascade": "audit"}, trace, timing)
        tracer.close()
        found = {span.name: span for span in collector.spans()}
    assert {"shadow", "audit"} <= set(found)
    assert not {"ingress", "route"} & set(found)
    for name in ("shadow", "audit"):
        assert found[name].parent_span_id.hex() == trace.span
        assert found[name].span_id.hex() != trace.span
    assert attributes(found["shadow"])["soundcheck.shadow_edits"] == 1


def test_nothing_of_the_sdk_is_imported_without_a_collector() -> None:
    code = "import sys, serving.gateway; print([name for name in sys.modules if name.startswith('opentelemetry')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
