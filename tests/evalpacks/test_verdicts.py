"""The three-way verdict of U5, first releases, and the sentences people read."""

from __future__ import annotations

import pytest

from contracts.reports import Count
from contracts.verdict import Value, Verdict
from evalpacks.metrics import WER, Metric
from evalpacks.statistics import (
    Interval,
    Support,
    first_release_verdict,
    limit_verdict,
    more_units,
    regression_verdict,
    shown,
)

SUPPORT = Support(speakers=10, denominator=100)
STABLE = Count(numerator=121, denominator=1000)
INTENT = Metric("intent_recall", "intent recall", "higher", lambda _: None, 100.0, "%", " points", "commands")


def interval(
    estimate: float | None,
    lower: float | None,
    upper: float | None,
    own: float | None,
    *,
    unit: str = "speaker",
    speakers: int = 24,
    excess: float | None = None,
) -> Interval:
    return Interval(
        estimate=estimate,
        lower=lower,
        upper=upper,
        upper_one_sided=own,
        excess_one_sided=excess,
        unit="speaker" if unit == "speaker" else "utterance",
        units=24,
        speakers=speakers,
        utterances=240,
    )


def judged(
    evidence: Interval, candidate: float, *, margin: float, relative: bool = False, limit: float | None = None
) -> Verdict:
    """The verdict on `overall`, WER of `candidate` errors in 1,000 words against the stable 121."""
    return regression_verdict(
        "overall",
        WER,
        Count(numerator=candidate, denominator=1000),
        STABLE,
        evidence,
        speakers=24,
        margin=margin,
        relative=relative,
        limit=limit,
        support=SUPPORT,
    )


def judge(evidence: Interval, candidate: float, *, metric: Metric = WER, margin: float = 0.03) -> tuple[Value, str]:
    verdict = regression_verdict(
        "accent=scottish&noise=5db",
        metric,
        Count(numerator=candidate, denominator=1000),
        STABLE,
        evidence,
        speakers=evidence.speakers,
        margin=margin,
        support=SUPPORT,
    )
    assert len(verdict.reasons) == 1
    return verdict.value, verdict.reasons[0]


@pytest.mark.parametrize(
    ("evidence", "candidate", "value", "reason"),
    [
        (
            interval(0.189, 0.120, 0.258, 0.24),
            310,
            Value.FAIL,
            "WER 12.1% -> 31.0%, +18.9 points [+12.0, +25.8], margin 3.0: worse",
        ),
        (
            interval(-0.023, -0.031, -0.015, -0.017),
            98,
            Value.PASS,
            "WER 12.1% -> 9.8%, -2.3 points [-3.1, -1.5], margin 3.0: not worse",
        ),
        (
            interval(0.01, -0.02, 0.04, 0.03),
            131,
            Value.PASS,
            "WER 12.1% -> 13.1%, +1.0 points [-2.0, +4.0], margin 3.0: not worse",
        ),
        (
            interval(0.01, -0.03, 0.05, 0.04),
            131,
            Value.INCONCLUSIVE,
            "WER 12.1% -> 13.1%, +1.0 points [-3.0, +5.0], margin 3.0: undecided; "
            "about 30 more speakers would settle it",
        ),
        (
            interval(0.05, -0.01, 0.11, 0.1),
            171,
            Value.INCONCLUSIVE,
            "WER 12.1% -> 17.1%, +5.0 points [-1.0, +11.0], margin 3.0: undecided; "
            "about 11 more speakers would settle it",
        ),
        (
            interval(0.02, 0.01, 0.03, 0.031),
            141,
            Value.INCONCLUSIVE,  # surely worse, by less than the margin: not a Fail
            "WER 12.1% -> 14.1%, +2.0 points [+1.0, +3.0], margin 3.0: undecided; "
            "about 6 more speakers would settle it",
        ),
        (
            interval(0.03, -0.01, 0.07, 0.06),
            151,
            Value.INCONCLUSIVE,
            "WER 12.1% -> 15.1%, +3.0 points [-1.0, +7.0], margin 3.0: undecided; "
            "no number of speakers would settle it while the difference stays on the margin",
        ),
        (
            interval(0.25, None, None, None),
            371,
            Value.INCONCLUSIVE,
            "WER 12.1% -> 37.1%, +25.0 points [unknown, unknown], margin 3.0: undecided; "
            "24 speakers are too few for bounds",
        ),
        (
            interval(0.0, 0.0, 0.0, 0.0, unit="utterance", speakers=10),
            121,
            Value.PASS,
            "WER 12.1% -> 12.1%, +0.0 points [+0.0, +0.0], margin 3.0 (conditional on 10 speakers): not worse",
        ),
        (
            interval(0.189, 0.120, 0.258, 0.24, speakers=4),
            310,
            Value.INCONCLUSIVE,
            "WER 31.0% has too little support: 4 of 10 speakers",
        ),
    ],
)
def test_three_ways(evidence: Interval, candidate: float, value: Value, reason: str) -> None:
    assert judge(evidence, candidate) == (value, f"accent=scottish&noise=5db: {reason}")


@pytest.mark.parametrize(
    ("evidence", "value"),
    [
        (interval(-0.1, -0.15, -0.05, 0.14), Value.FAIL),
        (interval(0.1, 0.05, 0.15, -0.06), Value.PASS),
        (interval(-0.1, -0.25, 0.05, 0.2), Value.INCONCLUSIVE),
    ],
)
def test_higher_is_better(evidence: Interval, value: Value) -> None:
    assert judge(evidence, 100, metric=INTENT)[0] == value


@pytest.mark.parametrize(
    ("evidence", "candidate", "value", "reason"),
    [
        (
            interval(0.004, -0.001, 0.009, 0.008, excess=0.0),  # exactly on the margin (R4.4)
            125,
            Value.PASS,
            "WER 12.1% -> 12.5%, +0.4 points [-0.1, +0.9], margin 5% of 12.1%: 0.6: not worse",
        ),
        (
            interval(0.004, -0.001, 0.009, 0.006, excess=0.001),  # own bound within, the stable rate is not sure enough
            125,
            Value.INCONCLUSIVE,
            "WER 12.1% -> 12.5%, +0.4 points [-0.1, +0.9], margin 5% of 12.1%: 0.6: undecided; "
            "about 30 more speakers would settle it",
        ),
        (
            interval(0.02, 0.001, 0.039, 0.03, excess=0.025),
            141,
            Value.FAIL,
            "WER 12.1% -> 14.1%, +2.0 points [+0.1, +3.9], margin 5% of 12.1%: 0.6: worse",
        ),
        (
            interval(0.00605, 0.001, 0.01, 0.009, excess=0.004),  # proven, and exactly on the margin
            127,
            Value.INCONCLUSIVE,
            "WER 12.1% -> 12.7%, +0.6 points [+0.1, +1.0], margin 5% of 12.1%: 0.6: undecided; "
            "no number of speakers would settle it while the difference stays on the margin",
        ),
        (
            interval(0.02, -0.01, 0.05, None, excess=None),
            141,
            Value.INCONCLUSIVE,
            "WER 12.1% -> 14.1%, +2.0 points [-1.0, +5.0], margin 5% of 12.1%: 0.6: undecided; "
            "24 speakers are too few for bounds",
        ),
    ],
)
def test_a_relative_margin_is_a_share_of_the_stable_rate(
    evidence: Interval, candidate: float, value: Value, reason: str
) -> None:
    verdict = judged(evidence, candidate, margin=0.05, relative=True)
    assert (verdict.value, verdict.reasons) == (value, (f"overall: {reason}",))


@pytest.mark.parametrize(
    ("evidence", "errors", "value", "end"),
    [
        (interval(0.0, 0.0, 0.0, 0.0, excess=0.0), 0, Value.PASS, "margin 5% of 0.0%: 0.0: not worse"),
        (interval(0.002, 0.001, 0.003, 0.003, excess=0.003), 2, Value.FAIL, "margin 5% of 0.0%: 0.0: worse"),
    ],
)
def test_a_share_of_a_stable_rate_of_zero_is_no_margin(evidence: Interval, errors: int, value: Value, end: str) -> None:
    verdict = regression_verdict(
        "overall",
        WER,
        Count(numerator=errors, denominator=1000),
        Count(numerator=0, denominator=1000),
        evidence,
        speakers=24,
        margin=0.05,
        relative=True,
        support=SUPPORT,
    )
    assert verdict.value == value
    assert verdict.reasons[0].endswith(end)


def test_a_relative_margin_of_nothing_needs_no_bound_of_its_own() -> None:
    verdict = regression_verdict(
        "overall",
        WER,
        STABLE,
        STABLE,
        interval(-0.01, -0.02, 0.0, 0.0),
        speakers=24,
        margin=0.0,
        relative=True,
        support=SUPPORT,
    )
    assert verdict.value == Value.PASS


WORSE = interval(0.189, 0.120, 0.258, 0.24)
BETTER = interval(-0.023, -0.031, -0.015, -0.017)


@pytest.mark.parametrize(
    ("evidence", "candidate", "limit", "value", "ends"),
    [
        (BETTER, 98, 0.098, Value.PASS, ["not worse"]),  # exactly on the limit (R4.4)
        (BETTER, 98, 0.097, Value.FAIL, ["WER 9.8%, ceiling 9.7%: over the ceiling", "not worse"]),
        (WORSE, 310, 0.35, Value.FAIL, ["worse"]),
        (WORSE, 310, 0.30, Value.FAIL, ["margin 3.0: worse", "WER 31.0%, ceiling 30.0%: over the ceiling"]),
    ],
)
def test_every_release_is_held_to_the_limit_beside_its_margin(
    evidence: Interval, candidate: float, limit: float, value: Value, ends: list[str]
) -> None:
    verdict = judged(evidence, candidate, margin=0.03, limit=limit)
    assert verdict.value == value
    assert len(verdict.reasons) == len(ends)
    assert all(reason.endswith(end) for reason, end in zip(verdict.reasons, ends, strict=True))


@pytest.mark.parametrize(
    ("metric", "numerator", "denominator", "value", "reason"),
    [
        (WER, 350, 1000, Value.PASS, "overall: WER 35.0%, ceiling 35.0%: within the ceiling"),
        (WER, 351, 1000, Value.FAIL, "overall: WER 35.1%, ceiling 35.0%: over the ceiling"),
        (INTENT, 350, 1000, Value.PASS, "overall: intent recall 35.0%, floor 35.0%: within the floor"),
        (INTENT, 349, 1000, Value.FAIL, "overall: intent recall 34.9%, floor 35.0%: under the floor"),
        (INTENT, 0, 0, Value.INCONCLUSIVE, "overall: no commands, so no intent recall"),
    ],
)
def test_limits(metric: Metric, numerator: int, denominator: int, value: Value, reason: str) -> None:
    verdict = limit_verdict("overall", metric, Count(numerator=numerator, denominator=denominator), limit=0.35)
    assert (verdict.value, verdict.reasons) == (value, (reason,))


def test_no_words_is_inconclusive() -> None:
    verdict = regression_verdict(
        "noise=5db",
        WER,
        Count(numerator=3, denominator=0),
        Count(numerator=0, denominator=0),
        interval(None, None, None, None),
        speakers=24,
        margin=0.03,
        support=SUPPORT,
    )
    assert (verdict.value, verdict.reasons) == (Value.INCONCLUSIVE, ("noise=5db: no reference words, so no WER",))


@pytest.mark.parametrize(
    ("errors", "words", "speakers", "value", "reason"),
    [
        (350, 1000, 24, Value.PASS, "overall: WER 35.0%, ceiling 35.0%, first release: within the ceiling"),
        (351, 1000, 24, Value.FAIL, "overall: WER 35.1%, ceiling 35.0%, first release: over the ceiling"),
        (10, 99, 24, Value.INCONCLUSIVE, "overall: WER 10.1% has too little support: 99 of 100 reference words"),
        (
            10,
            50,
            3,
            Value.INCONCLUSIVE,
            "overall: WER 20.0% has too little support: 3 of 10 speakers, 50 of 100 reference words",
        ),
        (0, 0, 24, Value.INCONCLUSIVE, "overall: no reference words, so no WER"),
    ],
)
def test_first_releases_are_held_to_the_ceiling(
    errors: int, words: int, speakers: int, value: Value, reason: str
) -> None:
    verdict = first_release_verdict(
        "overall",
        WER,
        Count(numerator=errors, denominator=words),
        speakers=speakers,
        limit=0.35,
        support=SUPPORT,
    )
    assert (verdict.value, verdict.reasons) == (value, (reason,))


def test_a_first_release_where_higher_is_better_is_held_to_a_floor() -> None:
    verdict = first_release_verdict(
        "overall", INTENT, Count(numerator=80, denominator=100), speakers=24, limit=0.9, support=SUPPORT
    )
    assert verdict.reasons == ("overall: intent recall 80.0%, floor 90.0%, first release: under the floor",)


def test_more_units_grow_with_the_square_of_the_gap() -> None:
    assert more_units(24, harm=0.0, proven=-0.08, bound=0.06, margin=0.03) == 72
    assert more_units(24, harm=0.0, proven=-0.05, bound=0.04, margin=0.03) == 19


def test_shown() -> None:
    assert shown(WER, 0.12345) == "12.3%"
