"""Scores of a release: tables of hypotheses in, a ScoreReport out.

Boundary: pure. The seed, the replicates and alpha come with the policy.
Invariants: counts travel, rates are ratios of sums (R3.1, U2); the order of utterances changes nothing, equal inputs
give equal bytes; every gate of the policy yields a comparison for every slice it names, so that a missing pack, slice
or baseline is a verdict (Inconclusive) and never an absence (R4.2).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from contracts.digest import Digest
from contracts.errors import Refused
from contracts.policy import FamilyPolicy
from contracts.reports import ScoreReport, WordCounts
from evalpacks.comparisons import Heard, compare_by_policy
from evalpacks.matching import hypothesis_texts, speaker_codes
from evalpacks.metrics import Outputs
from evalpacks.metrics.words import WordEdits, edit_counts
from evalpacks.normalize import VERSIONS, normalize_all
from evalpacks.pack import Pack
from evalpacks.slices import OVERALL, parse, slice_masks, slice_names


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
