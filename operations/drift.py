"""Drift re-evaluation: the stable bundle is scored again on its packs; nothing but the environment can have changed.

Boundary: runs the stable payload; writes one document and one ledger event.
Invariants: a pack that changed since the release is said and is not compared; equal counts are the only Pass.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.bundle import BundleManifest
from contracts.digest import Digest
from contracts.errors import Refused
from contracts.policy import FamilyPolicy
from contracts.reports import Count, DriftReport, ScoreReport, WordCounts
from contracts.verdict import Value, Verdict, worst
from operations import pointer, shards
from operations.context import Context, put
from operations.packs import required_packs
from operations.payload import materialise
from operations.score import hear_packs
from registry.documents import get_document

if TYPE_CHECKING:
    from evalpacks.pack import Pack


def drift(context: Context, family: str) -> DriftReport:
    """Score stable again and compare it with the report that is in its bundle."""
    stable = pointer.current(context, family).stable
    if stable is None:
        raise Refused("the family has no stable bundle", where=family, next_step=f"soundcheck release {family}")
    policy = context.settings.policy(family)
    manifest = get_document(context.store, BundleManifest, stable)
    released = get_document(context.store, ScoreReport, manifest.files["reports/quality.json"].sha256)
    packs = required_packs(context, family)
    measured = _measure(context, stable, manifest, packs, policy)
    keys = [f"{pack.name}/overall" for pack in packs]
    report = DriftReport(
        family=family,
        bundle=stable,
        released={key: _count(released.words[key]) for key in keys if key in released.words},
        measured={key: _count(measured.words[key]) for key in keys},
        verdict=worst(_compare(pack, released, measured) for pack in packs),
    )
    (digest,) = put(context, report)
    context.ledger(family).append(
        "drift", "complete", at=context.timestamp(), inputs={"bundle": stable}, outputs={"drift_report": digest},
        data={"verdict": report.verdict.value.value},
    )  # fmt: skip
    return report


def _measure(
    context: Context, stable: Digest, manifest: BundleManifest, packs: list[Pack], policy: FamilyPolicy
) -> ScoreReport:
    from evalpacks.scoring import score_report

    materialise(context, manifest)
    run = f"drift-{stable}"
    shards.remove(context.settings, run)  # what was heard on another day says nothing of today
    heard = hear_packs(context, run, [manifest.payload_digest], packs, shards.here(context.settings))
    shards.remove(context.settings, run)
    return score_report(
        family=manifest.family, version=manifest.version, payload_digest=manifest.payload_digest, stable_payload=None,
        packs=packs, candidate=heard[manifest.payload_digest], stable=None, policy=policy,
    )  # fmt: skip


def _count(words: WordCounts) -> Count:
    errors = words.substitutions + words.deletions + words.insertions
    return Count(numerator=errors, denominator=words.reference_words)


def _compare(pack: Pack, released: ScoreReport, measured: ScoreReport) -> Verdict:
    if released.packs.get(pack.name) != pack.digest:
        return Verdict(
            value=Value.INCONCLUSIVE, reasons=(f"the pack {pack.name} is not the one the bundle was released on",)
        )
    key = f"{pack.name}/overall"
    before, after = _count(released.words[key]), _count(measured.words[key])
    if before == after:
        return Verdict(value=Value.PASS, reasons=(f"{pack.name}: {_rate(after)} as released, every count equal",))
    return Verdict(
        value=Value.FAIL,
        reasons=(f"{pack.name}: WER {_rate(before)} when released, {_rate(after)} now: the environment changed",),
    )


def _rate(count: Count) -> str:
    return f"{count.rate:.2%}" if count.rate is not None else "no rate"
