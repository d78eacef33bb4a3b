"""What to do about drift: nothing, a ticket, a slice or a pack, a page, or a rollback that a person decides on.

Boundary: pure. Source: coverage 36, 37, 47 (lower-severity drift is a ticket, harm pages).
Invariants: every outcome but `nothing` says why in sentences, the most urgent first; a rollback is recommended for what
is stable's own doing alone: what it makes of traffic that did not move got worse, or it refuses rates that the bundle
before takes while all else of our own is as promised.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from contracts.drift import Cause, DriftSettings, Expectation, Moved, Outcome, PackCoverage, PipelineCheck
from contracts.verdict import Value, Verdict
from monitoring.drift.coverage import needs_pack

_URGENCY: tuple[Outcome, ...] = ("nothing", "ticket", "propose_slice", "propose_pack", "page", "recommend_rollback")


class Seen(NamedTuple):
    """All that an outcome rests on."""

    moved: Sequence[Moved]
    checks: Sequence[PipelineCheck]
    cause: Cause
    coverage: PackCoverage
    expectations: Sequence[Expectation]
    waiting: Sequence[str] = ()
    rates_fit_before: bool = False
    """Whether the bundle that a rollback goes to takes the rates that stable refuses."""


class Advice(NamedTuple):
    """The outcome, its verdict with reasons, and commands to begin with."""

    outcome: Outcome
    verdict: Verdict
    commands: tuple[str, ...]


def advise(family: str, seen: Seen, settings: DriftSettings) -> Advice:
    """The most urgent of all that the findings ask for."""
    asked = sorted(_asked(seen, settings), key=lambda one: -_URGENCY.index(one[0]))
    outcome = asked[0][0] if asked else "nothing"
    if not asked:
        still = seen.waiting or ("no signal moved on any slice",)
        return Advice(outcome, Verdict(value=Value.PASS, reasons=tuple(still)), ())
    value = Value.FAIL if outcome in ("page", "recommend_rollback") else Value.INCONCLUSIVE
    reasons = tuple(dict.fromkeys(reason for _, reason in asked))
    return Advice(outcome, Verdict(value=value, reasons=reasons), _commands(family, outcome))


def _asked(seen: Seen, settings: DriftSettings) -> list[tuple[Outcome, str]]:
    asked: list[tuple[Outcome, str]] = []
    failed = [check for check in seen.checks if check.same is False]
    repaired: Outcome = "recommend_rollback" if seen.rates_fit_before and len(failed) == 1 else "page"
    asked += [(repaired, f"{check.name}: {check.says}") for check in failed]
    for one in seen.moved:
        harm = one.worse and one.signal in settings.page_on and abs(one.change) >= 2 * one.margin
        urgent: Outcome = "recommend_rollback" if seen.cause == "bundle" else "page"
        asked.append((urgent if harm else "ticket", in_words(one)))
    lacking = seen.coverage.uncovered
    if lacking:
        proposed: Outcome = "propose_pack" if needs_pack(lacking) else "propose_slice"
        asked += [(proposed, f"proposed: {text}") for text in seen.coverage.proposals]
    asked += [
        ("ticket", f"telemetry breaks {one.expectation} on {one.column} in {one.rows} rows")
        for one in seen.expectations
    ]
    return asked


def in_words(one: Moved) -> str:
    """A finding as a sentence: what, where, from what to what, how sure."""
    where = "" if one.slice == "overall" else f" on {one.slice}"
    unit = "" if one.unit == "share" else f" {one.unit}"
    figures = [f"{value:.1%}" if one.unit == "share" else f"{value:.4g}" for value in (one.before, one.now)]
    bounds = [f"{value:+.1%}" if one.unit == "share" else f"{value:+.3g}" for value in (one.lower, one.upper)]
    return f"{one.says}{where}: {figures[0]} -> {figures[1]}{unit} (change [{bounds[0]}, {bounds[1]}])"


def _commands(family: str, outcome: Outcome) -> tuple[str, ...]:
    if outcome == "recommend_rollback":
        return (f"soundcheck rollback {family} --key KEY --reason TEXT", f"soundcheck status {family}")
    if outcome == "page":
        return (f"soundcheck incident open {family} --since 24h", f"soundcheck status {family}")
    if outcome in ("propose_slice", "propose_pack"):
        return ("soundcheck pack check data/packs/NAME",)
    return (f"soundcheck drift {family} --json",)
