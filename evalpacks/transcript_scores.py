"""Scores of anyone's transcripts: tables in, the result of `soundcheck score` out (house.md).

Boundary: pure.
Invariants: counts travel, rates are ratios of sums (U2); the order of lines changes nothing; without a baseline there
is no difference and no verdict.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from contracts.errors import WrongCall
from contracts.reports import Count
from contracts.verdict import worst
from evalpacks.matching import hypothesis_texts, refuse_repeats, speaker_codes
from evalpacks.metrics import WER
from evalpacks.metrics.words import WordEdits, edit_counts
from evalpacks.normalize import normalize_all
from evalpacks.slices import OVERALL, Mask, slice_masks, slice_names
from evalpacks.statistics import Integers, Paired, Support, compare, regression_verdict

if TYPE_CHECKING:
    import pandas as pd


def score_transcripts(
    references: pd.DataFrame,
    hypotheses: pd.DataFrame,
    baseline: pd.DataFrame | None = None,
    *,
    slices: Sequence[str] = (),
    normalizer: str = "none",
    margin: float = 0.01,
    alpha: float = 0.05,
    replicates: int = 1000,
    seed: int = 7,
) -> dict[str, Any]:
    """The result of `soundcheck score` (house.md), for anyone's transcripts.

    `references` has utterance_id, text, perhaps speaker, and slice columns; the others have utterance_id and text.
    `slices` are columns, `a&b` for their combinations. `margin` is a fraction (0.01 is one point of WER). Raises
    WrongCall for repeated ids, for utterances without a hypothesis, and for slice columns that are not there.

    >>> import pandas as pd
    >>> refs = pd.DataFrame({"utterance_id": ["a", "b"], "text": ["lights on", "stop"], "accent": ["us", "uk"]})
    >>> hyps = pd.DataFrame({"utterance_id": ["b", "a"], "text": ["stop", "light on"]})
    >>> score_transcripts(refs, hyps, slices=["accent"])["slices"]["accent=us"]["wer"]
    0.5
    """
    refuse_repeats(references["utterance_id"].tolist(), where="references", error=WrongCall)
    ordered = references.sort_values("utterance_id", ignore_index=True)
    texts = normalize_all(ordered["text"].tolist(), normalizer)

    def edits(table: pd.DataFrame, where: str) -> WordEdits:
        step = 'add the missing lines; where nothing was heard the text is ""'
        ids = ordered["utterance_id"].astype(str).tolist()
        heard = hypothesis_texts(ids, table, where=where, error=WrongCall, next_step=step)
        return edit_counts(texts, normalize_all(heard, normalizer))

    candidate = edits(hypotheses, "hypotheses")
    names = slice_names(ordered, slices)
    masks = slice_masks(ordered, [OVERALL, *names])
    result: dict[str, Any] = {
        "overall": _as_json(candidate, masks[OVERALL]),
        "slices": {name: _as_json(candidate, masks[name]) for name in names},
        "delta": {},
        "verdict": None,
    }
    if baseline is None:
        return result
    stable = edits(baseline, "baseline")
    speakers = speaker_codes(ordered["speaker"].tolist()) if "speaker" in ordered.columns else None
    pairs = [_paired(candidate, stable, mask, speakers) for mask in masks.values()]
    intervals = dict(zip(masks, compare(pairs, alpha=alpha, replicates=replicates, seed=seed), strict=True))
    for name, interval in intervals.items():
        bounds = {"estimate": interval.estimate, "lower": interval.lower, "upper": interval.upper}
        result["delta"][name] = {"wer": bounds}
    verdict = worst(
        regression_verdict(
            name,
            WER,
            _error_count(candidate, mask),
            _error_count(stable, mask),
            intervals[name],
            speakers=intervals[name].speakers,
            margin=margin,
            support=Support(speakers=0, denominator=1),
        )
        for name, mask in masks.items()
    )
    return result | {"verdict": {"value": verdict.value.value, "reasons": list(verdict.reasons)}}


def _paired(candidate: WordEdits, stable: WordEdits, mask: Mask, speakers: Integers | None) -> Paired:
    return Paired(
        population="transcripts",
        candidate=candidate.errors,
        stable=stable.errors,
        denominator=candidate.reference_words,
        mask=mask,
        speakers=speakers,
    )


def _error_count(edits: WordEdits, mask: Mask) -> Count:
    return Count(numerator=int(edits.errors[mask].sum()), denominator=int(edits.reference_words[mask].sum()))


def _as_json(edits: WordEdits, mask: Mask) -> dict[str, float | int | None]:
    return {
        "wer": _error_count(edits, mask).rate,
        "substitutions": int(edits.substitutions[mask].sum()),
        "deletions": int(edits.deletions[mask].sum()),
        "insertions": int(edits.insertions[mask].sum()),
        "reference_words": int(edits.reference_words[mask].sum()),
    }
