"""`soundcheck judge`: a table of telemetry and a plan as house.md writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from click.testing import CliRunner

from contracts.errors import WrongCall
from flows.commands.evaluate import judge as command
from operations.judging import judge_file
from tests.monitoring.telemetry import START_S, traffic

REQUIRED: dict[str, Any] = {
    "metrics": {
        "wer": {"kind": "ratio", "numerator": "errors", "denominator": "words", "better": "lower", "margin": 0.02},
        "latency_ms": {"kind": "quantile", "quantile": 0.95, "budget": 900, "better": "lower"},
        "privacy": {"kind": "never", "column": "privacy_errors"},
    },
    "slices": ["accent"],
    "alpha": 0.05,
    "deadline_s": 7200,
}
"""The keys of house.md that a plan must have."""
OPTIONAL: dict[str, Any] = {
    "min_sessions": 30,
    "caps": {"utterances": 60, "words": 400},
    "stale_after_s": 300,
    "routable": ["accent"],
    "stages": ["shadow", "cohort", "wide"],
}
ACCENTS = ("us", "british", "rp", "scottish")
BETTER: dict[str, Any] = {"stable_wer": 0.2, "canary_wer": 0.1}


@pytest.fixture
def judged(tmp_path: Path) -> Any:
    """Writes rows and a plan, and judges them."""

    def run(rows: pd.DataFrame, **changes: Any) -> dict[str, Any]:
        rows.to_parquet(tmp_path / "telemetry.parquet")
        (tmp_path / "plan.yaml").write_text(yaml.safe_dump(REQUIRED | changes))
        return judge_file(tmp_path / "telemetry.parquet", tmp_path / "plan.yaml")

    return run


@pytest.mark.parametrize("changes", [{}, OPTIONAL])
def test_a_good_canary_is_promoted_at_the_first_moment_at_which_it_was_settled(
    judged: Any, changes: dict[str, Any]
) -> None:
    rows = traffic(3_000, **BETTER)
    result = judged(rows, **changes)
    assert result["decision"] == "promote"
    assert START_S < result["at"] < START_S + 2_000
    before = judged(rows[rows["timestamp"] <= result["at"] - 40], **changes)
    assert before["decision"] == "continue"
    again = judged(rows[rows["timestamp"] <= result["at"]], **changes)
    assert (again["decision"], again["at"]) == ("promote", result["at"])
    assert set(result["slices"]) == {"overall", "accent=us", "accent=scottish"}
    assert set(result["slices"]["overall"]) == {"wer", "latency_ms"}


def test_the_first_stop_is_found_exactly_and_what_comes_later_changes_nothing(judged: Any) -> None:
    rows = traffic(3_000, accents=ACCENTS, canary_wer=dict.fromkeys(ACCENTS, 0.1) | {"scottish": 0.4})
    result = judged(rows)
    assert result["decision"] == "rollback"
    assert [reason.split(":")[0] for reason in result["reasons"]] == ["accent=scottish wer"]
    assert judged(rows[rows["timestamp"] <= result["at"]]) == result
    assert judged(rows[rows["timestamp"] < result["at"] - 31])["decision"] == "continue"


def test_a_slice_that_can_be_routed_is_rolled_back_alone(judged: Any) -> None:
    rows = traffic(3_000, accents=ACCENTS, canary_wer=dict.fromkeys(ACCENTS, 0.1) | {"scottish": 0.5})
    assert judged(rows, **OPTIONAL)["decision"] == "partial_rollback"


def test_a_privacy_error_ends_it_at_its_row(judged: Any) -> None:
    rows = traffic(3_000, **BETTER)
    first = rows.index[rows["arm"] == "canary"][20]
    rows.loc[first, "privacy_errors"] = 1
    result = judged(rows)
    assert (result["decision"], result["at"]) == ("rollback", rows.loc[first, "timestamp"])
    assert result["reasons"] == ["privacy: 1 canary requests have privacy_errors above 0, none may"]


def test_rows_without_a_reference_are_no_fault(judged: Any) -> None:
    rows = traffic(6_000, **BETTER)
    rows.loc[rows.index % 3 != 0, ["errors", "words"]] = np.nan
    assert judged(rows)["decision"] == "promote"


@pytest.mark.parametrize(
    ("rows", "changes", "decision"),
    [
        (traffic(60), {}, "continue"),
        (traffic(3_000), {"deadline_s": 300}, "hold"),
        (traffic(3_000, errors=np.nan), {}, "hold"),
        (traffic(3_000, latency_ms=np.inf), {}, "hold"),
        (traffic(3_000).query("arm == 'canary'"), {}, "hold"),
        (traffic(3_000).query("arm == 'stable'"), {}, "hold"),
        (traffic(3_000).query("arm == 'stable'"), {"deadline_s": 600}, "rollback"),
        (traffic(3_000).query("arm == 'stable' or timestamp < 1200"), {}, "hold"),
        (traffic(3_000).iloc[:0], {}, "hold"),
    ],
)
def test_what_is_not_known_is_not_promoted(
    judged: Any, rows: pd.DataFrame, changes: dict[str, Any], decision: str
) -> None:
    assert judged(rows, **changes)["decision"] == decision


def test_a_promotion_that_broken_telemetry_kept_back_comes_when_it_is_whole_again(judged: Any) -> None:
    rows = traffic(3_000, **BETTER)
    settled_s = judged(rows)["at"]
    silent = rows[(rows["arm"] == "canary") | ~rows["timestamp"].between(settled_s - 500, settled_s + 100)]
    result = judged(silent, stale_after_s=60)
    assert result["decision"] == "promote"
    assert result["at"] > settled_s + 100


def test_a_million_rows_are_judged_in_the_order_of_a_sort(judged: Any) -> None:
    rows = traffic(100_000)
    rows["timestamp"] = START_S + (rows["timestamp"] - START_S) / 50
    result = judged(rows, metrics={"wer": REQUIRED["metrics"]["wer"] | {"margin": 0.0005}})
    assert result["decision"] == "continue"


def test_the_command_prints_one_object_and_exits_by_the_decision(tmp_path: Path) -> None:
    traffic(3_000, **BETTER).to_parquet(tmp_path / "good.parquet")
    traffic(3_000, canary_wer=0.5).to_parquet(tmp_path / "bad.parquet")
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(REQUIRED))
    for name, status, decision in (("good", 0, "promote"), ("bad", 1, "rollback")):
        words = ["--telemetry", str(tmp_path / f"{name}.parquet"), "--plan", str(tmp_path / "plan.yaml"), "--json"]
        said = CliRunner().invoke(command, words)
        assert said.exit_code == status
        assert json.loads(said.stdout).keys() == {"decision", "at", "reasons", "slices"}
        assert json.loads(said.stdout)["decision"] == decision


@pytest.mark.parametrize(
    ("rows", "plan", "message"),
    [
        (traffic(4).drop(columns="arm"), {}, "the telemetry lacks columns"),
        (traffic(4).assign(timestamp=pd.Timestamp("2026-01-01")), {}, "timestamps are not seconds"),
        (traffic(4), {"alpha": 2}, "the plan has a wrong value"),
        (traffic(4), {"metrics": {"wer": {"kind": "ratio"}}}, "a ratio metric lacks numerator and denominator"),
    ],
)
def test_a_wrong_plan_or_table_is_a_wrong_call(
    judged: Any, rows: pd.DataFrame, plan: dict[str, Any], message: str
) -> None:
    with pytest.raises(WrongCall, match=message):
        judged(rows, **plan)


def test_a_table_that_does_not_read_is_a_wrong_call(tmp_path: Path) -> None:
    (tmp_path / "telemetry.parquet").write_text("no table")
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(REQUIRED))
    with pytest.raises(WrongCall, match="the telemetry does not read"):
        judge_file(tmp_path / "telemetry.parquet", tmp_path / "plan.yaml")
