"""Documents of a release that uses everything: every metric, two packs, full precision, a stream, confidence."""

from __future__ import annotations

import math
from functools import partial
from statistics import NormalDist

from contracts.approval import SignedWaiver
from contracts.policy import MetricName
from contracts.reports import (
    CURVE,
    Better,
    Calibration,
    CalibrationBin,
    Comparison,
    Confusion,
    Count,
    EditClasses,
    Quantiles,
    SafetyCheck,
    SafetyReport,
    ScoreReport,
    StreamTimeline,
    TimelineEvent,
    TimingReport,
    WordCounts,
)
from contracts.verdict import Value, Verdict
from tests.pages.release_documents import PASS, key, name_of, policy, score_report, wave, word_counts

HEARD = 600
"""Utterances of the timing pass."""


def lognormal(p50: float, spread: float, n: int = HEARD) -> Quantiles:
    """Milliseconds as a recogniser has them: log-normal, with the intervals that order statistics of n values give."""

    def at(share: float) -> float:
        return p50 * math.exp(spread * NormalDist().inv_cdf(min(max(share, 0.5 / n), 1 - 0.5 / n)))

    def interval(share: float) -> tuple[float, float]:
        half = 1.96 * math.sqrt(share * (1 - share) / n)
        return at(share - half), at(min(share + half, 1.0))

    return Quantiles(
        n=n,
        p50=at(0.5),
        p95=at(0.95),
        p99=at(0.99),
        maximum=at(1.0),
        p50_interval=interval(0.5),
        p95_interval=interval(0.95),
        p99_interval=interval(0.99),
        curve=tuple(at(share) for share in CURVE),
    )


def timing() -> TimingReport:
    """Faster and cheaper than stable, but for a slower endpoint."""
    return TimingReport(
        family="asr-commands",
        payload_digest=name_of("payload"),
        stable_payload=name_of("stable payload"),
        first_partial_ms=lognormal(412, 0.32),
        stable_first_partial_ms=lognormal(455, 0.36),
        first_stable_ms=lognormal(566, 0.30),
        stable_first_stable_ms=lognormal(640, 0.33),
        final_ms=lognormal(31.4, 0.42),
        stable_final_ms=lognormal(44.0, 0.45),
        endpoint_ms=lognormal(861, 0.06),
        stable_endpoint_ms=lognormal(842, 0.05),
        rtf=0.021,
        stable_rtf=0.034,
        peak_memory_mb=388.0,
        stable_peak_memory_mb=412.3,
        cost_usd_per_audio_hour=0.0011,
        stable_cost_usd_per_audio_hour=0.0017,
        utterances=HEARD,
        timeline=timeline().digest(),
    )


def timeline() -> StreamTimeline:
    """A command that is heard wrongly first: two words are revised, one of them twice."""
    shown = (
        (0.6, "set", 0),
        (0.9, "set the", 1),
        (1.2, "set the old", 1),
        (1.5, "set the alarm four", 2),
        (1.8, "set the alarm for six", 3),
        (2.2, "set the alarm for sixty", 4),
        (2.6, "set the alarm for six thirty", 4),
        (3.0, "set the alarm for six thirty tomorrow", 6),
    )
    events = [TimelineEvent(heard_s=at, shown_s=at + 0.03, text=text, committed=done) for at, text, done in shown]
    last = TimelineEvent(heard_s=3.4, shown_s=3.46, text=shown[-1][1], committed=7, final=True)
    return StreamTimeline(
        pack="commands",
        utterance_id="scottish-021-10db-1",
        reference="set the alarm for six thirty tomorrow",
        duration_s=3.4,
        chunk_ms=100,
        events=(*events, last),
    )


def calibration(pack: str, *, overconfident: float) -> Calibration:
    """Ten bins, most utterances in the upper ones; `overconfident` is the gap at the top."""
    sizes = (4, 0, 9, 14, 22, 41, 66, 118, 240, 486)
    bins = tuple(
        CalibrationBin(
            lower=number / 10,
            upper=(number + 1) / 10,
            utterances=size,
            confidence=number / 10 + 0.055,
            accuracy=max(0.0, number / 10 + 0.05 - overconfident * (0.4 + number / 15)),
        )
        for number, size in enumerate(sizes)
    )
    error = sum(one.utterances * abs(one.confidence - one.accuracy) for one in bins) / sum(sizes)
    return Calibration(pack=pack, error=error, bins=bins)


def compared(
    metric: MetricName,
    slice_: str,
    *,
    pack: str = "commands",
    better: Better = "lower",
    rate: float,
    shift: float,
    half: float,
    margin: float,
    limit: float,
    units: int = 2000,
    **changed: object,
) -> Comparison:
    """One comparison whose verdict follows from its numbers (U5)."""
    harm = shift if better == "lower" else -shift
    value, reasons = Value.PASS, tuple[str, ...]()
    if harm - half > 0 and harm > margin:
        value, reasons = Value.FAIL, (f"{pack}/{slice_}: {metric} is worse by {100 * harm:.1f} points",)
    elif harm + half * 0.8 > margin:
        value, reasons = Value.INCONCLUSIVE, (f"{pack}/{slice_}: about 18 more speakers would settle {metric}",)
    one = Comparison(
        pack=pack,
        metric=metric,
        slice=slice_,
        better=better,
        candidate=Count(numerator=(rate + shift) * units, denominator=units),
        stable=Count(numerator=rate * units, denominator=units),
        estimate=shift,
        lower=shift - half,
        upper=shift + half,
        upper_one_sided=harm + half * 0.8,
        margin=margin,
        limit=limit,
        speakers=48,
        utterances=units,
        protected=slice_ != "overall",
        verdict=Verdict(value=value, reasons=reasons),
    )
    return one.model_copy(update=changed)


def comparisons() -> tuple[Comparison, ...]:
    """Every metric, and word errors against the full-precision parent."""
    accents = ("us", "british", "scottish", "caribbean", "rp", "lancaster")
    found = list(score_report(bad=False).comparisons)
    recall = partial(compared, "intent_recall", better="higher", margin=0.02, limit=0.9)
    found.append(recall("overall", rate=0.961, shift=0.006, half=0.006))
    for index, accent in enumerate(accents):
        shift = -0.017 if accent == "scottish" else wave(index, -0.004, 0.016)
        found.append(recall(f"accent={accent}", rate=wave(index, 0.93, 0.98), shift=shift, half=0.014))
    found += [
        compared("churn", "overall", rate=0.084, shift=-0.012, half=0.007, margin=0.0042, limit=0.2, relative=True),
        compared("early_endpoint_rate", "overall", rate=0.012, shift=0.001, half=0.003, margin=0.005, limit=0.05),
        compared("brier", "overall", rate=0.081, shift=-0.009, half=0.006, margin=0.01, limit=0.2),
        compared("cer", "overall", pack="entities", rate=0.031, shift=-0.002, half=0.004, margin=0.01, limit=0.2),
        compared("wer", "overall", pack="entities", rate=0.071, shift=-0.004, half=0.006, margin=0.01, limit=0.3),
    ]
    for index, kind in enumerate(("amount", "address", "date", "name", "number", "time")):
        shift = wave(index, -0.03, 0.006)
        found.append(
            compared(
                "entity_error_rate",
                f"entity={kind}",
                pack="entities",
                rate=wave(index, 0.06, 0.19),
                shift=shift,
                half=0.018,
                margin=0.03,
                limit=0.3,
                units=240,
            )
        )
    for index, accent in enumerate(("overall", *(f"accent={one}" for one in accents))):
        shift = wave(index, -0.001, 0.006)
        one = compared("wer", accent, rate=wave(index, 0.06, 0.13), shift=shift, half=0.005, margin=0.015, limit=0.35)
        found.append(one.model_copy(update={"baseline": "parent"}))
    return tuple(found)


def classes(index: int, words: WordCounts) -> EditClasses:
    """The word counts again, with errors in short utterances and of entities."""
    errors = words.substitutions + words.deletions + words.insertions
    return EditClasses(
        substitutions=words.substitutions,
        deletions=words.deletions,
        insertions=words.insertions,
        short=int(errors * wave(index, 0.1, 0.3)),
        entity=int(errors * wave(index, 0.05, 0.12)),
        entity_words=words.reference_words // 6,
    )


def score() -> ScoreReport:
    """Two packs, all metrics, classes, confusions of the pack whose consent allows it, confidence of both arms."""
    base = score_report(bad=False)
    found = comparisons()
    words, stable_words = dict(base.words), dict(base.stable_words)
    for index, one in enumerate(found):
        if one.pack == "entities" and key(one) not in words and one.metric != "cer" and one.stable:
            scaled = one.candidate.model_copy(update={"numerator": round(one.candidate.numerator)})
            words[key(one)] = word_counts(index, one, scaled)
            stable_words[key(one)] = word_counts(index, one, one.stable)
    heard = (("four", "for", 41), ("fifteen", "fifty", 33), ("stop", "top", 19), ("two", "to", 17), ("off", "of", 12))
    return base.model_copy(
        update={
            "packs": {"commands": name_of("pack"), "entities": name_of("pack entities")},
            "comparisons": found,
            "words": words,
            "stable_words": stable_words,
            "classes": {name: classes(index, one) for index, (name, one) in enumerate(words.items())},
            "stable_classes": {name: classes(index, one) for index, (name, one) in enumerate(stable_words.items())},
            "confusions": {
                "commands": tuple(Confusion(reference=said, hypothesis=got, count=count) for said, got, count in heard)
            },
            "calibration": (calibration("commands", overconfident=0.03), calibration("entities", overconfident=0.07)),
            "stable_calibration": (calibration("commands", overconfident=0.11),),
            "quantized_from": name_of("full precision"),
        }
    )


def waiver(one: Comparison) -> SignedWaiver:
    """A person's word for one comparison that is not settled."""
    return SignedWaiver(
        family="asr-commands",
        payload_digest=name_of("payload"),
        policy=policy().digest(),
        pack=one.pack,
        slice=one.slice,
        metric=one.metric,
        reason="eighteen more speakers are being recorded; the estimate is within its margin",
        approver="r.manager",
        key_id="3f9a" + name_of("key")[4:],
        at="2026-11-20T13:55:10Z",
    )


def safety() -> SafetyReport:
    """Two clips without speech gave words; no private string came through."""
    return SafetyReport(
        family="asr-commands",
        version="v2",
        payload_digest=name_of("payload"),
        clips=20,
        hallucinated_words=3,
        clips_with_words=2,
        redaction_planted=12,
        redaction_leaked=0,
        checks=(
            SafetyCheck(name="spoken private strings", planted=24, broken=0),
            SafetyCheck(name="requests that must be refused", planted=8, broken=0),
        ),
        verdict=PASS.model_copy(update={"reasons": ("words on 2 of 20 clips without speech, 5 are allowed",)}),
    )
