"""Do the packs still look like traffic (coverage 13), and which slice do they lack?

Boundary: pure; counts by value in, shares and proposals out.
Invariants: a column is compared where traffic and a pack both have it; a column that no pack has is named, not judged;
a value needs its utterances in one of the packs, and the proposal says how many are missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from contracts.drift import DriftSettings, Mix, PackCoverage, Uncovered

Counts = Mapping[str, Mapping[str, float]]
"""Column -> value -> how many."""

NEW_PACK_FROM = 0.10
"""Share of traffic without support from which a pack of its own is proposed, not a slice of one."""


def coverage(traffic: Counts, packs: Counts, settings: DriftSettings) -> PackCoverage:
    """Traffic beside the packs, column by column; values of traffic that lack utterances, the largest first."""
    mixes, uncovered = [], []
    for column in sorted(set(traffic) & set(packs)):
        asked, has = _shares(traffic[column]), _shares(packs[column])
        if not asked or not has:
            continue
        distance = sum(abs(asked.get(value, 0.0) - has.get(value, 0.0)) for value in {*asked, *has}) / 2
        mixes.append(Mix(column=column, traffic=asked, packs=has, distance=distance))
        uncovered += [
            Uncovered(
                column=column, value=value, traffic_share=share, pack_share=has.get(value, 0.0),
                pack_utterances=int(packs[column].get(value, 0)),
            )
            for value, share in asked.items()
            if share >= settings.min_traffic_share and packs[column].get(value, 0) < settings.min_pack_utterances
        ]  # fmt: skip
    uncovered.sort(key=lambda one: (-one.traffic_share, one.column, one.value))
    return PackCoverage(
        mixes=tuple(mixes),
        uncovered=tuple(uncovered),
        unseen=tuple(sorted(column for column in set(traffic) - set(packs) if len(traffic[column]) > 1)),
        proposals=tuple(_proposal(one, settings) for one in uncovered),
    )


def needs_pack(uncovered: Sequence[Uncovered]) -> bool:
    """Whether what is missing is large enough for a pack of its own."""
    return any(one.traffic_share >= NEW_PACK_FROM for one in uncovered)


def _shares(counts: Mapping[str, float]) -> dict[str, float]:
    total = sum(counts.values())
    return {value: count / total for value, count in sorted(counts.items()) if count} if total else {}


def _proposal(one: Uncovered, settings: DriftSettings) -> str:
    what = "a pack" if one.traffic_share >= NEW_PACK_FROM else "a slice"
    missing = settings.min_pack_utterances - one.pack_utterances
    return (
        f"{what} for {one.column}={one.value}: {one.traffic_share:.1%} of traffic, {one.pack_utterances} utterances in "
        f"packs, at least {missing} more are needed"
    )
