"""Whether what is played as it is made, or as it arrives, would pause.

Boundary: pure; times are given, in seconds on one clock, real or virtual.
Invariants: playback begins with the first chunk and never waits on purpose, so that a pause is the maker's.
"""

from __future__ import annotations

from collections.abc import Iterable


class Playback:
    """A listener who plays from the first chunk on; `seconds` of audio came, and once it `starved` it stays so."""

    def __init__(self) -> None:
        self._dry_at: float | None = None
        self.seconds = 0.0
        self.starved = False

    def came(self, seconds: float, now: float) -> None:
        """So much audio came."""
        if self._dry_at is None:
            self._dry_at = now
        self.starved |= now > self._dry_at
        self._dry_at = max(self._dry_at, now) + seconds
        self.seconds += seconds


def starves(chunks: Iterable[tuple[float, float]]) -> bool:
    """Whether any chunk, (seconds when it was there, its length in seconds) in order, comes too late to be played on.

    >>> starves([(0.1, 1.0), (0.9, 1.0)]), starves([(0.1, 0.5), (0.9, 1.0)])
    (False, True)
    """
    playback = Playback()
    for there_s, length_s in chunks:
        playback.came(length_s, there_s)
    return playback.starved
