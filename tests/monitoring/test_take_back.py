"""May drift start a rollback: every limit refuses by itself and is said, and only where none is reached it may."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.drift import DriftEvaluation, DriftSettings, PipelineCheck
from monitoring.drift.take_back import FRESH_S, Standing, refusals
from tests.pages import drift_examples as examples

START = DriftSettings(rollback="start")
CLEAR = Standing(
    is_stable=True, age_s=60.0, has_canary=False, is_moving=False, is_frozen=False, slices=0, newest="promote",
    since_rollback_s=None, no_target="", no_signer="",
)  # fmt: skip
UNSEEN = PipelineCheck(name="scores on packs", same=None, says="another pack")


def evaluation(**changes: Any) -> DriftEvaluation:
    return examples.own_doing().model_copy(update=changes)


WHERE: dict[str, tuple[dict[str, Any], str]] = {
    "another stable": ({"is_stable": False}, "T4: another bundle is stable now"),
    "an old evaluation": ({"age_s": FRESH_S + 3600}, "T4: the evaluation is 7.0 h old, at most 6 h"),
    "a canary": ({"has_canary": True}, "T5: a canary has traffic"),
    "a move under way": ({"is_moving": True}, "T5: a promotion or rollback is under way"),
    "frozen": ({"is_frozen": True}, "T6: the family is frozen"),
    "slices by hand": ({"slices": 2}, "T6: slices are routed by hand: 2"),
    "somebody went back": ({"newest": "rollback"}, "T6: the newest move is no promotion but: rollback"),
    "somebody went forward": ({"newest": "forward"}, "T6: the newest move is no promotion but: forward"),
    "just taken back": ({"since_rollback_s": 7200.0}, "T7: the last rollback was 2.0 h ago, 168 h must be between two"),
    "nowhere to go": ({"no_target": "there is no bundle to go back to"}, "T8: there is no bundle to go back to"),
    "nobody signs": ({"no_signer": "no such key"}, "T9: no such key"),
}


@pytest.mark.parametrize("name", WHERE)
def test_each_limit_refuses_by_itself(name: str) -> None:
    changed, says = WHERE[name]
    assert refusals(evaluation(), CLEAR._replace(**changed), START) == (says,)


WHAT: dict[str, tuple[dict[str, Any], str]] = {
    "the population changed": ({"cause": "population"},
                               "T2: the evaluation asks for recommend_rollback, the change is of: population"),
    "the pipeline changed": ({"outcome": "page", "cause": "pipeline"},
                             "T2: the evaluation asks for page, the change is of: pipeline"),
    "a loss that is small": ({"outcome": "ticket"}, "T2: the evaluation asks for ticket, the change is of: bundle"),
    "a check that could not be made": ({"checks": (UNSEEN,)}, "T3: could not be checked: scores on packs"),
}  # fmt: skip


@pytest.mark.parametrize("name", WHAT)
def test_what_was_found_must_be_the_bundle_s_doing(name: str) -> None:
    changed, says = WHAT[name]
    assert refusals(evaluation(**changed), CLEAR, START) == (says,)


@pytest.mark.parametrize("cause", ["bundle", "pipeline"])
def test_nothing_stands_against_it(cause: str) -> None:
    assert refusals(evaluation(cause=cause), CLEAR, START) == ()


def test_by_default_a_person_decides() -> None:
    assert refusals(evaluation(), CLEAR, DriftSettings()) == ("T1: params.yaml says rollback: recommend",)


@pytest.mark.parametrize(("hours", "may"), [(23.9, False), (24.0, True), (24.1, True)])
def test_the_cooldown_is_what_params_yaml_says(hours: float, may: bool) -> None:
    settings = DriftSettings(rollback="start", rollback_cooldown_h=24)
    assert (refusals(evaluation(), CLEAR._replace(since_rollback_s=hours * 3600), settings) == ()) is may


@given(names=st.sets(st.sampled_from(sorted(WHERE)), max_size=5))
def test_law_another_limit_never_takes_a_refusal_away(names: set[str]) -> None:
    standing = CLEAR
    for name in sorted(names):
        standing = standing._replace(**WHERE[name][0])
    alone = {field for name in names for field in WHERE[name][0]}
    assert len(refusals(evaluation(), standing, START)) == len(alone)
