"""The closed loop: the release that carries what an incident left behind names it, and its approver signs that."""

from __future__ import annotations

import pytest

from contracts.approval import Evidence
from contracts.digest import Digest
from operations.approve import evidence
from operations.incident import open_incident
from operations.incident_change import carried, carriers, close_with
from registry.documents import get_document
from tests.operations.gated_releases import FAMILY
from tests.operations.incident_world import SINCE_S, IncidentWorld
from tests.operations.packaged import Packaged

REPORTS = ("score_report", "timing_report", "safety_report", "gate_report", "replay_report", "canary_report")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> IncidentWorld:
    """`v2` became stable a minute ago; its traffic rewrites captions on phones."""
    made = IncidentWorld(tmp_path_factory.mktemp("loop"), new=True)
    made.traffic(lambda row: {"unstable_words": 3} if row["device"] == "phone" else {}, requests=1000)
    return made


def closed(world: IncidentWorld) -> tuple[str, Digest]:
    """An incident that was closed: its name, and the change it left behind."""
    world.now_s += 1
    opened = open_incident(world.context, FAMILY, since_s=SINCE_S, with_replay=False).incident
    done = close_with(world.context, opened.incident, added="gate", note="churn is judged").incident
    assert done.closed is not None
    return done.incident, done.closed.change


def asked(world: IncidentWorld, packaged: Packaged, version: str) -> Evidence:
    """What an approver of the release is shown."""
    steps = {name: packaged.inputs.get(name, "0" * 64) for name in REPORTS} | {"bundle": packaged.bundle}
    captured = {"policy": packaged.inputs["policy"], "release": packaged.release}
    return get_document(world.context.store, Evidence, evidence(world.context, FAMILY, captured, steps, version))


def test_evidence_names_the_changes_that_its_release_is_the_first_to_carry(world: IncidentWorld) -> None:
    before = world.family.package("v3", "six")
    one, other = closed(world), closed(world)
    assert asked(world, before, "v3").incident_changes == {}, "it was captured before"
    after = world.family.package("v4", "ten")
    assert asked(world, after, "v4").incident_changes == dict((one, other))
    assert set(carriers(world.context, FAMILY).values()) == {""}, "nothing is promoted yet"
    after.promote()
    assert set(carriers(world.context, FAMILY).values()) == {after.release}
    later = world.family.package("v5", "one")
    assert carried(world.context, FAMILY, later.release) == {}
    assert asked(world, later, "v5").incident_changes == {}


def test_evidence_without_an_incident_keeps_its_name(world: IncidentWorld) -> None:
    shown = asked(world, world.family.package("v6", "two"), "v6")
    assert b"incident_changes" not in shown.canonical()
    assert shown.model_copy(update={"incident_changes": {"i": "a" * 64}}).digest() != shown.digest()
