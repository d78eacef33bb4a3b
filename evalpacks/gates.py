"""Gates as policies: evidence in, a verdict with reasons out (R4).

Boundary: pure; reports, a policy and verified waivers in, a GateReport out.
Invariants: no gates at all is Fail, a gate that lacks its evidence is Inconclusive, never Pass (R4.2); a waiver lets an
Inconclusive comparison of exactly its payload and policy go on, and nothing else; exactly on budget passes (R4.4);
quality, serving and safety are separate verdicts and the release has the worst (R4.5).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from contracts.approval import SignedWaiver
from contracts.digest import Digest
from contracts.policy import FamilyPolicy, SafetyGate, ServingGate
from contracts.reports import (
    Better,
    Bounds,
    Comparison,
    GateReport,
    Quantiles,
    SafetyReport,
    ScoreReport,
    TimingReport,
)
from contracts.verdict import Value, Verdict, worst
from evalpacks import exchange
from evalpacks.policy_changes import policy_changes
from evalpacks.severity import by_severity
from evalpacks.slices import OVERALL

_ROUNDING = 1e-9
"""Relative error of a computed figure that does not turn a value exactly on budget into one over it."""


_DECIMALS = 9
"""Figures are never written with more decimals than this."""


_UNMEASURED: tuple[float | None, Bounds | None] = (None, None)


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
        interval: two-sided 95% interval of the value, shown beside it.
        basis: what the limit was computed from, shown beside it.

    >>> Budget(label="final p95", unit=" ms", value=400.0, limit=400.0).judge().reasons
    ('final p95 400 ms, budget 400 ms: within',)
    """

    label: str
    unit: str
    value: float | None
    limit: float
    better: Better = "lower"
    interval: Bounds | None = None
    basis: str = ""

    def judge(self) -> Verdict:
        """Pass up to and on the limit, Fail beyond it, Inconclusive without a value."""
        if self.value is None or not math.isfinite(self.value):
            reason = f"{self.label}: not measured, budget {_figures(self.limit, self.limit)[1]}{self.unit}"
            return Verdict(value=Value.INCONCLUSIVE, reasons=(reason,))
        slack = self.limit - self.value if self.better == "lower" else self.value - self.limit
        broken = slack < -_ROUNDING * abs(self.limit)
        side = {"lower": "over", "higher": "under"}[self.better] if broken else "within"
        value, limit = _figures(self.value, self.limit)
        interval = f" [{', '.join(_figures(bound, self.limit)[0] for bound in self.interval)}]" if self.interval else ""
        basis = f" ({self.basis})" if self.basis else ""
        reason = f"{self.label} {value}{self.unit}{interval}, budget {limit}{self.unit}{basis}: {side}"
        return Verdict(value=Value.FAIL if broken else Value.PASS, reasons=(reason,))


def quality_gate(
    score: ScoreReport,
    policy: FamilyPolicy,
    comparisons: Sequence[Comparison],
    waivers: Mapping[Digest, SignedWaiver],
) -> Gate:
    """Every comparison (R4.1), the worst first; scores of another policy are an Error: other gates were asked.

    `comparisons` are the score report's, as the exchange left them.
    """
    if score.policy != policy.digest():
        return Given(Verdict(value=Value.ERROR, reasons=("the scores were made under another policy: score again",)))
    return AllOf([Given(_as_waived(row, score, waivers)) for row in by_severity(comparisons)])


def _as_waived(row: Comparison, score: ScoreReport, waivers: Mapping[Digest, SignedWaiver]) -> Verdict:
    """An Inconclusive verdict goes on where somebody has signed for it (R4.2); Error and Fail never do."""
    signed = [waiver for waiver in waivers.values() if _waives(waiver, row, score)]
    if not signed:
        return row.verdict
    by = "; ".join(f"waived by {waiver.approver}: {waiver.reason}" for waiver in signed)
    return Verdict(value=Value.PASS, reasons=tuple(f"{reason}; {by}" for reason in row.verdict.reasons))


def _waives(waiver: SignedWaiver, row: Comparison, score: ScoreReport) -> bool:
    of_this_release = (waiver.family, waiver.payload_digest, waiver.policy) == (
        score.family,
        score.payload_digest,
        score.policy,
    )
    asked = (waiver.pack, waiver.slice, waiver.metric, waiver.baseline)
    same = asked == (row.pack, row.slice, row.metric, row.baseline)
    return row.verdict.value == Value.INCONCLUSIVE and of_this_release and same


def serving_gate(timing: TimingReport, budgets: ServingGate) -> Gate:
    """Speed, size and cost against their budgets (coverage row 10), and against the stable one of the same pass."""
    own = [
        _p95("first partial p95", timing.first_partial_ms, budgets.first_partial_p95_ms),
        _p95("first stable p95", timing.first_stable_ms, budgets.first_stable_p95_ms),
        *_first_audio(timing, budgets),
        _p95("final p95", timing.final_ms, budgets.final_p95_ms),
        Budget(label="RTF", unit="", value=timing.rtf, limit=budgets.rtf),
        Budget(label="peak memory", unit=" MB", value=timing.peak_memory_mb, limit=budgets.peak_memory_mb),
        Budget(
            label="cost",
            unit=" USD/audio hour",
            value=timing.cost_usd_per_audio_hour,
            limit=budgets.cost_usd_per_audio_hour,
        ),
    ]
    honest = [
        Given(Verdict(value=Value.FAIL, reasons=(f"the stream is not one: {fault}",))) for fault in timing.stream_faults
    ]
    against_stable = [] if timing.stable_payload is None else _regressions(timing, budgets)
    return AllOf([gate for gate in [*honest, *own, *against_stable] if gate is not None])


def _p95(label: str, measured: Quantiles | None, limit: float | None) -> Gate | None:
    """The p95 of a latency against its ceiling; None where the policy sets none."""
    if limit is None:
        return None
    if measured is None:
        return Budget(label=label, unit=" ms", value=None, limit=limit)
    return Budget(label=label, unit=" ms", value=measured.p95, limit=limit, interval=measured.p95_interval)


def _first_audio(timing: TimingReport, budgets: ServingGate) -> list[Gate | None]:
    """When an answer can be listened to, and whether it goes on as it is played (coverage row 16)."""
    heard = timing.first_audio_ms
    asked = (
        ("first audio p50", budgets.first_audio_p50_ms, (heard.p50, heard.p50_interval) if heard else _UNMEASURED),
        ("first audio p95", budgets.first_audio_p95_ms, (heard.p95, heard.p95_interval) if heard else _UNMEASURED),
        ("first audio p99", budgets.first_audio_p99_ms, (heard.p99, heard.p99_interval) if heard else _UNMEASURED),
    )
    starved = Budget(
        label="share of answers whose playback starves", unit="", value=timing.underrun_share,
        limit=budgets.underrun_share or 0.0,
    )  # fmt: skip
    return [
        *(
            Budget(label=label, unit=" ms", value=measured[0], limit=limit, interval=measured[1])
            for label, limit, measured in asked
            if limit is not None
        ),
        starved if budgets.underrun_share is not None else None,
    ]


def _turn_cost(score: ScoreReport, timing: TimingReport, limit: float) -> Gate:
    """US dollars of compute a turn that reached its end (coverage row 39): the cost a turn over their share."""
    whole = [row for row in score.comparisons if (row.metric, row.slice) == ("task_success", OVERALL)]
    success, cost = whole[0].candidate.rate if whole else None, timing.cost_usd_per_answer
    value = cost / success if cost is not None and success else None
    return Budget(label="cost", unit=" USD/successful turn", value=value, limit=limit)


def _regressions(timing: TimingReport, budgets: ServingGate) -> list[Gate | None]:
    final = timing.stable_final_ms.p95 if timing.stable_final_ms else None
    memory, cost = timing.stable_peak_memory_mb, timing.stable_cost_usd_per_audio_hour
    own_cost = timing.cost_usd_per_audio_hour
    return [
        _regression("final p95", " ms", timing.final_ms.p95, final, share=budgets.final_p95_regression),
        _regression("final p95", " ms", timing.final_ms.p95, final, amount=budgets.final_p95_regression_ms),
        _regression("peak memory", " MB", timing.peak_memory_mb, memory, share=budgets.peak_memory_regression),
        _regression("cost", " USD/audio hour", own_cost, cost, share=budgets.cost_regression),
    ]


def _regression(
    label: str,
    unit: str,
    value: float,
    stable: float | None,
    *,
    share: float | None = None,
    amount: float | None = None,
) -> Gate | None:
    """A figure against the stable one's plus a share of it or an amount; None where the policy sets neither.

    Without the stable one's figure it is Inconclusive (R4.2).
    """
    if share is None and amount is None:
        return None
    more = f"{amount:g}{unit}" if share is None else f"{share * 100:g}%"
    if stable is None:
        reason = f"{label}: the stable one's was not measured, budget {more} more than it"
        return Given(Verdict(value=Value.INCONCLUSIVE, reasons=(reason,)))
    limit = stable + (amount or 0.0) if share is None else stable * (1 + share)
    basis = f"stable {_figures(stable, stable)[0]}{unit} and {more} more"
    return Budget(label=label, unit=unit, value=value, limit=limit, basis=basis)


def safety_gate(safety: SafetyReport, budgets: SafetyGate, *, hears: bool = True) -> Gate:
    """Words heard where nothing is said, private strings that survive redaction, and the report's own verdict (R4.8).

    No clips, or no planted strings, is Inconclusive. A model that does not turn sound into words (`hears` is False) has
    checks of its own, and none of them is Inconclusive too.
    """
    if not hears:
        unsaid = Verdict(value=Value.INCONCLUSIVE, reasons=("nothing was planted for the safety report",))
        return Given(safety.verdict if safety.checks else unsaid)
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


def gate(
    score: ScoreReport,
    timing: TimingReport,
    safety: SafetyReport,
    policy: FamilyPolicy,
    *,
    previous: FamilyPolicy | None = None,
    waivers: Mapping[Digest, SignedWaiver] | None = None,
    released: Mapping[str, exchange.Point] | None = None,
) -> GateReport:
    """The verdicts of a scored release (R4.5) and the slices a person must look at (R4.6).

    `previous` is the policy of the last promoted release, None for a first one (R4.7); `waivers` maps the digest of
    each waiver whose signature was verified (R4.2); `released` are the family's other models, by version.
    """
    models = {**(released or {}), score.version: exchange.point_of(score, timing)}
    comparisons = exchange.settle(score.comparisons, timing, policy.exchange)
    signed = waivers or {}
    quality = quality_gate(score, policy, comparisons, signed).judge()
    turn = policy.serving.cost_usd_per_successful_turn
    turns = [_turn_cost(score, timing, turn)] if turn is not None else []
    serving = AllOf([serving_gate(timing, policy.serving), *turns]).judge()
    harmless = safety_gate(safety, policy.safety, hears=policy.task == "transcription").judge()
    return GateReport(
        family=score.family,
        version=score.version,
        policy=policy.digest(),
        quality=quality,
        serving=serving,
        safety=harmless,
        verdict=worst([quality, serving, harmless, *_mixed_up(score, timing, safety)]),
        manual_review=manual_review(score),
        waivers=tuple(
            sorted(name for name, one in signed.items() if any(_waives(one, row, score) for row in comparisons))
        ),
        policy_changes=policy_changes(previous, policy) if previous else (),
        exchanged=tuple(row for row, before in zip(comparisons, score.comparisons, strict=True) if row != before),
        exchange=(*exchange.sentences(comparisons, timing, policy.exchange), *exchange.frontier(models)),
    )


def _mixed_up(score: ScoreReport, timing: TimingReport, safety: SafetyReport) -> list[Verdict]:
    """Reports that are not of the same models are an Error."""
    faults = []
    if len({score.payload_digest, timing.payload_digest, safety.payload_digest}) > 1:
        faults.append("the score, timing and safety reports are of different payloads: score again")
    if score.stable_payload != timing.stable_payload:
        faults.append("the score and timing reports are against different stable payloads: score again")
    return [Verdict(value=Value.ERROR, reasons=(fault,)) for fault in faults]


def stopping(
    score: ScoreReport, timing: TimingReport, policy: FamilyPolicy, waivers: Mapping[Digest, SignedWaiver]
) -> list[Comparison]:
    """The comparisons that stop a release, as the exchange left them, worst first: neither Pass nor waived."""
    rows = exchange.settle(score.comparisons, timing, policy.exchange)
    return [row for row in by_severity(rows) if _as_waived(row, score, waivers).value != Value.PASS]


def manual_review(score: ScoreReport) -> tuple[str, ...]:
    """`pack/slice` of every high-risk slice that was compared, once each, whatever its verdict (R4.6)."""
    return tuple(dict.fromkeys(f"{row.pack}/{row.slice}" for row in score.comparisons if row.high_risk))


def _figures(value: float, limit: float) -> tuple[str, str]:
    """Both numbers, with three digits of the limit or more: until they differ, and the value is not shown as 0."""
    decimals = max(0, 2 - math.floor(math.log10(limit))) if limit > 0 else 0

    def hidden() -> bool:
        same = round(value, decimals) == round(limit, decimals) and value != limit
        return same or (value != 0 and round(value, decimals) == 0)

    while hidden() and decimals < _DECIMALS:
        decimals += 1
    return _trimmed(value, decimals), _trimmed(limit, decimals)


def _trimmed(value: float, decimals: int) -> str:
    text = f"{value:.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
