"""The endpoint rule: when a listener may take an utterance for ended, from what the recogniser showed alone.

Boundary: pure. Time is audio time, seconds of audio heard; no clock.
Invariants: the rule looks back only, so what is shown after it fired changes nothing; nothing shown, nothing ended.
Source: the usual rule of a recogniser that serves as its own endpointer, a fixed hangover since the last change of the
hypothesis; Shannon et al. 2017, "Improved End-of-Query Detection for Streaming Speech Recognition", compares others.
"""

from __future__ import annotations

from collections.abc import Iterable

HANGOVER_S = 0.8
"""Seconds of audio without a change of a non-empty hypothesis after which the utterance has ended."""

_ROUNDING_S = 1e-6


def endpoint_s(shown: Iterable[tuple[float, str]]) -> float | None:
    """When the rule fires, in seconds from the start of the audio; None where it does not.

    `shown` are (seconds of audio heard, hypothesis) in order, one for each change, and a last one at the end of the
    audio.

    >>> endpoint_s([(0.4, "lights"), (0.7, "lights on"), (2.5, "lights on")])
    1.5
    """
    since_s, text = 0.0, ""
    for heard_s, now in shown:
        if text and heard_s - since_s >= HANGOVER_S - _ROUNDING_S:
            return since_s + HANGOVER_S
        if now != text:
            since_s, text = heard_s, now
    return None
