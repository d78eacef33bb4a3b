"""Gates as policies: evidence in, a verdict with reasons out (R4).

Boundary: pure; reports and a policy in, a GateReport out.
Invariants: no gates at all is Fail, a gate that lacks its evidence is Inconclusive, never Pass (R4.2); exactly on
budget passes (R4.4); quality, serving and safety are separate verdicts and the release has the worst (R4.5).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from contracts.policy import FamilyPolicy, SafetyGate, ServingGate
from contracts.reports import Better, GateReport, SafetyReport, ScoreReport, TimingReport
from contracts.verdict import Value, Verdict, worst

Evidence = TypeVar("Evidence", contravariant=True)

_ROUNDING = 1e-9
"""Relative error of a computed figure that does not turn a value exactly on budget into one over it."""


class Gate(Protocol[Evidence]):
    """One condition of a release."""

    def judge(self, evidence: Evidence) -> Verdict:
        """What this gate says of the evidence; never raises for evidence that is missing."""
        ...


@dataclass(frozen=True)
class AllOf(Generic[Evidence]):
    """Every gate must pass; the worst verdict counts. No gates at all is Fail (R4.2)."""

    gates: Sequence[Gate[Evidence]]

    def judge(self, evidence: Evidence) -> Verdict:
        """The worst verdict, with all reasons, worst first."""
        return worst(gate.judge(evidence) for gate in self.gates)


@dataclass(frozen=True, kw_only=True)
class Budget:
    """A figure against its limit, in its own unit: `final p95 355 ms, budget 400 ms: within`.

    Attributes:
        label, unit: how the figure reads.
        value: what was measured; None is Inconclusive.
        limit: the last value that passes (R4.4).
        better: whether the limit is a ceiling (lower) or a floor (higher).
    """

    label: str
    unit: str
    value: float | None
    limit: float
    better: Better = "lower"

    def judge(self, _: object = None) -> Verdict:
        """Pass up to and on the limit, Fail beyond it."""
        limit = f"budget {_figure(self.limit)}{self.unit}"
        if self.value is None:
            return Verdict(value=Value.INCONCLUSIVE, reasons=(f"{self.label}: not measured, {limit}",))
        slack = self.limit - self.value if self.better == "lower" else self.value - self.limit
        broken = slack < -_ROUNDING * abs(self.limit)
        reason = f"{self.label} {_figure(self.value)}{self.unit}, {limit}: {self._side() if broken else 'within'}"
        return Verdict(value=Value.FAIL if broken else Value.PASS, reasons=(reason,))

    def _side(self) -> str:
        return "over" if self.better == "lower" else "under"


@dataclass(frozen=True)
class Quality:
    """Every comparison that the score report holds (R4.1); one that asks for none is Fail."""

    policy: FamilyPolicy

    def judge(self, evidence: ScoreReport) -> Verdict:
        """The worst comparison; evidence of another policy is an Error, since other gates were asked."""
        if evidence.policy != self.policy.digest():
            return Verdict(value=Value.ERROR, reasons=("the scores were made under another policy: score again",))
        return worst(comparison.verdict for comparison in evidence.comparisons)


@dataclass(frozen=True)
class Serving:
    """Speed, size and cost against their budgets (coverage row 10)."""

    budgets: ServingGate

    def judge(self, evidence: TimingReport) -> Verdict:
        """The worst budget."""
        budgets, partial = self.budgets, evidence.first_partial_ms
        gates = [
            Budget(label="final p95", unit=" ms", value=evidence.final_ms.p95, limit=budgets.final_p95_ms),
            Budget(label="RTF", unit="", value=evidence.rtf, limit=budgets.rtf),
            Budget(label="peak memory", unit=" MB", value=evidence.peak_memory_mb, limit=budgets.peak_memory_mb),
            Budget(
                label="cost",
                unit=" USD/audio hour",
                value=evidence.cost_usd_per_audio_hour,
                limit=budgets.cost_usd_per_audio_hour,
            ),
        ]
        if budgets.first_partial_p95_ms is not None:
            value = partial.p95 if partial else None
            gates.insert(
                0, Budget(label="first partial p95", unit=" ms", value=value, limit=budgets.first_partial_p95_ms)
            )
        return AllOf(gates).judge(evidence)


@dataclass(frozen=True)
class Safety:
    """Words heard where nothing is said, and private strings that survive redaction (R4.8)."""

    budgets: SafetyGate

    def judge(self, evidence: SafetyReport) -> Verdict:
        """The report's own verdict and the two budgets; no clips or no planted strings is Inconclusive."""
        share = evidence.clips_with_words / evidence.clips if evidence.clips else None
        leaks = float(evidence.redaction_leaked) if evidence.redaction_planted else None
        clips = f"share of {evidence.clips} non-speech clips that yield words"
        planted = f"{evidence.redaction_planted} planted private strings, leaked"
        return worst(
            [
                evidence.verdict,
                Budget(label=clips, unit="", value=share, limit=self.budgets.max_hallucinating_clips).judge(),
                Budget(label=planted, unit="", value=leaks, limit=self.budgets.max_redaction_leaks).judge(),
            ]
        )


def gate(score: ScoreReport, timing: TimingReport, safety: SafetyReport, policy: FamilyPolicy) -> GateReport:
    """The verdicts of a scored release (R4.5) and the slices a person must look at (R4.6)."""
    quality = Quality(policy).judge(score)
    serving = Serving(policy.serving).judge(timing)
    harmless = Safety(policy.safety).judge(safety)
    same = {score.payload_digest, timing.payload_digest, safety.payload_digest}
    mixed = Verdict(value=Value.ERROR, reasons=("the reports are of different payloads: score again",))
    return GateReport(
        family=score.family,
        version=score.version,
        policy=policy.digest(),
        quality=quality,
        serving=serving,
        safety=harmless,
        verdict=worst([quality, serving, harmless, *([mixed] if len(same) > 1 else [])]),
        manual_review=manual_review(score),
    )


def manual_review(score: ScoreReport) -> tuple[str, ...]:
    """`pack/slice` of every high-risk slice that was compared, once each, whatever its verdict (R4.6)."""
    return tuple(dict.fromkeys(f"{row.pack}/{row.slice}" for row in score.comparisons if row.high_risk))


def _figure(value: float) -> str:
    """Three significant digits, without an exponent: 355, 0.31, 1500."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
