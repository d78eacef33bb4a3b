"""The step `migrate`: before the canary, an index of the candidate's vector space that is as good as the old one.

Boundary: as operations/migration/__init__.py; writes one report and one ledger event, where there is a plan.
Invariants: the old index is only read; nobody is answered by the candidate before its index is complete; what was
filled stays when the process dies, and is not made again; a check that fails stops the release, with the report in the
ledger. A first release, and one that stays in its space, fills the index of that space and writes no event.
Clauses, as the plan names them: 1 reindex and backfill, 2 dual write (voiceprints.enrol: the new index exists from
here on), 3 checks, 4 shim, 5 rollback (`retire` keeps the old index for the days of the plan).
"""

from __future__ import annotations

import shutil
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from pydantic import JsonValue

from contracts.digest import Digest, short
from contracts.errors import Refused
from contracts.migration import MigrationPlan, MigrationReport, RecallCount, ShimReport, WayBack
from contracts.policy import FamilyPolicy
from contracts.verdict import Value, Verdict
from operations.context import Context, once, put
from operations.gate import Stopped
from operations.migration import shim, voiceprints
from operations.migration.planning import indexes, plan_of, space_of
from operations.packs import built, required_packs
from operations.payload import feature_contract
from registry import vector_index
from registry.documents import get_document
from registry.vector_index import Vector, VectorIndex

if TYPE_CHECKING:
    import pandas as pd

    from evalpacks.pack import Pack

STEP = "migrate"


def migrate(
    context: Context, family: str, captured: dict[str, Digest], packaged: dict[str, Digest]
) -> dict[str, Digest]:
    """Outputs: `migration_report` where the candidate's plan is carried out, else none; raises Stopped."""
    policy = get_document(context.store, FamilyPolicy, captured["policy"])
    if policy.task != "embedding":
        return {}
    bundle, stable, plan = packaged["bundle"], context.ledger(family).state().current, plan_of(context, captured)
    moves = stable is not None and space_of(feature_contract(context, stable)) != space_of(
        feature_contract(context, bundle)
    )
    if stable is None or plan is None or not moves:
        voiceprints.fill(context, family, bundle, _enrolling(required_packs(context, family)))
        return {}
    pack = built(context, plan.backfill.pack)
    inputs = {"migration_plan": captured["migration_plan"], "bundle": bundle, "stable": stable}
    inputs[f"pack.{pack.name}"] = pack.digest
    move = _Move(family, plan, captured["migration_plan"], stable, bundle, pack)

    def body() -> tuple[dict[str, Digest], dict[str, JsonValue]]:
        report = _carry_out(context, move)
        (digest,) = put(context, report)
        facts: dict[str, JsonValue] = {"voiceprints": report.target_count, "recall": report.target_recall.rate}
        facts |= {"source_recall": report.source_recall.rate, "reasons": list(report.faults)}
        return {"migration_report": digest}, facts

    release = captured["release"]
    outputs = once(
        context, family=family, release=release, step=STEP, inputs=inputs, body=body,
        settled=lambda facts: not facts["reasons"],
    )  # fmt: skip
    report = get_document(context.store, MigrationReport, outputs["migration_report"])
    if report.faults:
        version = context.ledger(family).state().releases[release].version
        raise Stopped(
            STEP, Verdict(value=Value.FAIL, reasons=report.faults), family=family, version=version, release=release,
            next_step="the old index serves on; correct the plan or the candidate, and run the release again",
        )  # fmt: skip
    return outputs


class _Move(NamedTuple):
    """A migration as it was asked for."""

    family: str
    plan: MigrationPlan
    plan_digest: Digest
    stable: Digest
    bundle: Digest
    pack: Pack


def _enrolling(packs: list[Pack]) -> Pack:
    """The first pack that says who enrols."""
    for pack in packs:
        if "role" in pack.utterances.columns:
            return pack
    raise Refused(
        "no pack of the family says who is enrolled", where=", ".join(pack.name for pack in packs) or "no pack",
        expected="a column `role` with enrolment and probe", next_step="soundcheck pack build speaker-trials",
    )  # fmt: skip


def _carry_out(context: Context, move: _Move) -> MigrationReport:
    plan, batch = move.plan, move.plan.reindex.batch
    old, new = (
        voiceprints.fill(context, move.family, one, move.pack, batch=batch) for one in (move.stable, move.bundle)
    )
    heard = _hear(context, move)
    names = heard.probes["speaker"].tolist()
    source = shim.recall(_first(old, heard.old_probes, plan.source.name), names)
    target = shim.recall(_first(new, heard.new_probes, plan.target.name), names)
    bridge = _bridge(context, move, heard, new) if plan.shim else None
    missing = len(new.card.keys.keys() - old.card.keys.keys())
    return MigrationReport(
        family=move.family,
        plan=move.plan_digest,
        source=plan.source,
        target=plan.target,
        source_bundle=move.stable,
        target_bundle=move.bundle,
        source_count=len(old.card.keys),
        target_count=len(new.card.keys),
        source_recall=source,
        target_recall=target,
        margin=plan.reindex.max_recall_loss,
        shim=bridge,
        way_back=WayBack(missing=missing, keep_old_index_days=plan.rollback.keep_old_index_days),
        faults=tuple(_faults(plan, old, new, source, target, bridge)),
    )


class _Heard(NamedTuple):
    """What both models make of enrolments and of probes, (utterances, dimension) each."""

    enrolments: pd.DataFrame
    probes: pd.DataFrame
    old_enrolments: Vector
    new_enrolments: Vector
    old_probes: Vector
    new_probes: Vector


def _hear(context: Context, move: _Move) -> _Heard:
    from evalpacks.metrics.embedding import ENROLMENT, PROBE

    table = move.pack.utterances
    enrolments, probes = (table[table["role"] == role] for role in (ENROLMENT, PROBE))
    both = (
        voiceprints.embedded(context, bundle, rows, move.pack.root)
        for rows in (enrolments, probes)
        for bundle in (move.stable, move.bundle)
    )
    return _Heard(enrolments, probes, *both)


def _first(index: VectorIndex, vectors: Vector, space: str) -> list[str | None]:
    """Whom each vector finds first in the index; None where there is no vector."""
    return [
        index.search(vector, space=space, count=1)[0].key if np.isfinite(vector).all() else None for vector in vectors
    ]


def _bridge(context: Context, move: _Move, heard: _Heard, new: VectorIndex) -> ShimReport:
    """Fit the shim on one half of the speakers, keep it, and measure it on the other half's probes."""
    plan = move.plan
    speakers = sorted(set(heard.enrolments["speaker"]))
    fitted = set(speakers[::2])
    old, new_vectors = (
        np.concatenate([part[rows["speaker"].isin(fitted).to_numpy()] for rows, part in pairs])
        for pairs in (
            ((heard.enrolments, heard.old_enrolments), (heard.probes, heard.old_probes)),
            ((heard.enrolments, heard.new_enrolments), (heard.probes, heard.new_probes)),
        )
    )
    both = np.isfinite(old).all(axis=1) & np.isfinite(new_vectors).all(axis=1)
    matrix = shim.fit(old[both], new_vectors[both])
    asked = ~heard.probes["speaker"].isin(fitted).to_numpy()
    names = heard.probes["speaker"][asked].tolist()
    with vector_index.writing(indexes(context, move.family)):
        digest = vector_index.keep_shim(indexes(context, move.family), plan.source.name, plan.target.name, matrix)
    mapped = shim.mapped(matrix, heard.old_probes[asked])
    return ShimReport(
        matrix=digest,
        pairs=int(both.sum()),
        recall=shim.recall(_first(new, mapped, plan.target.name), names),
        native=shim.recall(_first(new, heard.new_probes[asked], plan.target.name), names),
    )


def _faults(
    plan: MigrationPlan,
    old: VectorIndex,
    new: VectorIndex,
    source: RecallCount,
    target: RecallCount,
    bridge: ShimReport | None,
) -> list[str]:
    faults = []
    if lost := old.card.keys.keys() - new.card.keys.keys():
        faults.append(
            f"{len(lost)} of {len(old.card.keys)} voiceprints of {plan.source.name} are not in {plan.target.name}: "
            "no enrolment audio of theirs was kept"
        )
    if strangers := new.card.keys.keys() - old.card.keys.keys():
        faults.append(
            f"{len(strangers)} of {len(new.card.keys)} voiceprints of {plan.target.name} are not in "
            f"{plan.source.name}: the old bundle could not return (B4)"
        )
    if source.rate - target.rate > plan.reindex.max_recall_loss:
        faults.append(
            f"recall@1 falls from {source.rate:.1%} to {target.rate:.1%} "
            f"(at most {plan.reindex.max_recall_loss:.1%} is allowed)"
        )
    if bridge and plan.shim and bridge.native.rate - bridge.recall.rate > plan.shim.max_recall_loss:
        faults.append(
            f"through the shim recall@1 is {bridge.recall.rate:.1%}, natively {bridge.native.rate:.1%} "
            f"(at most {plan.shim.max_recall_loss:.1%} less is allowed)"
        )
    return faults


def retire(context: Context, family: str, space: str) -> None:
    """Remove the index of a space that is served no longer.

    Raises Refused for the space of the stable bundle, and before the days that the plan keeps it.
    """
    state = context.ledger(family).state()
    served = space_of(feature_contract(context, state.current)) if state.current else None
    if served is not None and served.name == space:
        raise Refused(
            "the index is served", where=family, got=f"{space}, of stable {short(state.current or '')}",
            expected="a space that no stable bundle has", next_step="soundcheck index status " + family,
        )  # fmt: skip
    until = _kept_until(context, family, space)
    if until is not None and context.now() < until:
        raise Refused(
            "the migration plan keeps this index, so that the old bundle can return", where=f"{family}, {space}",
            got=context.timestamp(), expected=f"after {until.date().isoformat()}", next_step="wait until then",
        )  # fmt: skip
    vector_index.read(indexes(context, family), space)
    with vector_index.writing(indexes(context, family)):
        shutil.rmtree(indexes(context, family) / space)


def _kept_until(context: Context, family: str, space: str) -> datetime | None:
    """When the newest migration away from a space lets its index go; None where there was none."""
    for event in reversed(context.ledger(family).events()):
        if event.step == STEP and event.outcome == "complete":
            plan = get_document(context.store, MigrationPlan, event.inputs["migration_plan"])
            if plan.source.name == space:
                return datetime.fromisoformat(event.at) + timedelta(days=plan.rollback.keep_old_index_days)
    return None
