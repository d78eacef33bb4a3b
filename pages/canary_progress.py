"""A canary while it runs, as Markdown: decision, allocation, and how far each (slice, metric) has come.

Boundary: no I/O. Source: pages.md ("canary evidence"); statistics U6.
Invariants: the pair that decides stands first; a bar is a share of what decides, on the logarithm of the e-value.
"""

from __future__ import annotations

from collections.abc import Sequence

from contracts.live import CanaryProgress
from contracts.reports import SliceEvidence
from pages.comparing import canary_scale
from pages.figures import duration, moment, slice_name
from pages.markdown import bullets, code, table, text
from pages.plots.evidence import Side, Track, tracks

_BARS = "\u2581\u2582\u2583\u2584\u2585\u2586\u2587\u2588"
_WIDTH = 16
"""Characters of a line over time."""
_WORDS = {"promote": "\u2713 PROMOTE", "continue": "? GOES ON", "hold": "? HOLD"}
_HEADER = ("slice", "metric", "stable", "canary", "sessions", "not worse", "worse", "state")


def markdown(progress: CanaryProgress, *, live: str = "") -> str:
    """The artifact of a running canary; `live` is the address of the gateway's live page."""
    word = _WORDS.get(progress.decision, f"\u2717 {progress.decision.replace('_', ' ').upper()}")
    lasted = _seconds(progress)
    lines = [
        f"**{word}** canary {text(progress.version)} in stage {progress.stage} "
        f"({progress.stages.index(progress.stage) + 1} of {len(progress.stages)}): {_allocation(progress)}",
        "",
        f"{duration(lasted)} of {duration(progress.deadline_s)}, looked at {moment(progress.looked_at)}; bundle "
        f"{code(progress.bundle[:12])}, stable {code((progress.stable or 'none')[:12])}",
        "",
        *bullets(text(reason) for reason in progress.reasons),
        *_evidence(progress),
    ]
    return "\n".join([*lines, *([f"[Live page of the gateway, with the pictures]({live})", ""] if live else [])])


def _seconds(progress: CanaryProgress) -> float:
    return progress.looks[-1].at_s if progress.looks else 0.0


def _allocation(progress: CanaryProgress) -> str:
    share = f"{progress.weight:.0%}"
    return {
        "probe": f"it answers {share} of the labelled probes",
        "shadow": f"it hears copies of {share} of the sessions, its answers reach nobody",
        "cohort": f"it answers {share} of the cohort's sessions",
        "wide": f"it answers {share} of all sessions",
    }[progress.stage]


def _evidence(progress: CanaryProgress) -> list[str]:
    drawn = tracks(progress.looks, alpha=progress.alpha, evidence=progress.evidence)
    rows = {(row.slice, canary_scale(row.metric, None).label): row for row in progress.evidence}
    lines = table(_HEADER, [_row(track, rows.get((track.exact, track.metric))) for track in drawn], right=(2, 3, 4))
    return [*lines, "Bars: e-values over time, as a share of what decides.", ""] if lines else []


def _row(track: Track, row: SliceEvidence | None) -> tuple[str, ...]:
    if row is None:
        return (text(track.slice), text(track.metric), "", "", "", _line(track, "fine"), _line(track, "worse"), "")
    metric = canary_scale(row.metric, None)
    return (
        text(slice_name(row.slice)),
        text(metric.label),
        metric.value(row.stable_rate),
        metric.value(row.canary_rate),
        f"{row.stable_sessions:,} / {row.canary_sessions:,}",
        _line(track, "fine"),
        _line(track, "worse"),
        row.state,
    )


def _line(track: Track, side: Side) -> str:
    """One side over time, and what it has come to."""
    for trace in track.traces:
        if trace.side == side:
            return f"{''.join(map(_bar, _thinned(trace.shares)))} {min(trace.share, 1.0):.0%}"
    return ""


def _bar(share: float) -> str:
    return _BARS[min(int(min(max(share, 0.0), 1.0) * len(_BARS)), len(_BARS) - 1)]


def _thinned(shares: Sequence[float]) -> list[float]:
    if len(shares) <= _WIDTH:
        return list(shares)
    return [shares[round(place * (len(shares) - 1) / (_WIDTH - 1))] for place in range(_WIDTH)]
