"""The drills that traffic itself makes: no release is to blame, and drift or an incident says so (scenarios/*.yaml).

A gateway with a trained model serves clients over the wire; what it wrote is laid over weeks or hours (timeshift.py)
and judged by the operations behind `soundcheck drift` and `soundcheck incident open`. Nothing is mocked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

import pytest

from contracts.drift import DriftEvaluation
from contracts.incident import Incident
from tests.drills.drill import scenarios
from tests.drills.field import USUAL, Field
from tests.drills.timeshift import Recorded, by_turns

pytestmark = pytest.mark.timeout(600)  # a machine that may be busy; a quiet one takes a tenth

SCENARIOS = scenarios()
REFERENCE, LATER = 2700, 1200
"""Requests of drift's reference, and of the days after it."""
BASELINE, WINDOW = 600, 300
"""Requests of an incident's baseline, and of its window."""
ROUNDS = 4
ASKED = 3
LONGER = 5
PHONES = replace(USUAL, devices=("phone",))
OTHERS = replace(USUAL, devices=("desktop", "speaker"))


class Known(NamedTuple):
    """The field with its gateway, and what its usual traffic was for two weeks."""

    field: Field
    reference: Recorded


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Known]:
    with Field(tmp_path_factory.mktemp("field") / "project").gateway() as field:
        yield Known(field, field.play(field.usual(), REFERENCE, seed=1))


def moved(found: DriftEvaluation, signal: str) -> set[str]:
    return {one.slice for one in found.moved if one.signal == signal}


def test_nothing_is_wrong_and_drift_says_nothing(known: Known) -> None:
    field, reference = known
    found = field.drift([reference], [field.play(field.usual(), LATER, seed=3)])
    assert found.outcome == "nothing", found.verdict.reasons
    assert found.moved == ()
    assert found.watch.waiting == ()
    assert {check.same for check in found.checks} == {True}


def test_firmware_that_broke_a_microphone_is_the_population_s_change(known: Known) -> None:
    field, reference = known
    expected = SCENARIOS["6-firmware-drift"].expect
    others = field.play(field.usual(), LATER * 2 // 3, seed=5, habits=OTHERS)
    phones = field.play(field.through_broken_firmware(), LATER // 3, seed=6, habits=PHONES)
    found = field.drift([reference], [others, phones])
    assert found.outcome == expected.decision, found.verdict.reasons
    assert found.cause == expected.cause
    assert {one for one in moved(found, expected.metric) if one.startswith("device=")} == set(expected.slices)
    (level,) = (one for one in found.moved if (one.signal, one.slice) == (expected.metric, *expected.slices))
    assert -12 < level.lower < level.upper < -8, "12 dB less, and hiss on top"
    assert level.since_s == field.later_s
    assert moved(found, "confidence") >= set(expected.slices)
    assert not any(one.slice in ("device=desktop", "device=speaker") for one in found.moved)
    assert found.commands[0].startswith("soundcheck incident open")


def test_a_language_that_came_silently_is_found_by_its_share(known: Known) -> None:
    field, reference = known
    expected = SCENARIOS["7-silent-language-mix"].expect
    spanish = field.in_spanish()
    trace = field.play(spanish, REFERENCE // 40, seed=2, language="es")
    english = field.play(field.usual(), LATER * 3 // 5, seed=7)
    launch = field.play(spanish, LATER * 2 // 5, seed=8, language="es")
    found = field.drift([reference, trace], [english, launch])
    assert found.outcome == expected.decision, found.verdict.reasons
    assert found.cause == expected.cause
    assert moved(found, expected.metric) == set(expected.slices)
    assert moved(found, "low_confidence") | moved(found, "confidence") >= set(expected.slices)
    assert not any(one.slice == expected.within for one in found.moved), "English is heard as it was"
    assert any("language=es" in text for text in found.coverage.proposals)


@pytest.mark.parametrize("name", ["9-cost-of-longer-turns", "10-cost-of-retries"])
def test_a_cost_spike_names_which_of_its_factors_it_was(known: Known, name: str) -> None:
    field, expected = known.field, SCENARIOS[name].expect
    usual, dearer = field.usual(), _dearer(field, expected.cause)
    compared = by_turns(ROUNDS, lambda number: field.play(usual, BASELINE // ROUNDS, seed=90 + number), dearer)
    found = field.incident(compared.baseline, compared.window)
    assert found.recommendation.action == expected.decision, found.recommendation.reason
    assert found.cost.driver == expected.cause
    assert found.cost.cause in found.recommendation.reason
    assert _confirmed(found, expected.metric) >= set(expected.slices)
    assert f"the cost: {found.cost.cause}" in found.hypotheses
    factors: dict[str, float] = {one.factor: one.times for one in found.cost.factors}
    others = {"attempts_per_turn", "audio_s_per_turn", "turns_per_success"} - {expected.cause}
    assert all(0.7 < factors[one] < 1.5 for one in others), factors
    assert factors[expected.cause] == pytest.approx(found.cost.times or 0.0, rel=0.6)


def _dearer(field: Field, factor: str) -> Callable[[int], Recorded]:
    """What plays a round of what costs more."""
    if factor == "audio_s_per_turn":
        longer = field.longer(LONGER)
        return lambda number: field.play(longer, WINDOW // ROUNDS, seed=100 + number)
    usual = field.usual()
    return lambda number: field.play_impatient(usual, WINDOW // 3 // ROUNDS, seed=110 + number, asked=ASKED)


def _confirmed(found: Incident, metric: str) -> set[str]:
    return {one.slice for one in found.regressions if one.metric == metric and one.confirmed}
