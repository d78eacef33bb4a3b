"""Verdicts and how they combine: the worst one wins.

Boundary: no I/O. Source: release-algorithm R4.2 and R4.5.
Invariants: Pass < Inconclusive < Error < Fail; the worst of nothing is Fail, so missing evidence never passes.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from contracts.document import Part


class Value(StrEnum):
    """A verdict's value, ordered from best to worst."""

    PASS = "pass"  # noqa: S105 - a verdict, not a password
    INCONCLUSIVE = "inconclusive"
    ERROR = "error"
    FAIL = "fail"

    @property
    def severity(self) -> int:
        """0 for Pass up to 3 for Fail."""
        return list(Value).index(self)


class Verdict(Part):
    """A value and its reasons, in sentences with numbers, the worst reason first."""

    value: Value
    reasons: tuple[str, ...] = ()


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The worst value, with the reasons of all verdicts, worst first. No verdict at all is Fail (R4.2)."""
    ordered = sorted(verdicts, key=lambda verdict: -verdict.value.severity)
    if not ordered:
        return Verdict(value=Value.FAIL, reasons=("no gate has given a verdict",))
    return Verdict(value=ordered[0].value, reasons=tuple(reason for verdict in ordered for reason in verdict.reasons))
