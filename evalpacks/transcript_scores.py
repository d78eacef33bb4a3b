"""Scores of anyone's transcripts: tables in, the result of `soundcheck score` out (house.md).

Boundary: pure.
Invariants: counts travel, rates are ratios of sums (U2); the order of lines changes nothing; without a baseline there
is no difference and no verdict.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from contracts.errors import WrongCall
from contracts.reports import Count
from contracts.verdict import Verdict, worst
from evalpacks.matching import hypothesis_texts, named, refuse_repeats, speaker_codes
from evalpacks.metrics import WER
from evalpacks.metrics.words import WordEdits, edit_counts
from evalpacks.normalize import normalize_all
from evalpacks.slices import OVERALL, Mask, slice_masks, slice_names, slice_sums
from evalpacks.statistics import Integers, Interval, Paired, Support, compare, regression_verdict

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
    WrongCall for repeated ids, for utterances without a hypothesis, for slice columns that are not there, and where
    only some references have a speaker.

    >>> import pandas as pd
    >>> refs = pd.DataFrame({"utterance_id": ["a", "b"], "text": ["lights on", "stop"], "accent": ["us", "uk"]})
    >>> hyps = pd.DataFrame({"utterance_id": ["b", "a"], "text": ["stop", "light on"]})
    >>> score_transcripts(refs, hyps, slices=["accent"])["slices"]["accent=us"]["wer"]
    0.5
    """
    refuse_repeats(references["utterance_id"].tolist(), where="references", error=WrongCall)
    ordered = references.sort_values("utterance_id", ignore_index=True)
    ids = list(map(str, ordered["utterance_id"].tolist()))
    texts = normalize_all(ordered["text"].tolist(), normalizer)

    def edits(table: pd.DataFrame, where: str) -> WordEdits:
        step = 'add the missing lines; where nothing was heard the text is ""'
        heard = hypothesis_texts(ids, table, where=where, error=WrongCall, next_step=step)
        return edit_counts(texts, normalize_all(heard, normalizer))

    masks = slice_masks(ordered, [OVERALL, *slice_names(ordered, slices)])
    candidate = edits(hypotheses, "hypotheses")
    sums = _sums(candidate, masks)
    result: dict[str, Any] = {
        "overall": sums[OVERALL].as_json(),
        "slices": {name: found.as_json() for name, found in sums.items() if name != OVERALL},
        "delta": {},
        "verdict": None,
    }
    if baseline is None:
        return result
    stable = edits(baseline, "baseline")
    pairs = _pairs(candidate, stable, masks, _speakers(ordered))
    intervals = dict(zip(masks, compare(pairs, alpha=alpha, replicates=replicates, seed=seed), strict=True))
    verdict = _verdict(sums, _sums(stable, masks), intervals, margin)
    return result | {
        "delta": {name: {"wer": _bounds(interval)} for name, interval in intervals.items()},
        "verdict": {"value": verdict.value.value, "reasons": list(verdict.reasons)},
    }


class _Sums(NamedTuple):
    """Word edits of one slice."""

    substitutions: int
    deletions: int
    insertions: int
    reference_words: int

    @property
    def errors(self) -> Count:
        return Count(numerator=self.substitutions + self.deletions + self.insertions, denominator=self.reference_words)

    def as_json(self) -> dict[str, float | int | None]:
        return {"wer": self.errors.rate, **self._asdict()}


def _sums(edits: WordEdits, masks: Mapping[str, Mask]) -> dict[str, _Sums]:
    return {name: _Sums(*sums) for name, sums in slice_sums(masks, edits).items()}


def _speakers(references: pd.DataFrame) -> Integers | None:
    """Speaker codes (utterances,), None where no speaker is known; raises WrongCall where only some are."""
    if "speaker" not in references.columns:
        return None
    unknown = references["speaker"].isna()
    if unknown.any():
        raise WrongCall(
            f"{unknown.sum()} of {len(references)} references have no speaker",
            where="references",
            got="missing: " + named(references["utterance_id"][unknown].tolist()),
            expected="a speaker on every line, or on none",
        )
    return speaker_codes(references["speaker"].tolist())


def _pairs(
    candidate: WordEdits, stable: WordEdits, masks: Mapping[str, Mask], speakers: Integers | None
) -> list[Paired]:
    errors, baseline = candidate.errors, stable.errors
    return [
        Paired(
            population="transcripts",
            candidate=errors,
            stable=baseline,
            denominator=candidate.reference_words,
            mask=mask,
            speakers=speakers,
        )
        for mask in masks.values()
    ]


def _verdict(
    candidate: Mapping[str, _Sums], stable: Mapping[str, _Sums], intervals: Mapping[str, Interval], margin: float
) -> Verdict:
    """The worst verdict of all slices, whatever their support."""
    return worst(
        regression_verdict(
            name,
            WER,
            candidate[name].errors,
            stable[name].errors,
            interval,
            speakers=interval.speakers,
            margin=margin,
            support=Support(speakers=0, denominator=1),
        )
        for name, interval in intervals.items()
    )


def _bounds(interval: Interval) -> dict[str, float | None]:
    return {"estimate": interval.estimate, "lower": interval.lower, "upper": interval.upper}
