"""A staged replay in sentences, for the release page and the markdown of its step.

Boundary: a report in, text out. Source: release-algorithm R6.3, R6.5.
"""

from __future__ import annotations

from contracts.reports import ReplayReport
from pages.figures import duration


def measured(replay: ReplayReport) -> list[str]:
    """What a staged replay measured besides its load and its checks, one sentence each."""
    began = replay.cold_first_partial_ms
    what = "first audio" if replay.warm.first_audio_ms else "first partial"
    first = f", {what} {began:,.0f} ms" if began is not None else ""
    lines = [
        f"Cold: ready after {duration(replay.cold_start_ms / 1000)}{first}, "
        f"first answer {replay.cold_final_ms:,.0f} ms.",
        f"Peak memory {replay.peak_memory_mb:,.0f} MB; {replay.cost_usd_per_audio_hour:.4f} USD an audio hour.",
    ]
    if replay.warm.underrun_share is not None:
        lines.append(f"Playback would have starved in {replay.warm.underrun_share:.1%} of the answers.")
    if long := replay.long_utterance:
        lines.append(
            f"An utterance of {long.audio_s:.0f} s: answered in {duration(long.final_ms / 1000)}, streamed, "
            f"{duration(long.stream_final_ms / 1000)} after its end."
        )
    if soak := replay.soak:
        lines.append(
            f"Memory over {soak.requests:,} requests: {soak.growth_mb_per_1000:+.1f} MB in 1,000 "
            f"({soak.lower:+.1f} to {soak.upper:+.1f}), {soak.ended_mb:,.0f} MB at the end."
        )
    if replay.rehearsal_s is not None and replay.forward_s is not None:
        lines.append(
            f"Rollback rehearsed: back in {duration(replay.rehearsal_s)}, forward in {duration(replay.forward_s)}, "
            "golden outputs proved each time."
        )
    return lines
