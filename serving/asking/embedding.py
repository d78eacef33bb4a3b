"""Asking for a vector: `POST /v1/audio/embeddings`.

Boundary: as serving/client.py.
Invariants: as serving/client.py.
"""

from __future__ import annotations

from typing import Any

from contracts.bundle import GoldenAnswer
from serving.asking.heard import Whole


def _answer(said: dict[str, Any]) -> GoldenAnswer:
    """The vector, and its space."""
    return GoldenAnswer(label=said["space"], vector=tuple(said["embedding"]))


_WHOLE = Whole("/v1/audio/embeddings", _answer)
streams, ask, stream = _WHOLE.streams, _WHOLE.ask, _WHOLE.stream
