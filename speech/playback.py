"""Would playing speech as it is made starve? On virtual time.

Boundary: pure.
Invariants: playback begins with the first chunk and plays without a pause; a chunk that is there later than the one
before it ends leaves the listener in silence.
"""

from __future__ import annotations

from collections.abc import Iterable


def starves(chunks: Iterable[tuple[float, float]]) -> bool:
    """Whether any chunk, (seconds when it was there, its length in seconds) in order, comes too late to be played on.

    >>> starves([(0.1, 1.0), (0.9, 1.0)]), starves([(0.1, 0.5), (0.9, 1.0)])
    (False, True)
    """
    ends_s: float | None = None
    for there_s, length_s in chunks:
        if ends_s is not None and there_s > ends_s:
            return True
        ends_s = (there_s if ends_s is None else ends_s) + length_s
    return False
