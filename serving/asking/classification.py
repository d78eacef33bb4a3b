"""Asking for a class: `POST /v1/audio/classifications`.

Boundary: as serving/client.py.
Invariants: as serving/client.py.
"""

from __future__ import annotations

from typing import Any

from contracts.bundle import GoldenAnswer
from serving.asking.heard import Whole


def _answer(said: dict[str, Any]) -> GoldenAnswer:
    """The class, and the score of each."""
    return GoldenAnswer(label=said["label"], vector=tuple(said["scores"].values()))


_WHOLE = Whole("/v1/audio/classifications", _answer)
streams, ask, stream = _WHOLE.streams, _WHOLE.ask, _WHOLE.stream
