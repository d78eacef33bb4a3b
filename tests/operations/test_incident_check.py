"""A change that an incident leaves behind is whole, or one clear error: each file beside typing errors in it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from contracts.errors import WrongCall
from contracts.incident import Incident
from operations import incident_change
from operations.incident import incidents, open_incident
from operations.incident_change import MAKERS, Change, close_with
from operations.incident_check import CHECKS, check
from tests.operations.gated_releases import FAMILY
from tests.operations.incident_world import SINCE_S, IncidentWorld
from tests.operations.tiny_family import REPOSITORY


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> IncidentWorld:
    """`v2` became stable a minute ago; its traffic rewrites captions on phones; the pack's card is the repository's."""
    made = IncidentWorld(tmp_path_factory.mktemp("check"), new=True)
    made.traffic(lambda row: {"unstable_words": 3} if row["device"] == "phone" else {}, requests=1000)
    return made


@pytest.fixture(scope="module")
def incident(world: IncidentWorld) -> Incident:
    return open_incident(world.context, FAMILY, since_s=SINCE_S, with_replay=False).incident


@pytest.fixture(scope="module")
def made(world: IncidentWorld, incident: Incident) -> Mapping[str, str]:
    """Every file that closing this incident may write."""
    return dict(make(world.context, incident) for make in MAKERS.values())


def test_every_file_that_is_made_fits_its_place(
    world: IncidentWorld, incident: Incident, made: Mapping[str, str]
) -> None:
    assert made.keys() == CHECKS.keys() - {"pack.yaml"}  # drift alone proposes a pack
    for name, text in made.items():
        check(world.context, incident, name, text)


@pytest.mark.parametrize("pack", [True, False])
def test_a_slice_fits_a_card_that_there_is_and_one_that_is_not_built(
    world: IncidentWorld, incident: Incident, made: Mapping[str, str], pack: bool
) -> None:
    folder = world.context.settings.pack("commands")
    folder.mkdir(parents=True, exist_ok=True)
    if pack:
        card = (REPOSITORY / "evalpacks" / "packs" / "commands" / "pack.yaml").read_text()
        (folder / "pack.yaml").write_text(card)
    try:
        check(world.context, incident, "pack.slice.yaml", made["pack.slice.yaml"])
        wrong = made["pack.slice.yaml"].replace("device=phone", "colour=red")
        with pytest.raises(WrongCall, match="a slice of ") as caught:
            check(world.context, incident, "pack.slice.yaml", wrong)
        assert ("accent or " in caught.value.expected) == pack
    finally:
        (folder / "pack.yaml").unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("name", "right", "typed", "where", "said"),
    [
        ("params.patch.yaml", "families:", "familes:", "params.patch.yaml", "expected: families"),
        ("params.patch.yaml", f"  {FAMILY}:", "  asr-comands:", "params.patch.yaml: families", f"expected: {FAMILY}"),
        ("params.patch.yaml", "canary:", "canray:", f"families.{FAMILY}", "expected: canary"),
        ("params.patch.yaml", "kind: ratio", "kind: rato", "metrics.churn.kind", "'ratio', 'quantile' or 'never'"),
        ("params.patch.yaml", "margin: ", "margin: -", "canary.metrics.churn.margin", "greater than or equal to 0"),
        (
            "params.patch.yaml", "numerator: unstable_words", "numerator: unstable_word",
            "canary.metrics.churn", "got: unstable_word",
        ),
        ("params.patch.yaml", "denominator: partial_words", "budget: 1.0", "metrics.churn", "lacks denominator"),
        ("params.patch.yaml", "- device", "- devise", "canary.metrics.churn.slices", "got: devise"),
        ("params.patch.yaml", "canary:", "canary: [", "params.patch.yaml", "expected: YAML"),
        ("pack.slice.yaml", "slices:", "slcies:", "pack.slice.yaml: slices", "Field required"),
        ("pack.slice.yaml", "device=phone", "device", "protected", "expected: overall or column=value"),
        ("pack.slice.yaml", "speakers: 10", "speaker: 10", "min_support.speaker", "'speakers' or 'words'"),
        ("pack.slice.yaml", "words: 150", "words: none", "min_support.words", "valid integer"),
        ("fixtures.yaml", "device=phone", "Device Phone", "fixtures.0.slice", "should match pattern"),
        ("fixtures.yaml", "metric: churn", "metric: chrun", "fixtures.0.metric", "'churn'"),
        ("fixtures.yaml", "count: 12", "count: 0", "fixtures.0.count", "greater than 0"),
        ("fixtures.yaml", "count: 12", "cuont: 12", "fixtures.0.count", "Field required"),
        ("fixtures.yaml", "of: null", "of: 3", "differ_between_bundles", "None of 3"),
        ("alerts.yaml", "severity: ticket", "severity: tickt", "labels.severity", "'page' or 'ticket'"),
        ("alerts.yaml", "for: 5m", "for: 5 minutes", "groups.0.rules.0.for", "should match pattern"),
        ("alerts.yaml", "latency_seconds:p95", "latency:p95", "rules.0.expr", "got: soundcheck:latency:p95"),
        ("alerts.yaml", '"} >', '" >', "rules.0.expr", "as many closing brackets"),
        ("alerts.yaml", "command: soundcheck", "command: sondcheck", "annotations.command", "should match pattern"),
        ("runbook.md", "3. Roll back when: ", "3. Rol back when: ", "runbook.md: Roll back when", "no such step"),
        ("runbook.md", "1. Look: `soundcheck ", "1. Look: `", "runbook.md: Look", "no such step"),
    ],
)  # fmt: skip
def test_a_typing_error_is_one_clear_error(
    world: IncidentWorld, incident: Incident, made: Mapping[str, str], name: str, right: str, typed: str, where: str,
    said: str,
) -> None:  # fmt: skip
    assert made[name].count(right) == 1
    with pytest.raises(WrongCall, match="a change does not fit the place that it is for") as caught:
        check(world.context, incident, name, made[name].replace(right, typed))
    assert where in caught.value.where
    assert said in str(caught.value)
    assert "next step: correct it there; nothing was written" in str(caught.value)


def test_the_name_of_an_alert_is_taken_once(world: IncidentWorld, incident: Incident, made: Mapping[str, str]) -> None:
    value = yaml.safe_load(made["alerts.yaml"])
    value["groups"][0]["rules"][0]["alert"] = "SoundcheckBudgetBurns"
    with pytest.raises(WrongCall, match=r"a name that serving/alerts\.yaml does not have"):
        check(world.context, incident, "alerts.yaml", yaml.safe_dump(value))


def test_an_incident_is_not_closed_with_a_change_that_does_not_fit(
    world: IncidentWorld, incident: Incident, made: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = Change("params.patch.yaml", made["params.patch.yaml"].replace("kind: ratio", "kind: rato"))
    monkeypatch.setitem(incident_change.MAKERS, "gate", lambda *_: wrong)
    with pytest.raises(WrongCall, match="a change does not fit"):
        close_with(world.context, incident.incident, added="gate", note="judged")
    assert [one.state for one in incidents(world.context)] == ["open"]
    assert not list(Path(world.home / "incidents").rglob("change"))
