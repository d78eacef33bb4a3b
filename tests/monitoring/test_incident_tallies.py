"""What one table of telemetry adds up to: who waited."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from monitoring.incident.naming import LABELS
from monitoring.incident.tallies import COLUMNS, prepare

REQUESTS = 20
SINCE_S = 1_000.0


@pytest.mark.parametrize(
    ("first_audio_ms", "waited"),
    [(None, REQUESTS), (300.0, 0), (900.0, REQUESTS)],
    ids=["a transcript is waited for", "a reply is heard to its end", "a reply begins late"],
)
def test_what_speaks_is_waited_for_until_its_first_audio(first_audio_ms: float | None, waited: int) -> None:
    """Replies take 500 ms in the baseline, where callers break in, and 2,000 in the window, where nobody does."""
    rows = pd.DataFrame({name: [np.nan] * 2 * REQUESTS for name in COLUMNS})
    rows = rows.assign(**dict.fromkeys(LABELS, "none"), arm="stable", status=200.0)
    late = np.arange(2 * REQUESTS) >= REQUESTS
    rows["session_id"] = [f"s{number}" for number in range(2 * REQUESTS)]
    rows["timestamp"] = np.where(late, SINCE_S + 1, SINCE_S - 1)
    rows["latency_ms"] = np.where(late, 2_000.0, 500.0)
    if first_audio_ms is not None:
        rows["first_audio_ms"] = np.where(late, first_audio_ms, 300.0)
    found = prepare(rows, since_s=SINCE_S, slow_ms=None, ask_again_s=60.0)
    over, answered = found.measures["tail_rate"]
    assert (over[late].sum(), over[~late].sum(), answered.sum()) == (waited, 0, 2 * REQUESTS)
