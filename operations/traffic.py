"""Traffic as `soundcheck traffic` plays it: the family's eval pack as labelled probes through the gateway.

Boundary: the gateway's API; reads the pack and the demo API key.
Invariants: a probe sends counts afterwards, never text (R7.8).
"""

from __future__ import annotations

import threading
from dataclasses import asdict
from typing import Any

from contracts.errors import DependencyFailed
from operations.context import Context
from operations.keys import ensure_api_key
from operations.packs import required_packs
from operations.stack import addresses


def count_errors(normalizer: str) -> Any:
    """(reference, hypothesis) -> (word errors, reference words), under the family's normaliser."""
    from evalpacks.metrics.words import word_edits
    from evalpacks.normalize import normalize

    def count(reference: str, hypothesis: str) -> tuple[int, int]:
        said = normalize(reference, normalizer)
        return word_edits(said, normalize(hypothesis, normalizer)), len(said.split())

    return count


def play(
    context: Context,
    family: str,
    *,
    seconds: float,
    concurrency: int,
    cadence: float,
    seed: int,
    stop: threading.Event | None = None,
) -> dict[str, Any]:
    """Play sessions for so long; the summary by name."""
    from serving.traffic import play as play_sessions

    url = addresses(context.home).gateway
    if not url:
        raise DependencyFailed(
            "the gateway is away", where="HOME/run/stack.json", expected="a running gateway", next_step="soundcheck up"
        )
    pack = required_packs(context, family)[0]
    summary = play_sessions(
        url,
        family=family,
        utterances=pack.utterances,
        root=pack.root,
        api_key=ensure_api_key(context.home, "demo"),
        seconds=seconds,
        concurrency=concurrency,
        cadence=cadence,
        seed=seed,
        count_errors=count_errors(context.settings.policy(family).normalizer),
        stop=stop,
    )
    return asdict(summary)
