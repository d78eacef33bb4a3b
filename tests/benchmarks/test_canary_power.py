"""The short certificate of the canary judge: bounds so wide that no honest change of numbers breaks them."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from scipy.special import bdtr, bdtrc

from benchmarks import canary_power, canary_rules, canary_traffic, frame
from benchmarks.canary_traffic import METRICS, SLICES, Harm, draw
from contracts.policy import CanaryPlan
from monitoring.canary import judge

UNLIKELY = 1e-6
"""The chance that a product within its stated error rates breaks one of these tests on other random numbers."""
GAP_S = 5.0


def test_equal_arms_are_rarely_stopped_by_the_judge_and_often_by_the_others() -> None:
    runs = canary_power.simulate(7)
    false = round(canary_power.stopped(runs, "judge") * len(runs))
    assert bdtrc(false - 1, len(runs), canary_rules.ALPHA) > UNLIKELY
    assert canary_power.stopped(runs, "fixed_thresholds") > 0.5


@pytest.mark.parametrize("metric", METRICS)
def test_a_harm_of_four_margins_is_found_on_its_slice(metric: str) -> None:
    runs = canary_power.simulate(4, Harm(metric, 4))
    assert bdtr(round(canary_power.found(runs, "judge") * len(runs)), len(runs), 0.9) > UNLIKELY
    assert canary_power.median_sessions(runs, "judge") < 2 * canary_traffic.SESSIONS


def test_the_benchmark_s_judge_is_the_product_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canary_rules, "METRICS", {"wer": METRICS["wer"]})
    canary = draw(np.random.default_rng(3), Harm("wer", 8))
    slices, arms, _ = np.indices(canary.closed_s.shape)
    rows = pd.DataFrame(
        {
            "timestamp": canary.closed_s.ravel() - GAP_S,
            "session_id": [f"s{number}" for number in range(canary.closed_s.size)],
            "arm": np.array(["stable", "canary"])[arms.ravel()],
            "slice": slices.ravel(),
            "errors": canary.n["wer"].ravel(),
            "words": canary.d["wer"].ravel(),
        }
    )
    plan = CanaryPlan(
        metrics={"wer": METRICS["wer"]}, slices=("slice",), deadline_s=7_200, min_sessions=canary_rules.MIN_SESSIONS,
        caps=canary_rules.CAPS,
    )  # fmt: skip
    judgement = judge(rows, plan, now_s=3_600, started_s=-GAP_S, gap_s=GAP_S)
    assert judgement.decision == "rollback"
    assert judgement.at_s == pytest.approx(canary_rules.product(canary).stop.at_s)


def test_the_simulated_arms_differ_by_the_harm_alone() -> None:
    equal = draw(np.random.default_rng(1))
    for name in METRICS:
        rates = equal.n[name].sum(axis=(0, 2)) / equal.d[name].sum(axis=(0, 2))
        assert rates[1] == pytest.approx(rates[0], rel=0.06)
    slow = equal.n["latency_ms"].sum() / equal.d["latency_ms"].sum()
    assert slow == pytest.approx(canary_traffic.SLOW, rel=0.1)
    for name, metric in METRICS.items():
        harmed = draw(np.random.default_rng(1), Harm(name, 4))
        rates = harmed.n[name].sum(axis=2) / harmed.d[name].sum(axis=2)
        wanted = 4 * metric.margin * (rates[0, 0] if metric.relative else 1.0)
        assert rates[0, 1] - rates[0, 0] == pytest.approx(wanted, rel=0.35)
        assert abs(rates[1:, 1] - rates[1:, 0]).mean() < wanted / 3
    assert len(equal.closed_s) == SLICES


def test_the_command_prints_the_form_of_every_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canary_power, "certificate", _tiny)
    printed = json.loads(CliRunner().invoke(canary_power.main, ["--quick", "--json"]).stdout)
    assert printed["benchmark"] == "canary_power"
    wanted = {"aa_false_stop_upper95", "aa_promote_rate", "power_4x", "power_2x", "median_sessions_to_stop_4x"}
    assert wanted <= set(printed["figures"])


def _tiny(scale: float, progress: frame.Progress) -> frame.Result:
    assert scale < 1
    equal = canary_power.equal_arms(2, 2, progress)
    return frame.Result(settings={}, figures=equal | canary_power.planted(1, progress))
