"""A policy whose canary would wait for a column that never comes is refused where it is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from contracts.errors import WrongCall
from contracts.policy import CanaryPlan
from contracts.telemetry import TelemetryRow
from operations.canary_columns import SLICE_COLUMNS, check_columns
from operations.settings import Settings

REPOSITORY = Path(__file__).resolve().parents[2]
FAMILY = "asr-commands"
HERE = f"families.{FAMILY}.canary"
SLICES = "tenant, device, language, codec, probe, accent, noise, length, speed, mode, priority"
LABELS = "tenant, device, language, codec, probe"
NO_SLICE = "a canary cannot be judged by a slice that is no column of telemetry"
NO_LABEL = "a canary cannot be routed by a label that requests do not have"
NO_METRIC = "a metric of a canary is read from what is no column of telemetry"
OFFLINE = "name one of them; what only a pack knows is judged offline, by a gate of `quality`"

CASES: dict[str, tuple[dict[str, Any], str, str, str, str, str]] = {
    "a slice of packs alone": (
        {"slices": ["accent", "level"]}, NO_SLICE, f"{HERE}.slices", "level", SLICES, OFFLINE,
    ),
    "a slice with its value": (
        {"slices": ["language=en-es"]}, NO_SLICE, f"{HERE}.slices", "language=en-es", SLICES, OFFLINE,
    ),
    "a metric's own slice": (
        {"metrics": {"wer": {"slices": ["snr"]}}}, NO_SLICE, f"{HERE}.metrics.wer.slices", "snr", SLICES, OFFLINE,
    ),
    "not known when a request comes": (
        {"routable": ["device", "accent"]}, NO_LABEL, f"{HERE}.routable", "accent", LABELS,
        "name one of them, or take it out",
    ),
    "a cohort that no request is in": (
        {"cohort": {"region": ["eu"]}}, NO_LABEL, f"{HERE}.cohort", "region", LABELS,
        "name one of them, or take it out",
    ),
}  # fmt: skip


def settings(root: Path, canary: dict[str, Any]) -> Settings:
    """The repository's params.yaml, with these keys of the family's canary over its own."""
    params = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    plan = params["families"][FAMILY]["canary"]
    for key, value in canary.items():
        if key == "metrics":
            plan["metrics"]["wer"].update(value["wer"])
        else:
            plan[key] = value
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    return Settings(root, root / ".soundcheck")


@pytest.mark.parametrize("name", CASES)
def test_what_telemetry_does_not_have_is_refused_with_what_it_has(name: str, tmp_path: Path) -> None:
    canary, *said = CASES[name]
    with pytest.raises(WrongCall) as refused:
        settings(tmp_path, canary).policy(FAMILY)
    found = refused.value
    assert [found.what, found.where, found.got, found.expected, found.next_step] == said


@pytest.mark.parametrize(
    ("wer", "got"),
    [
        ({"numerator": "mistakes"}, "mistakes"),
        ({"numerator": "mistakes", "denominator": "turns"}, "mistakes, turns"),
        ({"kind": "quantile", "column": "latency", "budget": 900}, "latency"),
    ],
)
def test_a_metric_that_telemetry_cannot_tell_is_refused(wer: dict[str, Any], got: str, tmp_path: Path) -> None:
    with pytest.raises(WrongCall) as refused:
        settings(tmp_path, {"metrics": {"wer": wer}}).policy(FAMILY)
    assert (refused.value.what, refused.value.where) == (NO_METRIC, f"{HERE}.metrics.wer")
    assert refused.value.got == got
    assert {"latency_ms", "errors", "words", "corrections", "requests"} <= set(refused.value.expected.split(", "))


@pytest.mark.parametrize("column", SLICE_COLUMNS)
def test_every_slice_that_is_offered_is_a_column_of_names(column: str) -> None:
    assert column in TelemetryRow.model_fields
    check_columns(CanaryPlan(metrics={}, deadline_s=60, slices=(column,)), HERE)
    assert TelemetryRow.model_fields[column].annotation is not float


def test_every_family_of_the_repository_is_judged_by_what_there_is() -> None:
    here = Settings(REPOSITORY, REPOSITORY / ".soundcheck")
    assert [here.policy(family).family for family in here.families] == list(here.families)
