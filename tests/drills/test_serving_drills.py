"""The drills of a serving team, each injected into a running system and ending in the right action (scenarios/*.yaml).

`make drills` runs them: they take minutes, because evidence does.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from contracts.errors import Refused
from contracts.policy import FamilyPolicy
from contracts.reports import ReplayReport
from contracts.verdict import Value
from operations import canary, pointer, stage
from operations.context import put
from operations.gate import Stopped
from operations.traffic import count_errors
from registry.documents import get_document
from serving.client import start_gateway
from serving.telemetry import read
from serving.traffic import Habits, play
from serving.traffic.playing import WRONG_RATE_HZ
from speech.front_end import FrontEndConfig
from tests.drills.drill import WORDS, Drill, scenarios, worse_slices, write_pack
from tests.operations.gated_releases import FAMILY
from tests.operations.tiny_family import GATEWAY, TinyFamily
from tests.serving.conftest import CONTRACT

pytestmark = pytest.mark.timeout(900)  # a canary's deadline, twice, on a machine that may be busy

SCENARIOS = scenarios()
ELSEWHERE = {"11-late-first-audio", "15-code-switching-corrections"}
"""Injected with traffic of their own: test_voice_drill.py, test_code_switching_drill.py."""
CANARIES = [name for name, scenario in sorted(SCENARIOS.items()) if scenario.metrics and name not in ELSEWHERE]


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
    if scenario.stages == ("shadow",):
        during, after = drill.cost_per_answer()
        assert during > 2 * after > 0
    drill.nobody_noticed()


def test_a_front_end_at_12_khz_stops_before_any_canary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its release ends at staging (R6.2); clients that resample are told so; everybody else is answered by stable."""
    expected = SCENARIOS["5-resampled-to-12-khz"].expect
    family = TinyFamily(tmp_path / "project")
    right = FrontEndConfig()
    contract = CONTRACT.model_copy(update={"front_end_checksum": right.digest()})
    payload = {"feature_contract.json": contract.canonical(), "front_end.json": right.canonical()}
    words = " ".join(WORDS)
    stable = family.package("v1", words, runtime={"by_level": True}, payload=payload)
    stable.promote()
    wrong = right.model_copy(update={"sample_rate_hz": WRONG_RATE_HZ})
    candidate = family.package(
        "v2", words, runtime={"by_level": True}, payload=payload | {"front_end.json": wrong.canonical()}
    )
    monkeypatch.setattr(stage, "start_gateway", partial(start_gateway, command=GATEWAY))
    context = family.context
    (policy,) = put(context, patient(context.settings.policy(FAMILY)))
    captured = {"policy": policy, "release": candidate.release}

    with start_gateway(family.home, families=(FAMILY,), command=GATEWAY) as gateway:
        before = pointer.current(context, FAMILY).table
        with pytest.raises(Stopped):
            stage.stage(context, FAMILY, captured, {"bundle": candidate.bundle})
        report = replay_of(family)
        failed = {(check.name, check.clause) for check in report.checks if check.verdict.value is Value.FAIL}
        assert failed == {("front end as in the feature contract", expected.clause)}
        with pytest.raises(Refused, match="the release has not come to its canary"):
            canary.find(context, FAMILY, candidate.release)
        summary = play(
            gateway.base_url, family=FAMILY, utterances=write_pack(family.root), root=family.root,
            api_key=family.api_key, count_errors=count_errors("none"), requests=60, cadence=0.0,
            habits=Habits(plants={"wrong_rate": 1.0}),
        )  # fmt: skip
        assert set(summary.failures) == {expected.refusal}
        assert summary.answered == 60 - summary.failures[expected.refusal] > 0
        assert set(summary.bundles) == {stable.bundle}
        assert summary.errors == 0
        assert pointer.current(context, FAMILY).table == before
    rows = read(family.home / "telemetry", FAMILY)
    refused = rows[rows["error_code"] == expected.refusal]
    assert set(zip(refused["device"], refused["sent_rate_hz"], strict=True)) == {("phone", WRONG_RATE_HZ)}


def patient(policy: FamilyPolicy) -> FamilyPolicy:
    """The policy with budgets that a busy machine keeps."""
    slow = policy.serving.model_copy(
        update={"final_p95_ms": 60_000.0, "first_partial_p95_ms": 60_000.0, "rtf": 10.0, "peak_memory_mb": 10_000.0}
    )
    staging = policy.staging.model_copy(update={"requests": 6, "soak_requests": 0, "long_audio_s": 0.0})
    return policy.model_copy(update={"serving": slow, "staging": staging})


def replay_of(family: TinyFamily) -> ReplayReport:
    event = [event for event in family.context.ledger(FAMILY).events() if event.step == "stage"][-1]
    return get_document(family.context.store, ReplayReport, event.outputs["replay_report"])
