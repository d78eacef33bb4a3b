"""The short certificate of the offline gates: bounds so wide that no honest change of numbers breaks them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner
from scipy.special import bdtr, bdtrc

from benchmarks import gate_power
from evalpacks.statistics import speakers_needed

UNLIKELY = 1e-6
"""The chance that a product within its stated error rates breaks one of these tests on other random numbers."""


@pytest.mark.parametrize(("name", "speakers"), [("varying", 12), ("varying", 40), ("equal", 40)])
def test_equal_models_rarely_fail(name: str, speakers: int) -> None:
    runs = 100
    found = gate_power.simulate(runs, speakers, 0.0, gate_power.ASSUMED[name])
    false = int(found.gate.any(axis=(1, 2)).sum())
    assert bdtrc(false - 1, runs, gate_power.ALPHA) > UNLIKELY
    assert gate_power.any_slice(found.plain) > 4 * gate_power.ALPHA  # what the product's bounds are for


def test_a_planted_harm_is_found_at_the_planned_size_and_in_its_slice() -> None:
    runs, assumed = 30, gate_power.ASSUMED["varying"]
    planned = speakers_needed(
        effect=gate_power.HARM,
        units_per_speaker=gate_power.WORDS_A_SPEAKER,
        comparisons=gate_power.ACCENTS * gate_power.NOISES,
        assumptions=assumed,
    )
    fails = gate_power.simulate(runs, planned, gate_power.HARM, assumed).gate
    assert bdtr(int(fails[:, 0, 0].sum()), runs, 0.9) > UNLIKELY
    fails[:, 0, 0] = False
    assert bdtrc(int(fails.any(axis=(1, 2)).sum()) - 1, runs, gate_power.ALPHA) > UNLIKELY


@pytest.mark.parametrize("name", ["varying", "equal"])
def test_simulated_arms_differ_as_assumed(name: str) -> None:
    assumed = gate_power.ASSUMED[name]
    errors = gate_power.draw(np.random.default_rng(1), 400, 0.0, assumed)
    words = errors.words.sum()
    assert errors.stable.sum() / words == pytest.approx(assumed.rate, rel=0.05)
    assert errors.candidate.sum() / words == pytest.approx(assumed.rate, rel=0.05)
    difference = (errors.candidate - errors.stable) / errors.words
    between = difference.mean(axis=(2, 3)).var() - difference.var(axis=(2, 3)).mean() / 15
    assert np.sqrt(max(0.0, between)) == pytest.approx(assumed.speaker_sd, abs=0.005)
    within = (errors.candidate - errors.stable) - difference.mean(axis=(2, 3), keepdims=True) * errors.words
    expected = assumed.disagreement * 2 * assumed.rate * (1 - assumed.rate)
    assert (within**2).sum() / words * 16 / 15 == pytest.approx(expected, rel=0.1)


def test_the_harm_is_planted_on_the_first_slice_alone() -> None:
    errors = gate_power.draw(np.random.default_rng(1), 400, 0.03, gate_power.ASSUMED["equal"])
    harm = (errors.candidate - errors.stable).sum(axis=(1, 3)) / errors.words.sum(axis=(1, 3))
    assert harm[0, 0] == pytest.approx(0.03, abs=0.01)
    assert np.abs(harm.ravel()[1:]).max() < 0.015


@pytest.mark.parametrize(("events", "runs", "bound"), [(0, 2000, 0.001497), (60, 2000, 0.03706), (7, 7, 1.0)])
def test_upper_bounds_of_a_share(events: int, runs: int, bound: float) -> None:
    assert gate_power.upper95(events / runs, runs) == pytest.approx(bound, rel=1e-3)


def test_the_figures_of_benchmarks_md(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate_power, "SPEAKERS", {"varying": (10,), "equal": (10,)})
    printed = CliRunner().invoke(gate_power.main, ["--runs", "2", "--json"])
    document = json.loads(printed.stdout)
    assert (document["benchmark"], document["settings"]["runs"]) == ("gate_power", 2)
    headline = {"aa_false_fail_upper95", "power_at_mde", "plain_bootstrap_aa_false_fail", "plain_bootstrap_power"}
    assert headline < set(document["figures"])
    assert document["figures"]["aa_false_fail_varying_10"]["unit"] == "share"
