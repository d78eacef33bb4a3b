"""What the router of a cascade did, slice by slice, as rows of a table.

Boundary: no I/O, no markup.
Invariants: shares are of the slice's own utterances, rates of the words that a model answered (U2); the whole first,
then the slices where the small model was most often wrongly sure.
"""

from __future__ import annotations

from typing import NamedTuple

from contracts.reports import ScoreReport
from contracts.route_counts import RouteCounts
from pages.figures import PERCENT, plain, scale, slice_name

_WER = scale("wer")
_SHOWN = 24


class RouteRow(NamedTuple):
    """One slice: what was sent on, how each model's answers fared, and what the small one was wrongly sure of."""

    name: str
    exact: str
    utterances: str
    sent_on: str
    small: str
    large: str
    sure_and_wrong: str


def routes(score: ScoreReport) -> tuple[RouteRow, ...]:
    """At most two dozen slices of all packs; none where the candidate does not route."""
    ordered = sorted(score.routes.items(), key=lambda item: (_slice(item[0]) != "overall", -_wrong(item[1]), item[0]))
    packs = len(score.packs) > 1
    return tuple(_row(name, one, packs=packs) for name, one in ordered[:_SHOWN])


def _slice(name: str) -> str:
    """Reports name a slice `PACK/SLICE`."""
    return name.partition("/")[2]


def _wrong(one: RouteCounts) -> float:
    return one.sure_and_wrong / one.utterances if one.utterances else 0.0


def _row(name: str, one: RouteCounts, *, packs: bool) -> RouteRow:
    share = one.sent_on / one.utterances if one.utterances else None
    return RouteRow(
        name=slice_name(_slice(name)) + (f" of {plain(name.partition('/')[0])}" if packs else ""),
        exact=plain(name),
        utterances=f"{one.utterances:,}",
        sent_on=PERCENT.value(share),
        small=_WER.value(one.small_errors / one.small_words if one.small_words else None),
        large=_WER.value(one.large_errors / one.large_words if one.large_words else None),
        sure_and_wrong=f"{one.sure_and_wrong:,} ({PERCENT.value(_wrong(one))})",
    )
