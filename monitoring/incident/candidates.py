"""Which bundle to take back first: the one whose regressions, critical slices weighted, hurt most.

Boundary: pure. Source: coverage 27 (lab 3 of the serving runbook); release-algorithm B2; registry.resolver.weigh.
Invariants: a regression of a critical slice can outweigh a larger one elsewhere; gains do not count; what cannot be
compared is no harm and no relief.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from contracts.digest import Digest
from contracts.incident import Candidate, Regression
from registry.resolver import weigh

CRITICAL = 10.0
PROTECTED = 3.0
"""Weights of a slice of high risk, and of one that the release gates protect; any other has 1."""


def weigh_candidates(
    regressions: Iterable[Regression], weights: Mapping[str, float], versions: Mapping[Digest, str]
) -> tuple[Candidate, ...]:
    """Bundles with confirmed harm, the most harmful first."""
    harm: dict[str, dict[str, float]] = {}
    for one in regressions:
        if one.confirmed and one.severity is not None and one.bundle is not None:
            slices = harm.setdefault(one.bundle, {})
            slices[one.slice] = max(slices.get(one.slice, 0.0), 1.0 + one.severity)
    ordered = []
    left = dict(harm)
    while (worst := weigh(left, weights)) is not None:
        slices = left.pop(worst)
        weighted = sum(severity * weights.get(name, 1.0) for name, severity in slices.items())
        ordered.append(
            Candidate(bundle=worst, version=versions.get(worst, ""), harm=weighted, slices=len(slices))
        )  # fmt: skip
    return tuple(ordered)
