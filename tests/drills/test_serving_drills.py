"""The drills of a serving team, each injected into a running system and ending in the right action (scenarios/*.yaml).

`make drills` runs them: they take minutes, because evidence does.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from contracts.reports import SliceEvidence
from tests.drills.drill import Drill, Scenario, scenarios

SCENARIOS = scenarios()
CANARIES = [name for name, scenario in sorted(SCENARIOS.items()) if scenario.metrics]


def worse_slices(rows: tuple[SliceEvidence, ...], metric: str) -> set[str]:
    return {row.slice for row in rows if row.state == "worse" and row.metric == metric}


@pytest.mark.parametrize("name", CANARIES)
def test_a_canary_ends_in_the_right_action(name: str, tmp_path: Path) -> None:
    scenario = SCENARIOS[name]
    drill = Drill(tmp_path / "project", scenario)
    report = drill.canary()
    said, expected = report.verdict.reasons, scenario.expect
    assert report.decision == expected.decision, said
    assert set(expected.slices) <= worse_slices(report.stages[-1].evidence, expected.metric), said
    if expected.within:
        states = {row.state for row in report.stages[-1].evidence if row.slice == expected.within}
        assert "worse" not in states, said
    if expected.decision == "partial_rollback":
        assert drill.routed_back() == expected.slices
    _nobody_noticed(drill, scenario)


def _nobody_noticed(drill: Drill, scenario: Scenario) -> None:
    """Not one request failed over it, no session met two bundles at a time, and stable serves what the canary had."""
    assert drill.summary.failures == {}
    assert drill.summary.answered == drill.summary.requests > 50
    assert drill.summary.mixed_sessions == 0
    assert drill.table.stable == drill.stable
    if scenario.expect.decision != "promote":
        assert drill.table.canary is None
        assert drill.table.slice_rules == ()
        assert drill.answered_after() == {drill.stable}
