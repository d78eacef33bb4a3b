"""Telemetry as the judge gets it, drawn by a seed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from contracts.policy import CanaryPlan

START_S = 1_000.0

METRICS: dict[str, Any] = {
    "wer": {"kind": "ratio", "numerator": "errors", "denominator": "words", "margin": 0.02},
    "latency_ms": {"kind": "quantile", "quantile": 0.9, "budget": 900},
    "privacy": {"kind": "never", "column": "privacy_errors"},
}


def plan_of(**changes: Any) -> CanaryPlan:
    """A plan with one column of slices."""
    return CanaryPlan.model_validate(
        {
            "metrics": METRICS,
            "slices": ["accent"],
            "deadline_s": 6_000,
            "min_sessions": 20,
            "stale_after_s": 60,
            "routable": ["device"],
        }
        | changes
    )


def traffic(
    sessions: int = 1_200,
    *,
    stable_wer: float | dict[str, float] = 0.1,
    canary_wer: float | dict[str, float] = 0.1,
    slow: dict[str, float] | None = None,
    accents: tuple[str, ...] = ("us", "scottish"),
    share: float = 0.5,
    seed: int = 3,
    **columns: Any,
) -> pd.DataFrame:
    """A session each second of three utterances of ten words; `share` of them the canary's, accents in turn.

    `slow` is the share of an arm's requests that take over a second; `columns` overwrite. WER by arm or by accent.
    """
    generator = np.random.default_rng(seed)
    number = np.repeat(np.arange(sessions), 3)
    of_canary = (
        np.floor((np.arange(sessions) // len(accents) + 1) * share)
        > np.floor(np.arange(sessions) // len(accents) * share)
    )[number]
    arm = np.where(of_canary, "canary", "stable")
    accent = np.array(accents)[number % len(accents)]

    def rate(wer: float | dict[str, float]) -> np.ndarray:
        return np.array([wer[name] if isinstance(wer, dict) else wer for name in accent])

    asked = slow or {}
    is_slow = generator.random(len(number)) < np.where(of_canary, asked.get("canary", 0.0), asked.get("stable", 0.0))
    return pd.DataFrame(
        {
            "timestamp": START_S + number + np.tile([0.0, 0.1, 0.2], sessions),
            "session_id": [f"s{name:06d}" for name in number],
            "arm": arm,
            "accent": accent,
            "errors": generator.binomial(10, np.where(of_canary, rate(canary_wer), rate(stable_wer))).astype(float),
            "words": 10.0,
            "latency_ms": np.where(is_slow, 1_500.0, generator.uniform(100, 300, len(number))),
            "privacy_errors": 0,
        }
    ).assign(**columns)
