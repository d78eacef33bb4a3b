"""Candidate against stable: one comparison for every slice that a gate of the policy names (R4.1, U4, U5).

Boundary: pure.
Invariants: a pack that was not run, a slice that is not there and a baseline that is missing are comparisons with the
verdict Inconclusive, never an absence (R4.2); the simultaneous bounds are over all comparisons with enough support.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from contracts.policy import FamilyPolicy, QualityGate
from contracts.reports import Comparison, Count, WordCounts
from contracts.verdict import Value, Verdict
from evalpacks import statistics
from evalpacks.metrics import METRICS
from evalpacks.metrics.words import WordEdits
from evalpacks.pack import Pack
from evalpacks.slices import OVERALL, Mask
from evalpacks.statistics import Integers, Interval, Paired, Support

_NO_INTERVAL = Interval(
    estimate=None, lower=None, upper=None, upper_one_sided=None, unit="speaker", units=0, speakers=0, utterances=0
)
_NO_WORDS = WordCounts(substitutions=0, deletions=0, insertions=0, reference_words=0, utterances=0, speakers=0)
_PROTECTED = "protected"


class Heard(NamedTuple):
    """One pack after scoring: word errors of both arms per utterance, speaker codes, masks of all slices."""

    pack: Pack
    candidate: WordEdits
    stable: WordEdits | None
    speakers: Integers
    masks: dict[str, Mask]

    def words(self, edits: WordEdits, name: str) -> WordCounts:
        """Word errors of one slice, all zero for a slice that is not there."""
        if name not in self.masks:
            return _NO_WORDS
        mask = self.masks[name]
        return WordCounts(
            substitutions=int(edits.substitutions[mask].sum()),
            deletions=int(edits.deletions[mask].sum()),
            insertions=int(edits.insertions[mask].sum()),
            reference_words=int(edits.reference_words[mask].sum()),
            utterances=int(mask.sum()),
            speakers=len(np.unique(self.speakers[mask])),
        )


class _Question(NamedTuple):
    """One gate on one slice; `heard` is None where the pack was not run."""

    gate: QualityGate
    slice: str
    heard: Heard | None
    protected: bool
    high_risk: bool

    @property
    def subject(self) -> str:
        return f"{self.gate.pack}/{self.slice}"

    def candidate(self) -> WordCounts:
        return self.heard.words(self.heard.candidate, self.slice) if self.heard else _NO_WORDS

    def stable(self) -> WordCounts | None:
        return self.heard.words(self.heard.stable, self.slice) if self.heard and self.heard.stable else None


def compare_by_policy(
    heard: Mapping[str, Heard], policy: FamilyPolicy, *, first_release: bool
) -> tuple[Comparison, ...]:
    """All comparisons of a policy's quality gates, in their order; `heard` maps pack names."""
    questions = [question for gate in policy.quality for question in _questions(gate, heard, policy)]
    judged = [index for index, question in enumerate(questions) if _can_be_judged(question)]
    settings = policy.statistics
    intervals = statistics.compare(
        [_paired(questions[index]) for index in judged],
        alpha=settings.alpha,
        replicates=settings.replicates,
        seed=settings.seed,
    )
    by_index = dict(zip(judged, intervals, strict=True))
    return tuple(
        _comparison(question, by_index.get(index, _NO_INTERVAL), first_release=first_release)
        for index, question in enumerate(questions)
    )


def error_count(words: WordCounts) -> Count:
    """S + D + I over reference words."""
    errors = words.substitutions + words.deletions + words.insertions
    return Count(numerator=errors, denominator=words.reference_words)


def _questions(gate: QualityGate, heard: Mapping[str, Heard], policy: FamilyPolicy) -> list[_Question]:
    """Every slice a gate asks about; a gate on protected slices of a pack that has none still asks one question."""
    found = heard.get(gate.pack)
    protected = found.pack.protected if found else ()
    high_risk = {*policy.high_risk_slices, *(found.pack.high_risk if found else ())}
    names: tuple[str, ...]
    if gate.slices == OVERALL:
        names = (OVERALL,)
    elif gate.slices == _PROTECTED:
        names = protected or (_PROTECTED,)
    else:
        names = tuple(gate.slices)
    return [_Question(gate, name, found, name in protected, policy.high_risk or name in high_risk) for name in names]


def _can_be_judged(question: _Question) -> bool:
    words, gate = question.candidate(), question.gate
    supported = words.speakers >= gate.min_speakers and words.reference_words >= gate.min_support
    return supported and question.stable() is not None


def _paired(question: _Question) -> Paired:
    heard = question.heard
    assert heard is not None
    assert heard.stable is not None
    return Paired(
        population=heard.pack.name,
        candidate=heard.candidate.errors,
        stable=heard.stable.errors,
        denominator=heard.candidate.reference_words,
        mask=heard.masks[question.slice],
        speakers=heard.speakers,
        better=METRICS[question.gate.metric].better,
    )


def _comparison(question: _Question, interval: Interval, *, first_release: bool) -> Comparison:
    gate, words, stable = question.gate, question.candidate(), question.stable()
    return Comparison(
        pack=gate.pack,
        metric=gate.metric,
        slice=question.slice,
        better=METRICS[gate.metric].better,
        candidate=error_count(words),
        stable=error_count(stable) if stable else None,
        estimate=interval.estimate,
        lower=interval.lower,
        upper=interval.upper,
        upper_one_sided=interval.upper_one_sided,
        margin=None if first_release else gate.margin,
        limit=gate.limit if first_release else None,
        speakers=words.speakers,
        utterances=words.utterances,
        unit=interval.unit,
        protected=question.protected,
        high_risk=question.high_risk,
        verdict=_verdict(question, words, stable, interval, first_release=first_release),
    )


def _verdict(
    question: _Question, words: WordCounts, stable: WordCounts | None, interval: Interval, *, first_release: bool
) -> Verdict:
    gate, subject, metric = question.gate, question.subject, METRICS[question.gate.metric]
    support = Support(gate.min_speakers, gate.min_support)
    candidate = error_count(words)
    if not words.utterances:
        return Verdict(value=Value.INCONCLUSIVE, reasons=(f"{subject}: {_absence(question)}",))
    if first_release:
        return statistics.first_release_verdict(
            subject, metric, candidate, speakers=words.speakers, ceiling=gate.limit, support=support
        )
    if stable is None:
        return Verdict(value=Value.INCONCLUSIVE, reasons=(f"{subject}: stable was not run, so there is no baseline",))
    return statistics.regression_verdict(
        subject,
        metric,
        candidate,
        error_count(stable),
        interval,
        speakers=words.speakers,
        margin=gate.margin,
        support=support,
    )


def _absence(question: _Question) -> str:
    if question.heard is None:
        return "the pack was not run"
    return "the pack has no protected slice" if question.slice == _PROTECTED else "the pack has nothing in this slice"
