"""What a run of traffic came to.

Boundary: counts and milliseconds; no text.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

QUANTILES = (0.5, 0.95, 0.99)


@dataclass
class TrafficSummary:
    """What happened. Latencies are milliseconds by quantile (`p50`, `p95`, `p99`; empty where nothing was measured).

    `failures` are by code; `retries` counts requests that were made again, `left` streams that their client dropped,
    `events` what clients told besides probes. `mixed_sessions` counts sessions whose answers within one version of the
    route table came from two bundles, and streams that named two; `bundles` counts answers; `errors`, `words` are sums
    over labelled probes. Of what is spoken `first_audio_ms` runs to the first samples, and `starved` counts answers
    whose playback would have paused.
    """

    requests: int = 0
    answered: int = 0
    sessions: int = 0
    streams: int = 0
    retries: int = 0
    left: int = 0
    failures: dict[str, int] = field(default_factory=dict)
    events: dict[str, int] = field(default_factory=dict)
    bundles: dict[str, int] = field(default_factory=dict)
    mixed_sessions: int = 0
    errors: int = 0
    words: int = 0
    http_latency_ms: dict[str, float] = field(default_factory=dict)
    stream_final_ms: dict[str, float] = field(default_factory=dict)
    first_partial_ms: dict[str, float] = field(default_factory=dict)
    first_audio_ms: dict[str, float] = field(default_factory=dict)
    starved: int = 0
    duration_s: float = 0.0


def quantiles(values: Sequence[float]) -> dict[str, float]:
    """p50, p95 and p99 (nearest rank)."""
    ordered = sorted(values)
    if not ordered:
        return {}
    return {f"p{round(q * 100)}": ordered[max(math.ceil(q * len(ordered)) - 1, 0)] for q in QUANTILES}
