"""Scores of a release: what models gave for packs in, a ScoreReport out.

Boundary: pure. The seed, the replicates and alpha come with the policy.
Invariants: counts travel, rates are ratios of sums (R3.1, U2); the order of packs, of their rows and of outputs changes
nothing, equal inputs give equal bytes; every gate of the policy yields a comparison for every slice it names, so that a
missing pack, slice, metric or baseline is a verdict (Inconclusive) and never an absence (R4.2).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from contracts.digest import Digest
from contracts.errors import Refused
from contracts.policy import FamilyPolicy, Task
from contracts.reports import Calibration, EditClasses, ScoreReport, WordCounts
from evalpacks.comparisons import Arm, Heard, compare_by_policy, metrics_of
from evalpacks.matching import hypothesis_texts, speaker_codes
from evalpacks.metrics import METRICS, Evidence, Outputs
from evalpacks.metrics.calibration import calibration
from evalpacks.metrics.classes import confusions, edit_classes
from evalpacks.metrics.routes import route_counts
from evalpacks.metrics.words import WordEdits, edit_counts
from evalpacks.normalize import VERSIONS, normalize_all
from evalpacks.pack import Pack
from evalpacks.slices import OVERALL, parse, slice_masks, slice_names, slice_sums

if TYPE_CHECKING:
    import pandas as pd

    from evalpacks.metrics.metric import Floats


WORDED: frozenset[Task] = frozenset(("transcription", "synthesis", "dialogue"))
"""Tasks whose outputs have words to be compared with the pack's: heard, heard again, or understood."""


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
    parent: Mapping[str, Outputs] | None = None,
    parent_payload: Digest | None = None,
) -> ScoreReport:
    """Score a candidate against the stable one, and against its full-precision parent, by a policy's gates (R3, R4).

    `candidate`, `stable` and `parent` map the name of each pack to what the model gave for it; `stable` is None for a
    first release (R4.3); `parent_payload` is given where the candidate is a quantized model. Raises Refused where a
    table lacks an utterance of its pack, and for a quantized candidate where the policy has no margin for one.
    """
    quantized = parent_payload is not None
    if quantized and policy.quantization is None:
        raise Refused(
            "a quantized candidate has no margin to be held to",
            where=f"families.{policy.family}",
            got="no section `quantization`",
            expected="quantization: {margin: ...}, for the difference from its full-precision model",
            next_step="add it to params.yaml, and release again",
        )
    arms: dict[Arm, Mapping[str, Outputs]] = {"candidate": candidate, "stable": stable or {}, "parent": parent or {}}
    heard = {pack.name: hear_pack(pack, arms, policy, quantized=quantized) for pack in packs if pack.name in candidate}
    worded = heard if policy.task in WORDED else {}
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
        words=_word_table(worded, "candidate"),
        stable_words=_word_table(worded, "stable"),
        comparisons=compare_by_policy(heard, policy, first_release=stable is None, quantized=quantized),
        classes=_class_table(worded, "candidate"),
        stable_classes=_class_table(worded, "stable"),
        confusions={
            name: confusions(pack.evidence["candidate"])
            for name, pack in worded.items()
            if pack.pack.meta.show_transcripts
        },
        calibration=_calibrations(heard, "candidate"),
        stable_calibration=_calibrations(heard, "stable"),
        quantized_from=parent_payload,
        routes={
            f"{name}/{key}": counts
            for name, pack in worded.items()
            for key, counts in route_counts(pack.evidence["candidate"], pack.masks).items()
        },
    )


def hear_pack(
    pack: Pack, arms: Mapping[Arm, Mapping[str, Outputs]], policy: FamilyPolicy, *, quantized: bool = False
) -> Heard:
    """What the models of `arms` gave for a pack, measured by every metric that the policy asks of it."""
    said = pack.utterances["text"].tolist() if policy.task in WORDED else [""] * len(pack.utterances)
    references = normalize_all(said, policy.normalizer)
    evidence = {
        arm: _evidence(pack, arm, outputs[pack.name], references, policy.normalizer)
        for arm, outputs in arms.items()
        if pack.name in outputs
    }
    if "stable" in evidence:
        beside = evidence["stable"].measured
        evidence = {arm: replace(one, beside=beside) for arm, one in evidence.items()}
    names = metrics_of(pack.name, policy, quantized=quantized)
    return Heard(
        pack=pack,
        speakers=speaker_codes(pack.utterances["speaker"].tolist()),
        masks=slice_masks(pack.utterances, _wanted_slices(pack, policy)),
        evidence=evidence,
        counts={(arm, name): METRICS[name].measure(found) for arm, found in evidence.items() for name in names},
    )


def _evidence(pack: Pack, arm: Arm, outputs: Outputs, references: list[str], normalizer: str) -> Evidence:
    """What one model gave for a pack, in the order of its utterances."""
    ids = pack.utterances["utterance_id"].tolist()
    where, again = f"outputs of the {arm} on pack {pack.name}", "run the score step again"
    texts = hypothesis_texts(ids, outputs.texts, where=where, error=Refused, next_step=again)
    hypotheses = normalize_all(texts, normalizer)
    return Evidence(
        utterances=pack.utterances,
        normalizer=normalizer,
        references=references,
        hypotheses=hypotheses,
        words=edit_counts(references, hypotheses),
        confidence=_confidence(ids, outputs.texts),
        stream=outputs.stream,
        intents=pack.meta.intents,
        measured=_in_order(ids, outputs.texts),
    )


def _in_order(ids: Sequence[str], texts: pd.DataFrame) -> pd.DataFrame:
    return texts.set_index("utterance_id").loc[list(ids)].reset_index()


def _confidence(ids: Sequence[str], texts: pd.DataFrame) -> Floats:
    """Confidence of each utterance, NaN where there is none, shape (utterances,)."""
    if "confidence" not in texts.columns:
        return np.full(len(ids), np.nan)
    given = dict(zip(texts["utterance_id"].tolist(), texts["confidence"].tolist(), strict=True))
    return np.array([given[name] for name in ids], dtype=np.float64)


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


def _word_table(heard: Mapping[str, Heard], arm: Arm) -> dict[str, WordCounts]:
    return {
        f"{name}/{key}": words
        for name, pack in heard.items()
        if arm in pack.evidence
        for key, words in _word_counts(pack, pack.evidence[arm].words).items()
    }


def _word_counts(heard: Heard, edits: WordEdits) -> dict[str, WordCounts]:
    """Word errors of each slice of a pack."""
    sums = slice_sums(heard.masks, [*edits, np.ones(len(edits.reference_words), dtype=np.int64)])
    return {
        name: WordCounts(
            **dict(zip([*WordEdits._fields, "utterances"], counts, strict=True)),
            speakers=int(np.count_nonzero(np.bincount(heard.speakers[heard.masks[name]]))),
        )
        for name, counts in sums.items()
    }


def _class_table(heard: Mapping[str, Heard], arm: Arm) -> dict[str, EditClasses]:
    return {
        f"{name}/{key}": classes
        for name, pack in heard.items()
        if arm in pack.evidence
        for key, classes in edit_classes(pack.evidence[arm], pack.masks).items()
    }


def _calibrations(heard: Mapping[str, Heard], arm: Arm) -> tuple[Calibration, ...]:
    """Of each pack in order of names; a model without confidence has none."""
    found = [calibration(pack.evidence[arm], name) for name, pack in sorted(heard.items()) if arm in pack.evidence]
    return tuple(one for one in found if one is not None)
