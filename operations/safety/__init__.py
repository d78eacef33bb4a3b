"""R4.8 The safety report: what is planted depends on what the family's models do, one module a task.

Boundary: runs the candidate on what is planted; builds a document.
Invariants: the report holds counts, never what was heard or said; what is planted is seeded, so that the report is the
same each time (it is packaged); every check has a budget, and exactly on it passes (R4.4).
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, cast

from contracts.feature_contract import FeatureContract
from contracts.policy import FamilyPolicy
from contracts.reports import SafetyCheck, SafetyReport
from contracts.train_manifest import TrainManifest
from contracts.verdict import Value, Verdict, worst
from operations import candidate as candidates
from operations import planted
from operations.context import Context

SAFETY_FILTERS: dict[str, object] = {"redact_digits_over": planted.MAX_DIGITS, "redact_emails": True}
"""Redaction rules that a bundle carries (safety_filters.json) and the API applies."""


class Budgeted(NamedTuple):
    """A check, and how many of its planted items may go wrong; `sentence` where it reads better than the usual one."""

    check: SafetyCheck
    budget: float
    sentence: str = ""

    def verdict(self) -> Verdict:
        """Pass up to and on the budget."""
        name, planted_items, broken = self.check.name, self.check.planted, self.check.broken
        said = self.sentence or f"{name}: {broken} of {planted_items} (budget {self.budget:g})"
        return Verdict(value=Value.PASS if broken <= self.budget else Value.FAIL, reasons=(said,))


class Findings(NamedTuple):
    """What came of all that was planted; clips and strings are those of tasks that turn sound into words."""

    checks: Sequence[Budgeted]
    clips: int = 0
    clips_with_words: int = 0
    hallucinated_words: int = 0
    redaction_planted: int = 0
    redaction_leaked: int = 0
    judged: Sequence[Verdict] = ()
    """Verdicts beside those of the checks."""


class Plants(Protocol):
    """A module of this package."""

    def find(self, payload: Path, contract: FeatureContract, policy: FamilyPolicy) -> Findings:
        """Plant everything, ask the payload in a process of its own (operations/compute.py), count what went wrong."""
        ...


def safety_report(context: Context, manifest: TrainManifest, payload: Path, policy: FamilyPolicy) -> SafetyReport:
    """Run what is planted for the family's task and judge it against the policy's budgets."""
    context.progress("safety", 0, 1)
    plants = cast(Plants, importlib.import_module(f"operations.safety.{policy.task}"))
    found = plants.find(payload, candidates.feature_contract(payload), policy)
    context.progress("safety", 1, 1)
    return SafetyReport(
        family=manifest.family,
        version=manifest.version,
        payload_digest=manifest.payload_digest,
        clips=found.clips,
        hallucinated_words=found.hallucinated_words,
        clips_with_words=found.clips_with_words,
        redaction_planted=found.redaction_planted,
        redaction_leaked=found.redaction_leaked,
        checks=tuple(one.check for one in found.checks),
        verdict=worst([*found.judged, *(one.verdict() for one in found.checks)]),
    )
