"""Candidate against its baselines: one comparison for every slice that a gate of the policy names (R4.1, U4, U5).

Boundary: pure; what each model gave for each pack in, comparisons out.
Invariants: a pack that was not run, a slice that is not there, a metric without evidence and a baseline that is missing
are comparisons with the verdict Inconclusive, never an absence (R4.2); every metric is measured once a model and pack;
the simultaneous bounds are over all comparisons of all metrics with enough support, at one alpha; a quantized candidate
is compared with its full-precision parent on every protected slice too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np

from contracts.policy import FamilyPolicy, MetricName, QualityGate
from contracts.reports import Baseline, Comparison, Count
from contracts.verdict import Value, Verdict
from evalpacks import statistics
from evalpacks.metrics import METRICS, Counts, Evidence, Metric
from evalpacks.pack import Pack
from evalpacks.slices import OVERALL, Mask
from evalpacks.statistics import Integers, Interval, Paired, Support

Arm = Literal["candidate", "stable", "parent"]

_NO_INTERVAL = Interval(
    estimate=None, lower=None, upper=None, upper_one_sided=None, unit="speaker", units=0, speakers=0, utterances=0
)
_PROTECTED = "protected"


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """One pack after its models were run.

    Attributes:
        speakers: codes, shape (utterances,).
        masks: of all slices.
        evidence: what each model gave; a model that was not run on the pack is absent.
        counts: of each model and metric that a gate asks about; None where the evidence cannot say.
    """

    pack: Pack
    speakers: Integers
    masks: Mapping[str, Mask]
    evidence: Mapping[Arm, Evidence]
    counts: Mapping[tuple[Arm, MetricName], Counts | None]


class _Figures(NamedTuple):
    """One model on one slice: its sums, and how many speakers and utterances have a denominator."""

    sums: Count
    speakers: int
    utterances: int


_NO_FIGURES = _Figures(Count(numerator=0, denominator=0), 0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    """One metric on one slice against one baseline; `heard` is None where the pack was not run."""

    pack: str
    metric: Metric
    slice: str
    baseline: Baseline
    margin: float
    relative: bool
    limit: float | None
    support: Support
    heard: Heard | None
    protected: bool
    high_risk: bool

    @property
    def subject(self) -> str:
        against = " against the full-precision model" if self.baseline == "parent" else ""
        return f"{self.pack}/{self.slice}{against}"

    def counts(self, arm: Arm) -> Counts | None:
        """What a model gave, utterance by utterance; None where it was not run or cannot say."""
        return self.heard.counts.get((arm, self.metric.name)) if self.heard else None

    def figures(self, arm: Arm) -> _Figures:
        """Counts of a model on the slice; all zero where it was not run, cannot say, or the slice is not there."""
        counts = self.counts(arm)
        if counts is None or self.heard is None or self.slice not in self.heard.masks:
            return _NO_FIGURES
        mask = self.heard.masks[self.slice]
        said = mask & (counts.denominator > 0)
        return _Figures(
            Count(numerator=float(counts.numerator[mask].sum()), denominator=float(counts.denominator[mask].sum())),
            int(np.count_nonzero(np.bincount(self.heard.speakers[said]))),
            int(said.sum()),
        )


class _Asked(NamedTuple):
    """A question with the figures of both models on its slice."""

    question: _Question
    candidate: _Figures
    baseline: _Figures

    @property
    def can_be_judged(self) -> bool:
        """Whether there is a difference, with the support that the gate asks for."""
        own, support = self.candidate, self.question.support
        supported = own.speakers >= support.speakers and own.sums.denominator >= support.denominator
        return supported and own.sums.rate is not None and self.baseline.sums.rate is not None


def compare_by_policy(
    heard: Mapping[str, Heard], policy: FamilyPolicy, *, first_release: bool, quantized: bool = False
) -> tuple[Comparison, ...]:
    """All comparisons of a policy's quality gates, in their order, then those with the full-precision parent.

    `heard` maps pack names.
    """
    questions = [question for gate in policy.quality for question in _of_gate(gate, heard, policy)]
    if quantized:
        questions += _of_quantization(heard, policy)
    asked = [_Asked(one, one.figures("candidate"), one.figures(one.baseline)) for one in questions]
    judged = [index for index, one in enumerate(asked) if one.can_be_judged]
    settings = policy.statistics
    intervals = statistics.compare(
        [_paired(questions[index]) for index in judged],
        alpha=settings.alpha,
        replicates=settings.replicates,
        seed=settings.seed,
    )
    by_index = dict(zip(judged, intervals, strict=True))
    return tuple(
        _comparison(
            one, by_index.get(index, _NO_INTERVAL), first_release=first_release and one.question.baseline == "stable"
        )
        for index, one in enumerate(asked)
    )


def metrics_of(pack: str, policy: FamilyPolicy, *, quantized: bool) -> list[MetricName]:
    """Names of the metrics that a policy asks of a pack, once each."""
    return list(dict.fromkeys([gate.metric for gate in policy.quality if gate.pack == pack] + ["wer"] * quantized))


def _of_gate(gate: QualityGate, heard: Mapping[str, Heard], policy: FamilyPolicy) -> Iterator[_Question]:
    """Every slice a gate asks about; a gate on protected slices of a pack that has none still asks one question."""
    found = heard.get(gate.pack)
    protected = found.pack.protected if found else ()
    names: tuple[str, ...]
    if gate.slices == OVERALL:
        names = (OVERALL,)
    elif gate.slices == _PROTECTED:
        names = protected or (_PROTECTED,)
    else:
        names = tuple(gate.slices)
    high_risk = {*policy.high_risk_slices, *(found.pack.high_risk if found else ())}
    for name in names:
        yield _Question(
            pack=gate.pack,
            metric=METRICS[gate.metric],
            slice=name,
            baseline="stable",
            margin=gate.margin,
            relative=gate.relative,
            limit=gate.limit,
            support=Support(gate.min_speakers, gate.min_support),
            heard=found,
            protected=name in protected,
            high_risk=policy.high_risk or name in high_risk,
        )


def _of_quantization(heard: Mapping[str, Heard], policy: FamilyPolicy) -> Iterator[_Question]:
    """Each WER gate's pack, overall and every protected slice, against the parent; with the gates' own support."""
    assert policy.quantization is not None
    gates = [gate for gate in policy.quality if gate.metric == "wer"]
    for pack in dict.fromkeys(gate.pack for gate in gates):
        own = [gate for gate in gates if gate.pack == pack]
        like = own[0].model_copy(
            update={
                "slices": (OVERALL, *(heard[pack].pack.protected if pack in heard else ())),
                "margin": policy.quantization.margin,
                "relative": False,
                "min_speakers": min(gate.min_speakers for gate in own),
                "min_support": min(gate.min_support for gate in own),
            }
        )
        yield from (replace(question, baseline="parent", limit=None) for question in _of_gate(like, heard, policy))


def _paired(question: _Question) -> Paired:
    heard = question.heard
    candidate, baseline = question.counts("candidate"), question.counts(question.baseline)
    assert heard is not None
    assert candidate is not None
    assert baseline is not None
    says = (
        (candidate.denominator > 0) | (baseline.denominator > 0) | (candidate.numerator > 0) | (baseline.numerator > 0)
    )
    shared = np.array_equal(candidate.denominator, baseline.denominator)
    return Paired(
        population=question.pack,
        candidate=candidate.numerator,
        stable=baseline.numerator,
        denominator=candidate.denominator,
        stable_denominator=None if shared else baseline.denominator,
        mask=heard.masks[question.slice] & says,
        speakers=heard.speakers,
        better=question.metric.better,
        relative_margin=question.margin if question.relative else 0.0,
    )


def _comparison(asked: _Asked, interval: Interval, *, first_release: bool) -> Comparison:
    question, baseline = asked.question, asked.baseline.sums
    margin: float | None = question.margin
    if question.relative:
        margin = None if baseline.rate is None else question.margin * baseline.rate
    return Comparison(
        pack=question.pack,
        metric=question.metric.name,
        slice=question.slice,
        better=question.metric.better,
        candidate=asked.candidate.sums,
        stable=None if question.counts(question.baseline) is None else baseline,
        estimate=interval.estimate,
        lower=interval.lower,
        upper=interval.upper,
        upper_one_sided=interval.upper_one_sided,
        excess_one_sided=interval.excess_one_sided,
        margin=None if first_release else margin,
        relative=question.relative,
        limit=question.limit,
        baseline=question.baseline,
        speakers=asked.candidate.speakers,
        utterances=asked.candidate.utterances,
        unit=interval.unit,
        protected=question.protected,
        high_risk=question.high_risk,
        verdict=_verdict(asked, interval, first_release=first_release),
    )


def _verdict(asked: _Asked, interval: Interval, *, first_release: bool) -> Verdict:
    question, candidate = asked.question, asked.candidate
    absence = _absence(question, first_release=first_release)
    if absence:
        return Verdict(value=Value.INCONCLUSIVE, reasons=(f"{question.subject}: {absence}",))
    if first_release:
        assert question.limit is not None
        return statistics.first_release_verdict(
            question.subject,
            question.metric,
            candidate.sums,
            speakers=candidate.speakers,
            limit=question.limit,
            support=question.support,
        )
    return statistics.regression_verdict(
        question.subject,
        question.metric,
        candidate.sums,
        asked.baseline.sums,
        interval,
        speakers=candidate.speakers,
        margin=question.margin,
        relative=question.relative,
        limit=question.limit,
        support=question.support,
    )


def _absence(question: _Question, *, first_release: bool) -> str:
    """What evidence is not there, "" where all is (R4.2)."""
    heard, name = question.heard, question.slice
    if heard is None:
        return "the pack was not run"
    if name not in heard.masks or not heard.masks[name].any():
        return "the pack has no protected slice" if name == _PROTECTED else "the pack has nothing in this slice"
    if question.counts("candidate") is None:
        return _unmeasured(question, "candidate")
    if first_release:
        return ""
    if question.baseline not in heard.evidence:
        return f"{_NAMES[question.baseline]} was not run, so there is no baseline"
    return _unmeasured(question, question.baseline) if question.counts(question.baseline) is None else ""


_NAMES: Mapping[Arm, str] = {"candidate": "the candidate", "stable": "stable", "parent": "the full-precision model"}


def _unmeasured(question: _Question, arm: Arm) -> str:
    heard = question.heard
    assert heard is not None
    if question.metric.needs_stream and heard.evidence[arm].stream is None:
        why = f"{_NAMES[arm]} was not heard as a stream"
    else:
        why = f"the pack, or what {_NAMES[arm]} gave for it, does not have what it is measured from"
    return f"{question.metric.label} was not measured: {why}"
