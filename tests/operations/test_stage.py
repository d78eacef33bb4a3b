"""The staged replay over a real gateway with the tests' engine: what is measured, proved and refused (R6)."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from contracts.policy import FamilyPolicy, StagingPolicy
from contracts.reports import Check, ReplayReport
from contracts.verdict import Value
from operations import stage
from operations.soak import ROUNDS, growth, resident_mb, soak, soak_check
from serving.client import start_gateway
from tests.operations.gated_releases import FAMILY
from tests.operations.tiny_family import GATEWAY, TinyFamily


def staging(**more: float) -> StagingPolicy:
    fields = {"requests": 12, "golden_fixtures": 1, "golden_max_word_edits": 0, "timeout_s": 60}
    return StagingPolicy.model_validate(fields | more)


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> TinyFamily:
    found = TinyFamily(tmp_path_factory.mktemp("staged") / "project")
    found.promote("v1", "alpha")
    found.promote("v2", "bravo")
    return found


@pytest.fixture(scope="module")
def report(family: TinyFamily) -> ReplayReport:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage, "start_gateway", partial(start_gateway, command=GATEWAY))
        policy: FamilyPolicy = family.context.settings.policy(FAMILY)
        wanted = staging(soak_requests=40, long_audio_s=10, max_growth_mb_per_1000=1e6)
        bundles = family.bundles
        return stage.replay(
            family.context, policy.model_copy(update={"staging": wanted}), bundles["v2"], rehearse_with=bundles["v1"]
        )


def checks_of(report: ReplayReport, clause: str) -> dict[str, Check]:
    return {check.name: check for check in report.checks if check.clause == clause}


def test_cold_and_warm_are_measured(report: ReplayReport) -> None:
    assert report.cold_start_ms > 0
    # The tests' engine says its first word after half a second of audio, and streams are sent in real time.
    assert report.cold_first_partial_ms is not None
    assert report.cold_first_partial_ms > 400
    assert 0 < report.cold_final_ms < 10_000
    assert report.warm.first_partial_ms is not None
    assert (report.warm.requests, report.warm.failures, report.warm.timeouts, report.warm.retries) == (12, 0, 0, 0)
    assert report.warm.queue_ms.n >= 12
    assert checks_of(report, "R6.3")["retried requests"].verdict.value is Value.PASS


def test_a_long_utterance_is_heard_whole_and_as_a_stream(report: ReplayReport) -> None:
    assert report.long_utterance is not None
    assert report.long_utterance.audio_s == 10.0
    assert report.long_utterance.final_ms > 0
    assert checks_of(report, "R6.3")["long utterance"].verdict.value is Value.PASS


def test_memory_is_watched_over_a_soak(report: ReplayReport) -> None:
    assert report.soak is not None
    assert report.soak.requests == 40
    assert report.soak.ended_mb > 10
    assert report.soak.lower <= report.soak.growth_mb_per_1000 <= report.soak.upper


def test_rates_that_the_contract_does_not_name_are_refused_as_file_and_as_stream(report: ReplayReport) -> None:
    refused = {name: check for name, check in checks_of(report, "R6.2").items() if name.endswith("is refused")}
    assert set(refused) == {f"{rate} Hz audio is refused" for rate in (12_000, 11_025, 22_050, 96_000)}
    for name, check in refused.items():
        said = f"{name}: a file was answered unsupported_rate, a stream was answered unsupported_rate"
        assert check.verdict.reasons == (said,)
        assert check.verdict.value is Value.PASS


def test_a_client_of_the_previous_version_is_answered(report: ReplayReport) -> None:
    (check,) = checks_of(report, "R6.4").values()
    assert check.verdict.value is Value.PASS
    assert check.verdict.reasons[0].endswith("8 kinds of requests of API 1.0 answered as then")


def test_the_rollback_is_rehearsed_and_proved_both_ways(report: ReplayReport) -> None:
    (check,) = checks_of(report, "R6.5").values()
    assert check.verdict.value is Value.PASS
    said = check.verdict.reasons[0]
    assert "1 of 1 golden outputs of stable equal" in said
    assert "1 of 1 of the candidate" in said
    assert report.rehearsal_s is not None
    assert report.forward_s is not None


def test_what_was_not_measured_leaves_the_bytes_of_a_report_as_they_were(report: ReplayReport) -> None:
    nothing = dict.fromkeys(("cold_first_partial_ms", "forward_s", "long_utterance", "soak"))
    old = report.model_copy(update=nothing).as_json()
    assert not nothing.keys() & old.keys()
    assert ReplayReport.parse(report.canonical()) == report


# ---- the soak -------------------------------------------------------------------------------------------------------
def grown(mb_per_request: float, *, policy: StagingPolicy, noise_mb: float = 0.0) -> Check:
    made = [0]
    noise = np.random.default_rng(3)

    def ask(_number: int) -> None:
        made[0] += 1

    found = soak(policy, ask, lambda: 100 + made[0] * mb_per_request + float(noise.normal(0, noise_mb)))
    assert found is not None
    assert found.requests == made[0] <= ROUNDS * policy.soak_requests
    return soak_check(found, policy.max_growth_mb_per_1000)


@pytest.mark.parametrize(
    ("mb_per_request", "noise_mb", "value"),
    [
        (0.0, 0.0, Value.PASS),
        (0.0, 0.5, Value.PASS),
        (0.064, 0.0, Value.PASS),  # exactly on budget (R4.4)
        (0.128, 0.0, Value.FAIL),
        (0.128, 0.5, Value.FAIL),
        (0.06, 40.0, Value.INCONCLUSIVE),
    ],
)
def test_a_soak_is_judged_by_the_interval_of_its_growth(mb_per_request: float, noise_mb: float, value: Value) -> None:
    check = grown(mb_per_request, policy=staging(soak_requests=120), noise_mb=noise_mb)
    assert check.verdict.value is value, check.verdict.reasons


def test_a_warm_up_is_no_growth() -> None:
    requests = list(range(41))
    found = growth(requests, [100.0 + min(5.0 * number, 40.0) for number in requests])
    assert (found.growth_mb_per_1000, found.requests, found.began_mb) == (0.0, 40, 140.0)


def test_no_soak_is_made_where_none_is_wanted() -> None:
    assert soak(staging(), lambda _: None, lambda: 0.0) is None


def test_resident_memory_is_that_of_the_processes(tmp_path: Path) -> None:
    import os

    assert resident_mb((os.getpid(), os.getpid())) == pytest.approx(2 * resident_mb((os.getpid(),)), rel=0.2)
