"""Scores of a release: tables of hypotheses in, a ScoreReport out; and the scores of anyone's transcripts.

Boundary: pure. The seed, the replicates and alpha come with the policy.
Invariants: counts travel, rates are ratios of sums (R3.1, U2); the order of utterances changes nothing, equal inputs
give equal bytes; every gate of the policy yields a comparison for every slice it names, so that a missing pack, slice
or baseline is a verdict (Inconclusive) and never an absence (R4.2).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from contracts.digest import Digest
from contracts.errors import Refused, SoundcheckError, WrongCall
from contracts.policy import FamilyPolicy
from contracts.reports import Count, ScoreReport, WordCounts
from contracts.verdict import worst
from evalpacks.comparisons import Heard, compare_by_policy
from evalpacks.metrics import WER, Outputs
from evalpacks.metrics.words import WordEdits, edit_counts
from evalpacks.normalize import VERSIONS, normalize_all
from evalpacks.pack import Pack
from evalpacks.slices import OVERALL, Mask, parse, slice_masks, slice_names
from evalpacks.statistics import Integers, Paired, Support, compare, regression_verdict

if TYPE_CHECKING:
    import pandas as pd

_SHOWN = 10


def score_report(
    *,
    family: str,
    version: str,
    payload_digest: Digest,
    stable_payload: Digest | None,
    packs: Sequence[Pack],
    candidate: Mapping[str, Outputs],
    stable: Mapping[str, Outputs] | None,
    policy: FamilyPolicy,
) -> ScoreReport:
    """Score a candidate against the stable one by the gates of a policy (R3, R4).

    `candidate` and `stable` map the name of each pack to what the model gave for it; `stable` is None for a first
    release (R4.3). Raises Refused where a table lacks an utterance of its pack.
    """
    heard = {pack.name: _hear(pack, candidate, stable, policy) for pack in packs if pack.name in candidate}
    settings = policy.statistics
    return ScoreReport(
        family=family,
        version=version,
        payload_digest=payload_digest,
        stable_payload=stable_payload,
        packs={pack.name: pack.digest for pack in packs},
        policy=policy.digest(),
        normalizer=VERSIONS[policy.normalizer],
        alpha=settings.alpha,
        replicates=settings.replicates,
        words=_word_table(heard, stable=False),
        stable_words=_word_table(heard, stable=True),
        comparisons=compare_by_policy(heard, policy, first_release=stable is None),
    )


def hypothesis_texts(
    utterance_ids: Sequence[str], table: pd.DataFrame, *, where: str, error: type[SoundcheckError], next_step: str
) -> list[str]:
    """The text of each utterance, in order; raises `error` naming the ids that the table repeats or lacks."""
    refuse_repeats(table["utterance_id"].tolist(), where=where, error=error)
    texts = dict(zip(map(str, table["utterance_id"].tolist()), table["text"].tolist(), strict=True))
    missing = [name for name in utterance_ids if not isinstance(texts.get(name), str)]
    if missing:
        raise error(
            f"{len(missing)} of {len(utterance_ids)} utterances have no hypothesis",
            where=where,
            got="missing: " + _named(missing),
            expected="one hypothesis for every utterance",
            next_step=next_step,
        )
    return [texts[name] for name in utterance_ids]


def refuse_repeats(utterance_ids: Sequence[str], *, where: str, error: type[SoundcheckError]) -> None:
    """Raise `error` where an id occurs twice."""
    if len(set(utterance_ids)) < len(utterance_ids):
        repeated = sorted(str(name) for name, times in Counter(utterance_ids).items() if times > 1)
        raise error(
            f"{len(repeated)} utterance id{' occurs' if len(repeated) == 1 else 's occur'} more than once",
            where=where,
            got=_named(repeated),
            expected="one row an utterance",
        )


def speaker_codes(speakers: Sequence[str]) -> Integers:
    """Speakers as 0, 1, ... in sorted order of their names, shape (utterances,)."""
    return np.unique(np.asarray(speakers, dtype=object), return_inverse=True)[1].astype(np.int64)


def _hear(
    pack: Pack, candidate: Mapping[str, Outputs], stable: Mapping[str, Outputs] | None, policy: FamilyPolicy
) -> Heard:
    table = pack.utterances
    references = normalize_all(table["text"].tolist(), policy.normalizer)

    def edits(outputs: Outputs, arm: str) -> WordEdits:
        where = f"outputs of the {arm} on pack {pack.name}"
        again = "run the score step again"
        texts = hypothesis_texts(
            table["utterance_id"].tolist(), outputs.texts, where=where, error=Refused, next_step=again
        )
        return edit_counts(references, normalize_all(texts, policy.normalizer))

    return Heard(
        pack=pack,
        candidate=edits(candidate[pack.name], "candidate"),
        stable=edits(stable[pack.name], "stable") if stable is not None and pack.name in stable else None,
        speakers=speaker_codes(table["speaker"].tolist()),
        masks=slice_masks(table, _wanted_slices(pack, policy)),
    )


def _wanted_slices(pack: Pack, policy: FamilyPolicy) -> list[str]:
    """Overall, every value of every slice column, the protected slices, and what the gates name, once each."""
    named = [
        name
        for gate in policy.quality
        if gate.pack == pack.name and not isinstance(gate.slices, str)
        for name in gate.slices
        if set(parse(name)) <= set(pack.slices)
    ]
    return list(dict.fromkeys([OVERALL, *slice_names(pack.utterances, pack.slices), *pack.protected, *named]))


def _word_table(heard: Mapping[str, Heard], *, stable: bool) -> dict[str, WordCounts]:
    table: dict[str, WordCounts] = {}
    for name, pack in heard.items():
        edits = pack.stable if stable else pack.candidate
        if edits is not None:
            table |= {f"{name}/{key}": pack.words(edits, key) for key in pack.masks}
    return table


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


def _named(ids: Sequence[str]) -> str:
    return ", ".join(ids[:_SHOWN]) + (f", and {len(ids) - _SHOWN} more" if len(ids) > _SHOWN else "")
