"""What stands behind each slice of a pack: utterances, speakers, words, minutes, and the difference that shows.

Boundary: pure; a pack in, figures and findings out.
Invariants: figures are those that the gates go by: words are counted as scoring counts them before normalisation, and
the detectable difference is that of the simultaneous bounds over all protected slices and overall (U4).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from evalpacks.checks.findings import Finding, finding
from evalpacks.pack import Pack
from evalpacks.slices import OVERALL, slice_masks, slice_names
from evalpacks.statistics.blocks import MIN_SPEAKERS

if TYPE_CHECKING:
    import pandas as pd


class Support(NamedTuple):
    """What a slice holds."""

    utterances: int
    speakers: int
    words: int
    minutes: float


class Power(NamedTuple):
    """What a slice can show.

    Attributes:
        effect: smallest rise of WER, a fraction, that fails with the planned power; None where no size would.
        more_speakers: speakers that are missing to find the planned effect; 0 where there are enough.
    """

    effect: float | None
    more_speakers: int


def guarded(pack: Pack) -> list[str]:
    """Protected and high-risk slices, each once, in the order of the card."""
    return list(dict.fromkeys([*pack.protected, *pack.high_risk]))


def supports(pack: Pack, names: Sequence[str]) -> dict[str, Support]:
    """Name -> what the slice holds, for each of the names."""
    table = pack.utterances
    words = np.array([len(text.split()) for text in table["text"]])
    speakers = table["speaker"].to_numpy(dtype=object)
    seconds = table["duration_s"].to_numpy(dtype=np.float64)
    return {
        name: Support(
            int(mask.sum()), len(set(speakers[mask])), int(words[mask].sum()), float(seconds[mask].sum()) / 60
        )
        for name, mask in slice_masks(table, names).items()
    }


def power_of(support: Support, *, comparisons: int, effect: float, power: float) -> Power:
    """What a slice can show when `comparisons` slices are judged together; `effect` is the planned one, a fraction.

    Raises WrongCall for an effect that no number of speakers finds.
    """
    from evalpacks.statistics.power import minimum_detectable_effect, speakers_needed

    each = support.words / support.speakers if support.speakers else 0.0
    needed = speakers_needed(effect=effect, units_per_speaker=each or 1.0, comparisons=comparisons, power=power)
    found = None
    if each:
        found = minimum_detectable_effect(speakers=support.speakers, units=each, comparisons=comparisons, power=power)
    return Power(found, max(needed - support.speakers, 0))


def findings(pack: Pack) -> list[Finding]:
    """Slices that are missing or too small, and languages that the card and the table do not share."""
    held = supports(pack, guarded(pack))
    empty = [name for name, support in held.items() if not support.utterances]
    found = [finding("empty_slice", empty)] if empty else []
    if not pack.protected:
        found.append(finding("no_protected_slice"))
    protected = {name: held[name] for name in pack.protected if held[name].utterances}
    little = [name for name, support in protected.items() if _lacks(support, pack.meta.min_support)]
    few = [name for name, support in protected.items() if support.speakers < MIN_SPEAKERS and name not in little]
    named = {*little, *few}
    alone = [name for name in _of_one_speaker(pack) if name not in named]
    for code, names in (("little_support", little), ("few_speakers", few), ("one_speaker", alone)):
        if names:
            found.append(finding(code, names))
    return found + _language_findings(pack.utterances, pack.meta.languages)


def _lacks(support: Support, least: Mapping[Literal["speakers", "words"], int]) -> bool:
    return support.speakers < least.get("speakers", 0) or support.words < least.get("words", 0)


def _of_one_speaker(pack: Pack) -> list[str]:
    """Slices of one column that one speaker fills, or `overall` where the whole pack has one."""
    if pack.utterances["speaker"].nunique() == 1:
        return [OVERALL]
    held = supports(pack, slice_names(pack.utterances, pack.slices))
    return [name for name, support in held.items() if support.speakers == 1]


def _language_findings(table: pd.DataFrame, declared: Sequence[str]) -> list[Finding]:
    spoken = table["language"]
    undeclared = [str(name) for name in table.loc[~spoken.isin(declared), "utterance_id"]]
    idle = [language for language in declared if language not in set(spoken)]
    return [
        finding(code, names) for code, names in (("undeclared_language", undeclared), ("idle_language", idle)) if names
    ]
