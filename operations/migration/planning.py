"""Whether a candidate may leave the vector space that is served: its plan, and what B4 asks of indexes.

Boundary: reads the candidate's folder, the ledger, documents and the family's indexes; writes nothing.
Invariants: a candidate of another space without a plan is refused before it is scored, and so is a plan for another
move; where a plan takes voiceprints along, scores across versions are not asked, in sight of every reader.
"""

from __future__ import annotations

from pathlib import Path

import yaml
from pydantic import ValidationError

from contracts.digest import Digest, short
from contracts.errors import Refused, SoundcheckError
from contracts.feature_contract import FeatureContract
from contracts.migration import MIGRATION_FILE, MigrationPlan, Space
from contracts.reports import Comparison, ScoreReport
from contracts.verdict import Value, Verdict
from operations.context import Context
from operations.payload import feature_contract
from registry.documents import get_document

ACROSS = "cross_version_eer"
"""The metric that a plan makes moot."""


def indexes(context: Context, family: str) -> Path:
    """Where a family's indexes lie."""
    return context.home / "indexes" / family


def read_plan(folder: Path) -> MigrationPlan | None:
    """The plan in a candidate's folder; None where it has none, Refused where it does not parse."""
    path = folder / MIGRATION_FILE
    if not path.is_file():
        return None
    try:
        return MigrationPlan.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (yaml.YAMLError, ValidationError) as error:
        first = error.errors(include_input=False)[0] if isinstance(error, ValidationError) else None
        where = ".".join(str(part) for part in first["loc"]) if first else ""
        raise Refused(
            "the migration plan does not parse", where=f"{folder.name}/{MIGRATION_FILE} {where}".strip(),
            got=first["msg"] if first else "not YAML", expected="the fields of contracts/migration.py",
            next_step="correct the plan and run the release again (docs/speaker-embedding.md)",
        ) from None  # fmt: skip


def space_of(contract: FeatureContract) -> Space | None:
    """The vector space of a payload; None for one that makes no vectors."""
    if not contract.space or contract.dimension is None:
        return None
    return Space(name=contract.space, dimension=contract.dimension)


def plan_of(context: Context, captured: dict[str, Digest]) -> MigrationPlan | None:
    """The plan that was captured with a candidate."""
    digest = captured.get("migration_plan")
    return get_document(context.store, MigrationPlan, digest) if digest else None


def require_plan(context: Context, family: str, contract: FeatureContract, plan: MigrationPlan | None) -> None:
    """Refuse a candidate of another vector space than the stable one's unless its plan is for exactly this move."""
    current = context.ledger(family).state().current
    own, served = space_of(contract), space_of(feature_contract(context, current)) if current else None
    if own is None or served is None or own == served:
        return
    if plan is None:
        raise Refused(
            "the candidate's vectors are of another space than those that are enrolled, and it has no migration plan",
            where=f"{family}, {MIGRATION_FILE} in the candidate's folder",
            got=f"{_said(own)}; stable {short(current or '')} has {_said(served)}",
            expected="reindex, dual_write, backfill, shim and rollback, or the stable one's space",
            next_step=f"write {MIGRATION_FILE} (docs/speaker-embedding.md) and run the release again",
        )
    if (plan.source, plan.target) != (served, own):
        raise Refused(
            "the migration plan is for another move",
            where=f"{family}, {MIGRATION_FILE} in the candidate's folder",
            got=f"from {_said(plan.source)} to {_said(plan.target)}",
            expected=f"from {_said(served)} to {_said(own)}",
            next_step="correct the plan and run the release again",
        )


def _said(space: Space) -> str:
    return f"{space.name} ({space.dimension} components)"


def without_comparing_spaces(report: ScoreReport, plan: MigrationPlan | None) -> ScoreReport:
    """The report, where a plan takes voiceprints along: scores across versions pass, and say that nobody makes them."""
    if plan is None:
        return report
    return report.model_copy(update={"comparisons": tuple(_moot(row, plan) for row in report.comparisons)})


def _moot(row: Comparison, plan: MigrationPlan) -> Comparison:
    if row.metric != ACROSS:
        return row
    reason = (
        f"{row.pack}/{row.slice}: no probe meets a voiceprint of another version; the migration plan takes them from "
        f"{plan.source.name} to {plan.target.name}"
    )
    return row.model_copy(update={"verdict": Verdict(value=Value.PASS, reasons=(reason,))})


def index_fault(context: Context, family: str, current: FeatureContract, target: FeatureContract) -> str | None:
    """B4: why the target's vectors would find nobody, or not all; None where it has the current one's space, or an
    index that knows everybody whom the current one's knows."""
    now, then = space_of(current), space_of(target)
    if now is None or then is None or now == then:
        return None
    from registry import vector_index  # numpy is imported where vectors are at stake, not by every rollback

    folder = indexes(context, family)
    change = f"vectors change from {_said(now)} to {_said(then)}"
    try:
        here, there = (vector_index.read(folder, space.name).card.keys for space in (now, then))
    except SoundcheckError as error:
        return f"{change}: {error.what} ({error.got})"
    lost = here.keys() - there.keys()
    return f"{change}, whose index lacks {len(lost)} of {len(here)} voiceprints" if lost else None


def refuse_without_index(context: Context, family: str, bundle: Digest) -> None:
    """Refuse to let a bundle answer whose vectors would not find everybody who is enrolled."""
    current = context.ledger(family).state().current
    if current is None:
        return
    fault = index_fault(context, family, feature_contract(context, current), feature_contract(context, bundle))
    if fault:
        raise Refused(
            "the bundle's vectors would not find everybody who is enrolled", where=f"{family}, bundle {short(bundle)}",
            got=fault, expected="an index of its space that is complete",
            next_step="run the release again: its migration fills what is missing",
        )  # fmt: skip
