"""What gateways are told that families promise, and how long telemetry is kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from contracts.errors import WrongCall
from contracts.policy import CanaryMetric, CanaryPlan
from operations.settings import Settings
from operations.telemetry import latency_budget, promises, tidy
from serving.gateway import settings_from
from serving.objectives import Objectives
from tests.operations.gated_releases import open_installation
from tests.serving.test_telemetry_keeping import NOON_S, put, request

ROOT = Path(__file__).parents[2]


def test_gateways_promise_what_canaries_are_judged_by() -> None:
    settings = Settings(ROOT, ROOT / ".soundcheck")
    follow = [word for family in settings.families for word in ("--family", family)]
    gateway = settings_from(["--home", "home", *follow, *promises(settings)])
    for family in settings.families:
        plan = settings.policy(family).canary
        promised = gateway.objectives()[family]
        assert (promised.latency_ms, promised.latency_share) == (
            latency_budget(plan) or (None, Objectives().latency_share)
        )
        assert (promised.first_audio_ms, promised.first_audio_share) == (
            latency_budget(plan, "first_audio_ms") or (None, Objectives().first_audio_share)
        )
        assert promised.availability == settings.serving.availability


def test_a_plan_without_a_latency_budget_promises_none() -> None:
    metrics = {"slow": CanaryMetric(kind="quantile", column="latency_ms", margin=0.1)}
    assert latency_budget(CanaryPlan(metrics=metrics, deadline_s=60)) is None


def test_rows_are_kept_as_long_as_params_say(tmp_path: Path) -> None:
    context = open_installation(tmp_path)
    put(context.settings.home / "telemetry", "family=tiny", [request(0)])
    age = (context.now().timestamp() - NOON_S) / 86_400

    def kept(days: float) -> bool:
        (tmp_path / "params.yaml").write_text(f"telemetry: {{days: {days}}}\n")
        context.settings = Settings(tmp_path, context.settings.home)
        return not tidy(context).days

    assert kept(age + 2)
    assert not kept(age - 2)
    with pytest.raises(WrongCall, match=r"where: telemetry\.days"):
        kept(0)
