"""Whether what is played as it arrives would pause.

Boundary: pure; times are given, in seconds on one monotonic clock.
Invariants: playback begins with the first samples and never waits on purpose, so that a pause is the sender's.
"""

from __future__ import annotations


class Playback:
    """A listener who plays from the first sample on."""

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._dry_at: float | None = None
        self.samples = 0
        self.starved = False

    @property
    def seconds(self) -> float:
        """Seconds of audio that came."""
        return self.samples / self._rate_hz

    def came(self, samples: int, now: float) -> None:
        """So many samples came."""
        if self._dry_at is None:
            self._dry_at = now
        self.starved |= now > self._dry_at
        self._dry_at = max(self._dry_at, now) + samples / self._rate_hz
        self.samples += samples
