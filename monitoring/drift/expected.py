"""What every telemetry row must satisfy, as a suite of Great Expectations in its own JSON form.

Boundary: pure; evalpacks/expectations.py runs it, on a table whose `request_id` is called `utterance_id`.
Invariants: a suite names columns, bounds and forms, never a value of a person; an empty value is never out of bounds.
Source: contracts/telemetry.py, which a row satisfied when it was written: what is broken here was broken on the way.
"""

from __future__ import annotations

from typing import Any

_FILLED = (
    "timestamp",
    "utterance_id",
    "session_id",
    "family",
    "bundle",
    "arm",
    "mode",
    "status",
    "audio_s",
    "latency_ms",
)
_BOUNDS: dict[str, tuple[float, float | None]] = {
    "status": (0, 599),
    "audio_s": (0, 86_400),
    "speech_s": (0, 86_400),
    "clipped": (0, 1),
    "confidence": (0, 1),
    "level_dbfs": (-200, 10),
    "sent_rate_hz": (0, 384_000),
    "latency_ms": (0, None),
    "cost_usd": (0, None),
}
_SETS = {
    "arm": ["stable", "canary", "shadow"],
    "mode": ["http", "stream"],
    "priority": ["interactive", "batch"],
    "degraded": ["no", "no_partials", "smaller"],
}
_LABEL = r"^[a-z0-9][a-z0-9_.+-]{0,39}\Z"


def telemetry(family: str) -> dict[str, Any]:
    """The suite of a family's rows."""
    expectations = [
        *(_one("expect_column_values_to_not_be_null", column=column) for column in _FILLED),
        *(
            _one("expect_column_values_to_be_between", column=column, min_value=low, max_value=high)
            for column, (low, high) in _BOUNDS.items()
        ),
        *(
            _one("expect_column_values_to_be_in_set", column=column, value_set=values)
            for column, values in (_SETS | {"family": [family]}).items()
        ),
        _one("expect_column_values_to_match_regex", column="bundle", regex=r"^[0-9a-f]{64}\Z"),
        *(
            _one("expect_column_values_to_match_regex", column=column, regex=_LABEL)
            for column in ("tenant", "device", "language", "codec", "probe")
        ),
        _one("expect_column_pair_values_a_to_be_greater_than_b", column_A="audio_s", column_B="speech_s", or_equal=True,
             ignore_row_if="either_value_is_missing"),
    ]  # fmt: skip
    return {"name": "telemetry", "expectations": expectations, "meta": {}, "notes": None}


def _one(kind: str, **kwargs: object) -> dict[str, Any]:
    return {"type": kind, "kwargs": kwargs, "meta": {}}
