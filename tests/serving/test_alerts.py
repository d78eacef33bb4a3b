"""The alert rules, checked by promtool, and held to the metrics, the objectives and the page about them.

promtool comes from `bash scripts/promtool.sh` (part of `make test`).
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from contracts.telemetry import ClientEvent
from serving.client import RunningGateway
from serving.objectives import ALARMS, FEWEST_BAD
from serving.telemetry import COLUMNS

ROOT = Path(__file__).parents[2]
ALERTS = ROOT / "serving" / "alerts.yaml"
CASES = Path(__file__).with_name("alerts_cases.yaml")
PAGE = ROOT / "docs" / "telemetry.md"
MISSING = "promtool is not on this machine; next step: bash scripts/promtool.sh"
PROMETHEUS_OWN = {"up"}
"""Series that Prometheus makes of every scrape."""


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def alerts() -> dict[str, dict[str, Any]]:
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def promtool(*words: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("promtool", path=f"{ROOT / '.cache' / 'promtool'}") or shutil.which("promtool")
    if program is None:
        pytest.skip(MISSING)
    return subprocess.run([program, *words], capture_output=True, text=True, timeout=120, check=False)


def run_cases(folder: Path, alerts_text: str) -> subprocess.CompletedProcess[str]:
    (folder / "alerts.yaml").write_text(alerts_text)
    (folder / "cases.yaml").write_text(CASES.read_text().replace("[ALERTS]", f"[{folder / 'alerts.yaml'}]"))
    return promtool("test", "rules", str(folder / "cases.yaml"))


def test_promtool_reads_the_rules() -> None:
    done = promtool("check", "rules", "--lint=all", str(ALERTS))
    assert done.returncode == 0, done.stderr
    assert f"SUCCESS: {len(rules())} rules found" in done.stdout


def test_who_is_called_and_who_is_not(tmp_path: Path) -> None:
    done = run_cases(tmp_path, ALERTS.read_text())
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("right", "wrong"), [("14.4", "30"), ("> 60", "> 600"), ("[10m])) >= 3", "[10m])) >= 9")])
def test_a_rule_with_a_wrong_threshold_is_noticed(tmp_path: Path, right: str, wrong: str) -> None:
    assert right in ALERTS.read_text()
    assert run_cases(tmp_path, ALERTS.read_text().replace(right, wrong)).returncode == 1


def test_every_alert_has_a_case_in_which_it_fires_and_says_what_to_do() -> None:
    fires = {
        case["alertname"]
        for test in yaml.safe_load(CASES.read_text())["tests"]
        for case in test["alert_rule_test"]
        if case["exp_alerts"]
    }
    assert fires == set(alerts())
    for name, alert in alerts().items():
        assert alert["labels"]["severity"] in ("page", "ticket"), name
        assert set(alert["annotations"]) == {"summary", "command"}, name


def test_the_burn_rates_are_those_of_the_live_page() -> None:
    windows = {300: "5m", 1800: "30m", 3600: "1h", 21600: "6h"}
    for alarm, name in zip(ALARMS, ("SoundcheckBudgetBurnsFast", "SoundcheckBudgetBurns"), strict=True):
        alert = alerts()[name]
        assert alert["labels"]["severity"] == alarm.action
        for span_s in (alarm.short_s, alarm.long_s):
            assert f"soundcheck:objective_burn:{windows[span_s]} >= {alarm.rate:g}" in alert["expr"]
        assert f"[{windows[alarm.short_s]}])) >= {FEWEST_BAD}" in alert["expr"]


def shown(text: str) -> set[str]:
    """Names of the series in a text exposition, also of those that have no sample yet."""
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, flags=re.MULTILINE))
    series = {f"{name}_bucket" if kind == "histogram" else name for name, kind in kinds.items()}
    return {name for name in series if not name.endswith("_created")}


def test_the_metrics_that_rules_ask_for_are_at_metrics(pinned: RunningGateway) -> None:
    served = shown(httpx.get(f"{pinned.base_url}/metrics").text)
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    for rule in rules():
        asked = set(re.findall(r"\b(?:soundcheck[a-z0-9_:]*|up\b)", rule["expr"])) - {"soundcheck"}
        assert asked - served - recorded <= PROMETHEUS_OWN, rule.get("alert", rule.get("record"))


def test_the_page_names_every_metric_alert_and_column(pinned: RunningGateway) -> None:
    page = PAGE.read_text()
    served = {name.removesuffix("_bucket") for name in shown(httpx.get(f"{pinned.base_url}/metrics").text)}
    named = set(re.findall(r"`(soundcheck_[a-z0-9_]+)`", page))
    assert named == served
    said = dict(re.findall(r"^\| `(Soundcheck[A-Za-z]+)` \| (page|ticket) \|", page, flags=re.MULTILINE))
    assert said == {name: alert["labels"]["severity"] for name, alert in alerts().items()}
    columns = {*COLUMNS, *ClientEvent.model_fields}
    assert columns - set(re.findall(r"`([a-z_]+)`", page)) == set()
