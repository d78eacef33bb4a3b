"""Drift detection on sums: a short certificate, what moved where, and the laws of its evidence."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import poisson

from benchmarks import drift as certificate
from benchmarks import drift_rules
from benchmarks.drift_traffic import DAY_S, Shift
from contracts.drift import (
    DriftSettings,
    Expectation,
    Moved,
    PackCoverage,
    PipelineCheck,
    Uncovered,
)
from contracts.reports import Calibration, CalibrationBin
from contracts.verdict import Value, Verdict
from monitoring.drift import coverage, detection, outcome, population, quality, windows
from monitoring.drift.signals import HISTOGRAMS, SIGNALS
from tests.serving.conftest import CONTRACT

SETTINGS = DriftSettings(slices=("device", "language", "tenant"))
REFERENCE = detection.reference_windows(SETTINGS)
UNLIKELY = 1e-6


def quiet(signal: object) -> None:
    """Progress that nobody reads."""


def test_stationary_weeks_raise_no_more_alarms_than_stated_and_fixed_thresholds_many() -> None:
    weeks, families = 10, 2
    false = certificate.false_alarms(range(500, 500 + families), weeks, quiet)
    years = families * weeks * 7 / 365.25
    assert poisson.sf(sum(false[certificate.JUDGE]) - 1, years) > UNLIKELY
    assert min(sum(false[rule]) for rule in drift_rules.NAMES) > 20 * years


@pytest.mark.parametrize("name", ["firmware_snr", "language_mix", "corrections"])
def test_a_planted_shift_is_found_on_its_slice_soon(name: str) -> None:
    (wait,) = certificate.delays(name, range(7, 8))[certificate.JUDGE]
    assert wait <= 7


def test_what_moved_says_since_when_where_and_how_much() -> None:
    shift = Shift("snr", "device", "headset", -6.0, REFERENCE + 5)
    days = REFERENCE + 12
    table = certificate.table_of(3, days, (shift,))
    found = detection.detect(table, SETTINGS, from_s=0.0, promoted_s=0.0, until_s=days * DAY_S)
    moved = {(one.signal, one.slice): one for one in found.moved}
    own = moved["snr", "device=headset"]
    assert own.since_s == shift.day * DAY_S
    assert own.lower < -6 < own.upper
    assert own.now < own.before
    assert own.worse
    assert own.evidence >= own.alarm_at == found.watch.alarm_at
    assert own.distribution is not None
    assert sum(own.distribution.now) == pytest.approx(1)
    assert ("snr", "device=phone") not in moved


def test_what_stable_makes_of_traffic_begins_anew_with_a_promotion() -> None:
    days = REFERENCE + 12
    promoted = (REFERENCE + 5) * DAY_S
    shift = Shift("confidence", "device", "headset", -0.1, REFERENCE + 5)
    table = certificate.table_of(4, days, (shift,))
    found = detection.detect(table, SETTINGS, from_s=0.0, promoted_s=promoted, until_s=days * DAY_S)
    assert not {one.signal for one in found.moved} & {"confidence", "low_confidence", "corrections"}
    assert any(text.startswith("what stable makes of it: 7 of 28") for text in found.watch.waiting)


def _one_stream(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> detection.Streams:
    shape = (1, len(values))
    snr = next(signal for signal in SIGNALS if signal.name == "snr")
    return detection.Streams(((snr, "overall"),), values[None], np.full(shape, 400.0), np.full(shape, 64.0), 0.0)


@given(seed=st.integers(0, 10_000), shift=st.floats(-50, 50), scale=st.sampled_from([0.5, 1.0]))
@settings(max_examples=15, deadline=None)
def test_evidence_does_not_depend_on_the_level(seed: int, shift: float, scale: float) -> None:
    values = np.random.default_rng(seed).normal(0, scale, REFERENCE + 10)
    before = detection.evidence(_one_stream(values), SETTINGS)
    after = detection.evidence(_one_stream(values + shift), SETTINGS)
    np.testing.assert_allclose(after.evidence, before.evidence, rtol=1e-6)
    assert not before.evidence[:, :REFERENCE].any()


@given(seed=st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_a_season_of_the_week_is_no_drift(seed: int) -> None:
    generator = np.random.default_rng(seed)
    season = np.resize(generator.normal(0, 20, 7), REFERENCE + 14)
    noise = generator.normal(0, 0.5, REFERENCE + 14)
    plain = detection.evidence(_one_stream(noise), SETTINGS)
    seasonal = detection.evidence(_one_stream(noise + season), SETTINGS)
    np.testing.assert_allclose(seasonal.evidence, plain.evidence, rtol=1e-4)


def test_evidence_grows_by_at_most_one_a_window_on_average() -> None:
    generator = np.random.default_rng(1)
    days, runs = REFERENCE + 14, 4_000
    snr = next(signal for signal in SIGNALS if signal.name == "snr")
    shape = (runs, days)
    streams = detection.Streams(
        ((snr, "overall"),) * runs, generator.normal(20, 1, shape), np.full(shape, 400.0), np.zeros(shape), 0.0
    )
    found = detection.evidence(streams, SETTINGS).evidence[:, -1]
    for threshold in (50.0, 200.0, 1_000.0):
        assert (found >= threshold).mean() <= 14 / threshold + 3 * np.sqrt(14 / threshold / runs)


def test_adding_cells_adds_windows() -> None:
    table = certificate.table_of(9, 2)
    again = windows.merged([table[table["window_s"] == 0.0], table[table["window_s"] > 0.0]])
    pd.testing.assert_frame_equal(again, windows.merged([table]))


# ---- whose change -----------------------------------------------------------------------------------------------
def moved(signal: str = "snr", change: float = -6.0, *, worse: bool = True, piece: str = "device=headset") -> Moved:
    return Moved(
        signal=signal, says="speech over background", unit="dB", slice=piece, since_s=0, alarmed_s=1, before=20,
        now=20 + change, change=change, lower=change - 1, upper=change + 1, margin=1.5, evidence=1e6, alarm_at=1e5,
        sessions=500, worse=worse,
    )  # fmt: skip


SAME = PipelineCheck(name="front end", same=True, says="as promised")
OTHER = PipelineCheck(name="front end", same=False, says="off by 0.3")
RATES = PipelineCheck(name="sample rates", same=False, says="5.0% of requests came at 24000 Hz")
UNSEEN = PipelineCheck(name="scores on packs", same=None, says="another pack")


@pytest.mark.parametrize(
    ("checks", "found", "whose"),
    [
        ((SAME,), (), "none"),
        ((SAME, UNSEEN), (moved(),), "population"),
        ((SAME, UNSEEN), (moved(), moved("confidence")), "population"),
        ((SAME, UNSEEN), (moved("confidence"),), "bundle"),
        ((SAME, OTHER), (moved("confidence"),), "pipeline"),
        ((SAME, OTHER), (moved(),), "pipeline"),
        ((OTHER,), (), "pipeline"),
    ],
)
def test_whose_change(checks: tuple[PipelineCheck, ...], found: tuple[Moved, ...], whose: str) -> None:
    assert population.cause(checks, found) == whose


@pytest.mark.parametrize(
    ("requests", "refused", "same", "says"),
    [
        ({16_000: 900.0, 8_000: 100.0}, 0.0, True, "rates of the contract (8000 Hz, 16000 Hz)"),
        ({16_000: 900.0, 12_000: 100.0}, 0.0, False, "10.0% of requests came at 12000 Hz"),
        ({16_000: 950.0, 0: 50.0}, 50.0, False, "5.0% of requests came at other rates"),
        ({16_000: 1_000.0, 12_000: 2.0}, 0.0, True, "rates of the contract"),
        ({}, 0.0, None, "no audio came"),
        ({0: 900.0}, 0.0, None, "no audio came"),  # a voice is sent none
    ],
)
def test_rates_against_the_feature_contract(
    requests: dict[int, float], refused: float, same: bool | None, says: str
) -> None:
    check = population.rates_check(requests, refused, CONTRACT)
    assert check.same is same
    assert says in check.says


@pytest.mark.parametrize(
    ("requests", "refused", "before", "fits"),
    [
        ({16_000: 900.0, 24_000: 100.0}, 100.0, (16_000, 24_000), True),
        ({16_000: 900.0, 24_000: 100.0}, 0.0, (16_000, 24_000), True),  # resampled on the way: not refused yet
        ({16_000: 900.0, 24_000: 100.0}, 100.0, (16_000,), False),
        ({16_000: 900.0, 24_000: 60.0, 12_000: 40.0}, 100.0, (16_000, 24_000), False),
        ({16_000: 950.0, 0: 50.0}, 50.0, (16_000, 24_000), False),  # at which rate, nobody noted
        ({16_000: 900.0, 8_000: 100.0}, 0.0, (8_000, 16_000), False),  # nothing is refused
        ({}, 0.0, (16_000, 24_000), False),
    ],
)
def test_whether_the_bundle_before_takes_what_stable_refuses(
    requests: dict[int, float], refused: float, before: tuple[int, ...], fits: bool
) -> None:
    earlier = CONTRACT.model_copy(update={"accepted_rates_hz": before})
    assert population.rates_fit(requests, refused, CONTRACT, earlier) is fits


def test_another_pack_convicts_nobody() -> None:
    verdict = Verdict(value=Value.INCONCLUSIVE, reasons=("the pack x is not the one",))
    assert population.scores_check(verdict).same is None


# ---- what to do -------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Case:
    """What was seen, and what it asks for."""

    seen: outcome.Seen
    asks: str
    value: Value


def seen(
    *found: Moved, checks: tuple[PipelineCheck, ...] = (SAME,), share: float = 0.0, broken: int = 0
) -> outcome.Seen:
    lacking = Uncovered(column="language", value="cy", traffic_share=share, pack_share=0, pack_utterances=0)
    lacks = PackCoverage(uncovered=(lacking,), proposals=("a slice for language=cy",)) if share else PackCoverage()
    rows = (Expectation(expectation="expect_x", column="audio_s", rows=broken),) if broken else ()
    return outcome.Seen(found, checks, population.cause(checks, found), lacks, rows)


CASES = {
    "nothing": Case(seen(), "nothing", Value.PASS),
    "a signal moved": Case(seen(moved()), "ticket", Value.INCONCLUSIVE),
    "users are hurt": Case(seen(moved(), moved("confidence")), "page", Value.FAIL),
    "it got better": Case(seen(moved(), moved("confidence", worse=False)), "ticket", Value.INCONCLUSIVE),
    "a small loss": Case(seen(moved(), moved("confidence", -2.0)), "ticket", Value.INCONCLUSIVE),
    "stable alone": Case(seen(moved("corrections")), "recommend_rollback", Value.FAIL),
    "our own machinery": Case(seen(checks=(OTHER,)), "page", Value.FAIL),
    "rates that the bundle before takes": Case(
        seen(checks=(SAME, RATES))._replace(rates_fit_before=True), "recommend_rollback", Value.FAIL
    ),
    "such rates, and more of our own": Case(
        seen(checks=(OTHER, RATES))._replace(rates_fit_before=True), "page", Value.FAIL
    ),
    "our own, and users": Case(seen(moved("corrections"), checks=(OTHER,)), "page", Value.FAIL),
    "a small gap": Case(seen(share=0.05), "propose_slice", Value.INCONCLUSIVE),
    "a large gap": Case(seen(moved(), share=0.2), "propose_pack", Value.INCONCLUSIVE),
    "broken telemetry": Case(seen(broken=3), "ticket", Value.INCONCLUSIVE),
}


@pytest.mark.parametrize("name", CASES)
def test_what_to_do(name: str) -> None:
    advice = outcome.advise("asr-commands", CASES[name].seen, SETTINGS)
    assert advice.outcome == CASES[name].asks
    assert advice.verdict.value == CASES[name].value
    assert advice.verdict.reasons
    assert bool(advice.commands) == (advice.outcome != "nothing")


def test_a_finding_reads_as_a_sentence() -> None:
    assert outcome.in_words(moved()) == ("speech over background on device=headset: 20 -> 14 dB (change [-7, -5])")


# ---- packs and quality ------------------------------------------------------------------------------------------
def test_packs_beside_traffic() -> None:
    found = coverage.coverage(
        {"language": {"en": 880, "cy": 120}, "device": {"phone": 1, "car": 1}, "rate": {"16000": 1_000}},
        {"language": {"en": 500.0, "cy": 4.0}, "rate": {"16000": 504.0}},
        SETTINGS,
    )
    (lacking,) = found.uncovered
    assert (lacking.column, lacking.value, lacking.pack_utterances) == ("language", "cy", 4)
    assert found.proposals == (
        "a pack for language=cy: 12.0% of traffic, 4 utterances in packs, at least 26 more are needed",
    )
    assert found.unseen == ("device",)
    assert {mix.column: round(mix.distance, 3) for mix in found.mixes} == {"language": 0.112, "rate": 0.0}


BINS = len(HISTOGRAMS["confidence"].edges) - 1


def calibration(accuracy: float, *, utterances: int = 400, lower: float = 0.9) -> Calibration:
    part = CalibrationBin(lower=lower, upper=lower + 0.1, utterances=utterances, confidence=0.95, accuracy=accuracy)
    return Calibration(pack="commands", error=0.02, bins=(part,))


def in_bin(place: int, count: float = 1_000.0) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    found = np.zeros(BINS)
    found[place] = count
    return found


def test_quality_is_what_calibration_says_and_no_surer() -> None:
    found = quality.estimate([calibration(0.9)], in_bin(9), np.zeros(BINS))
    assert found is not None
    assert found.estimate == pytest.approx(0.9)
    assert 0.85 < found.lower < 0.9 < found.upper < 0.94
    assert found.change is None


def test_packs_that_disagree_widen_it() -> None:
    one = quality.estimate([calibration(0.9)], in_bin(9), np.zeros(BINS))
    two = quality.estimate([calibration(0.9), calibration(0.6)], in_bin(9), np.zeros(BINS))
    assert one is not None
    assert two is not None
    assert two.lower < 0.6
    assert two.upper >= one.upper


def test_a_confidence_that_no_pack_has_may_mean_anything() -> None:
    found = quality.estimate([calibration(0.9)], in_bin(2), in_bin(9))
    assert found is not None
    assert (found.lower, found.upper, found.unsupported) == (0.0, 1.0, 1.0)
    assert found.change_lower is not None
    assert found.change_upper is not None
    assert found.change_lower < -0.85
    assert found.change_upper > 0


NONE = np.zeros(BINS)


@pytest.mark.parametrize(
    ("calibrations", "now", "why"),
    [
        ([], in_bin(9), "the release has no calibration, since its model gives no confidence"),
        ([], NONE, "the release has no calibration, since its model gives no confidence"),
        ([calibration(0.9)], NONE, "no answer of the stable bundle in the last window has a confidence"),
        ([calibration(0.9)], in_bin(9), ""),
    ],
)
def test_quality_is_unknown_exactly_where_there_is_no_estimate(
    calibrations: list[Calibration], now: np.ndarray[tuple[int], np.dtype[np.float64]], why: str
) -> None:
    assert quality.why_unknown(calibrations, now) == why
    assert (quality.estimate(calibrations, now, NONE) is None) == bool(why)
