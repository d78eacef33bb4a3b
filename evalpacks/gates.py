"""Gates as policies: evidence in, a verdict with reasons out (R4).

Boundary: pure; reports and a policy in, a GateReport out.
Invariants: no gates at all is Fail, a gate that lacks its evidence is Inconclusive, never Pass (R4.2); exactly on
budget passes (R4.4); quality, serving and safety are separate verdicts and the release has the worst (R4.5).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from contracts.policy import FamilyPolicy, SafetyGate, ServingGate
from contracts.reports import Better, GateReport, SafetyReport, ScoreReport, TimingReport
from contracts.verdict import Value, Verdict, worst

_ROUNDING = 1e-9
"""Relative error of a computed figure that does not turn a value exactly on budget into one over it."""


class Gate(Protocol):
    """One condition of a release, made with the evidence it looks at."""

    def judge(self) -> Verdict:
        """What this gate says; evidence that is missing is Inconclusive, not an exception."""
        ...


@dataclass(frozen=True)
class AllOf:
    """Every gate must pass; the worst verdict counts. No gates at all is Fail (R4.2)."""

    gates: Sequence[Gate]

    def judge(self) -> Verdict:
        """The worst verdict, with all reasons, worst first."""
        return worst(gate.judge() for gate in self.gates)


@dataclass(frozen=True)
class Given:
    """A verdict that was reached elsewhere (a comparison of the score report)."""

    verdict: Verdict

    def judge(self) -> Verdict:
        """The verdict itself."""
        return self.verdict


@dataclass(frozen=True, kw_only=True)
class Budget:
    """A figure against its limit, in its own unit: `final p95 355 ms, budget 400 ms: within`.

    Attributes:
        label, unit: how the figure reads.
        value: what was measured; None is Inconclusive.
        limit: the last value that passes (R4.4).
        better: whether the limit is a ceiling (lower) or a floor (higher).

    >>> Budget(label="final p95", unit=" ms", value=400.0, limit=400.0).judge().reasons
    ('final p95 400 ms, budget 400 ms: within',)
    """

    label: str
    unit: str
    value: float | None
    limit: float
    better: Better = "lower"

    def judge(self) -> Verdict:
        """Pass up to and on the limit, Fail beyond it, Inconclusive without a value."""
        if self.value is None or not math.isfinite(self.value):
            reason = f"{self.label}: not measured, budget {_figures(self.limit, self.limit)[1]}{self.unit}"
            return Verdict(value=Value.INCONCLUSIVE, reasons=(reason,))
        slack = self.limit - self.value if self.better == "lower" else self.value - self.limit
        broken = slack < -_ROUNDING * abs(self.limit)
        side = {"lower": "over", "higher": "under"}[self.better] if broken else "within"
        value, limit = _figures(self.value, self.limit)
        reason = f"{self.label} {value}{self.unit}, budget {limit}{self.unit}: {side}"
        return Verdict(value=Value.FAIL if broken else Value.PASS, reasons=(reason,))


def quality_gate(score: ScoreReport, policy: FamilyPolicy) -> Gate:
    """Every comparison of the score report (R4.1); scores of another policy are an Error: other gates were asked."""
    if score.policy != policy.digest():
        return Given(Verdict(value=Value.ERROR, reasons=("the scores were made under another policy: score again",)))
    return AllOf([Given(comparison.verdict) for comparison in score.comparisons])


def serving_gate(timing: TimingReport, budgets: ServingGate) -> Gate:
    """Speed, size and cost against their budgets (coverage row 10)."""
    partial = timing.first_partial_ms.p95 if timing.first_partial_ms else None
    cost = timing.cost_usd_per_audio_hour
    gates = [
        Budget(label="final p95", unit=" ms", value=timing.final_ms.p95, limit=budgets.final_p95_ms),
        Budget(label="RTF", unit="", value=timing.rtf, limit=budgets.rtf),
        Budget(label="peak memory", unit=" MB", value=timing.peak_memory_mb, limit=budgets.peak_memory_mb),
        Budget(label="cost", unit=" USD/audio hour", value=cost, limit=budgets.cost_usd_per_audio_hour),
    ]
    if budgets.first_partial_p95_ms is not None:
        first = Budget(label="first partial p95", unit=" ms", value=partial, limit=budgets.first_partial_p95_ms)
        gates.insert(0, first)
    return AllOf(gates)


def safety_gate(safety: SafetyReport, budgets: SafetyGate) -> Gate:
    """Words heard where nothing is said, private strings that survive redaction, and the report's own verdict (R4.8).

    No clips, or no planted strings, is Inconclusive.
    """
    share = safety.clips_with_words / safety.clips if safety.clips else None
    leaks = safety.redaction_leaked if safety.redaction_planted else None
    words = f"share of {safety.clips} non-speech clips with words"
    redaction = f"private strings that survived redaction (of {safety.redaction_planted} planted)"
    return AllOf(
        [
            Given(safety.verdict),
            Budget(label=words, unit="", value=share, limit=budgets.max_hallucinating_clips),
            Budget(label=redaction, unit="", value=leaks, limit=budgets.max_redaction_leaks),
        ]
    )


def gate(score: ScoreReport, timing: TimingReport, safety: SafetyReport, policy: FamilyPolicy) -> GateReport:
    """The verdicts of a scored release (R4.5) and the slices a person must look at (R4.6)."""
    quality = quality_gate(score, policy).judge()
    serving = serving_gate(timing, policy.serving).judge()
    harmless = safety_gate(safety, policy.safety).judge()
    verdicts = [quality, serving, harmless]
    if len({score.payload_digest, timing.payload_digest, safety.payload_digest}) > 1:
        mixed = "the score, timing and safety reports are of different payloads: score again"
        verdicts.append(Verdict(value=Value.ERROR, reasons=(mixed,)))
    return GateReport(
        family=score.family,
        version=score.version,
        policy=policy.digest(),
        quality=quality,
        serving=serving,
        safety=harmless,
        verdict=worst(verdicts),
        manual_review=manual_review(score),
    )


def manual_review(score: ScoreReport) -> tuple[str, ...]:
    """`pack/slice` of every high-risk slice that was compared, once each, whatever its verdict (R4.6)."""
    return tuple(dict.fromkeys(f"{row.pack}/{row.slice}" for row in score.comparisons if row.high_risk))


def _figures(value: float, limit: float) -> tuple[str, str]:
    """Both numbers with as many decimals as three digits of the limit need, or as show that they differ."""
    decimals = max(0, 2 - math.floor(math.log10(limit))) if limit > 0 else 0
    while round(value, decimals) == round(limit, decimals) and value != limit and decimals < 9:
        decimals += 1
    return _trimmed(value, decimals), _trimmed(limit, decimals)


def _trimmed(value: float, decimals: int) -> str:
    text = f"{value:.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
