"""Incidents on a real ledger and real telemetry files: what is found, what is written, and what never is."""

from __future__ import annotations

import json
import string
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.bundle import GoldenAnswer
from contracts.errors import Corrupt, DependencyFailed, NotFound, Refused, WrongCall
from contracts.incident import Added, Incident
from contracts.incident_settings import BUDGETS, IncidentSettings
from contracts.policy import CanaryMetric
from operations import compute
from operations.context import Context
from operations.incident import Opened, find, incidents, open_incident, settings_of, update
from operations.incident_change import carriers, close_with
from operations.incident_replay import replay
from operations.settings import Settings
from pages.incident import listing
from registry.documents import get_document
from speech.kinds import Prompt
from tests.operations.gated_releases import FAMILY
from tests.operations.incident_world import SINCE_S, Harm, IncidentWorld
from tests.operations.tiny_family import REPOSITORY


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> IncidentWorld:
    """`v2` became stable a minute ago; its traffic rewrites captions on phones."""
    world = IncidentWorld(tmp_path_factory.mktemp("grown"), new=True)
    world.traffic(rewrites)
    return world


def rewrites(row: dict[str, Any]) -> Mapping[str, Any]:
    return {"unstable_words": 3} if row["device"] == "phone" else {}


def opened(world: IncidentWorld) -> Opened:
    world.now_s += 0.001
    return open_incident(world.context, FAMILY, since_s=SINCE_S, with_replay=False)


def hurt(folder: Path, harm: Harm, *, new: bool = True, **more: Any) -> Incident:
    world = IncidentWorld(folder, new=new)
    world.traffic(harm, **more)
    return opened(world).incident


# ---- what is found --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("harm", "new", "action", "stage"),
    [
        (rewrites, True, "partial_rollback", None),
        (rewrites, False, "pause", None),  # nothing new to blame
        (lambda _row: {"confidence": 0.6}, True, "rollback", None),
        (lambda row: {"privacy_errors": int(row["request_id"].endswith("7"))}, True, "rollback", None),
        (lambda _row: {"infer_ms": 700.0, "latency_ms": 760.0}, True, "rollback", "inference"),
        (lambda _row: {"infer_ms": 700.0, "latency_ms": 760.0}, False, "degrade", "inference"),
        (lambda _row: {}, True, "continue", None),
    ],
)
def test_the_harm_that_was_planted_is_found(
    tmp_path: Path, harm: Harm, new: bool, action: str, stage: str | None
) -> None:
    found = hurt(tmp_path, harm, new=new)
    assert found.recommendation.action == action, found.recommendation.reason
    assert found.localised.stage == stage
    assert found.next_update_at is not None
    assert found.next_update_at > found.updated_at[:-5]


def test_work_that_waits_degrades(tmp_path: Path) -> None:
    world = IncidentWorld(tmp_path, new=False)
    begins = world.now_s - 600

    def grows(row: dict[str, Any]) -> Mapping[str, Any]:
        late = row["timestamp"] - begins
        return {"queue_ms": 400 * late, "latency_ms": 400 * late + 150} if late > 0 else {}

    world.traffic(grows)
    found = opened(world).incident
    assert found.recommendation.action == "degrade"
    assert found.recommendation.reason.startswith("A2: work waited in ")
    assert found.localised.stage == "queue"
    assert len(found.saturation.minutes) >= 2


def test_a_cost_that_rises_names_its_factor(tmp_path: Path) -> None:
    found = hurt(tmp_path, lambda _row: {"audio_s": 5.0, "cost_usd": 2.5e-5}, new=False)
    assert found.cost.times == pytest.approx(2.5, rel=0.01)
    assert "turns are longer" in found.cost.cause
    assert any("turns are longer" in one for one in found.hypotheses)
    assert not any("turns are longer" in one for one in found.facts), "a cause is a hypothesis"


def test_a_guilty_canary_is_stopped(tmp_path: Path) -> None:
    from contracts.routing import CanaryRoute
    from operations import pointer

    world = IncidentWorld(tmp_path, new=False)
    canary = world.family.package("v2", "two").bundle
    seen = pointer.current(world.context, FAMILY)
    pointer.move(
        world.context, FAMILY, seen, stable=seen.stable, canary=CanaryRoute(bundle=canary, stage="wide", weight=0.5),
        actor="anna", reason="canary",
    )  # fmt: skip

    def half(row: dict[str, Any]) -> Mapping[str, Any]:
        if int(row["session_id"], 16) % 2:
            return {}
        return {"arm": "canary", "bundle": canary, "unstable_words": 3}

    world.traffic(half)
    found = opened(world).incident
    assert found.recommendation.action == "rollback"
    assert found.recommendation.command == f"soundcheck abort {FAMILY} --key KEY"
    assert [one.version for one in found.candidates] == ["v2"]
    assert found.regressions[0].against == "stable"


def test_without_telemetry_nothing_is_called_fine(tmp_path: Path) -> None:
    world = IncidentWorld(tmp_path, new=True)
    found = opened(world).incident
    assert found.recommendation.action == "pause"
    assert found.recommendation.reason == "A6: there is no telemetry in the window"
    assert found.impact.whole.requests == 0


def test_telemetry_that_cannot_be_read_opens_nothing(tmp_path: Path) -> None:
    world = IncidentWorld(tmp_path, new=True)
    world.traffic(requests=50)
    (segment,) = (world.home / "telemetry").rglob("part-*.parquet")
    segment.write_bytes(b"torn")
    with pytest.raises(Corrupt, match="a telemetry segment cannot be read"):
        opened(world)
    assert incidents(world.context) == []


# ---- what is written ------------------------------------------------------------------------------------------------
def test_packet_ledger_and_folder_say_the_same(grown: IncidentWorld) -> None:
    made = opened(grown)
    found = made.incident
    assert json.loads((made.folder / "packet.json").read_text()) == found.as_json()
    event = grown.context.ledger(FAMILY).events()[-1]
    assert (event.step, event.outcome, event.data["incident"]) == ("incident", "complete", found.incident)
    assert get_document(grown.context.store, Incident, event.outputs["incident"]) == found
    markdown = (made.folder / "packet.md").read_text()
    facts, hypotheses = markdown.index("## Confirmed facts"), markdown.index("## Hypotheses")
    assert facts < markdown.index("churn of device=phone went from") < hypotheses
    assert "next update due" in markdown
    assert found.recommendation.command.endswith("--slice device=phone")


def test_an_incident_is_looked_at_again_and_closed_once(grown: IncidentWorld) -> None:
    first = opened(grown).incident
    grown.now_s += 60
    second = update(grown.context, first.incident[:-2]).incident
    assert (second.revision, second.opened_at, second.since_s) == (2, first.opened_at, first.since_s)
    assert second.until_s == pytest.approx(first.until_s + 60, abs=1)
    closed = close_with(
        grown.context, first.incident, added="runbook", note="seen 555123456 by jo@example.org"
    ).incident
    assert closed.closed is not None
    assert closed.closed.note == "seen [number] by [email]"
    assert closed.next_update_at is None
    with pytest.raises(Refused, match="the incident is closed"):
        update(grown.context, first.incident)
    with pytest.raises(Refused, match="the incident is closed"):
        close_with(grown.context, first.incident, added="gate", note="again")
    lines = listing(incidents(grown.context), "2999-01-01T00:00:00Z", carriers(grown.context, FAMILY))
    assert any(first.incident in line and "added: runbook, waits for the next release" in line for line in lines)
    assert any("update overdue since" in line for line in lines if first.incident not in line)


@pytest.mark.parametrize("added", ["gate", "fixture", "slice", "alert", "runbook"])
def test_what_was_added_is_a_file_that_is_ready(grown: IncidentWorld, added: Added) -> None:
    made = close_with(grown.context, opened(grown).incident.incident, added=added, note="phones are judged")
    closure = made.incident.closed
    assert closure is not None
    content = (made.folder / closure.file).read_bytes()
    assert grown.context.store.read_blob(closure.change) == content
    assert carriers(grown.context, FAMILY)[made.incident.incident] == ""
    if added == "runbook":
        assert "Roll back when: churn of device=phone worse by more than 0.03" in content.decode()
        return
    value = yaml.safe_load(content)
    if added == "gate":
        rule = value["families"][FAMILY]["canary"]["metrics"]["churn"]
        assert CanaryMetric.model_validate(rule).slices == ("device",)
    elif added == "slice":
        assert (value["slices"], value["protected"]) == (["device"], ["device=phone"])
    elif added == "fixture":
        assert value["fixtures"][0]["slice"] == "device=phone"
    else:
        assert value["groups"][0]["rules"][0]["labels"] == {"severity": "ticket"}


def test_wrong_calls_say_what_is_right(grown: IncidentWorld) -> None:
    with pytest.raises(WrongCall, match="there is no family 'nobody'"):
        open_incident(grown.context, "nobody", since_s=SINCE_S)
    with pytest.raises(WrongCall, match="next step: say for example --since 30m"):
        open_incident(grown.context, FAMILY, since_s=5)
    with pytest.raises(NotFound, match="no incident has this ID"):
        find(grown.context, "20000101-000000-00000000")
    with pytest.raises(WrongCall, match="a note says why"):
        close_with(grown.context, opened(grown).incident.incident, added="gate", note="  ")


# ---- what it is judged by -------------------------------------------------------------------------------------------
def test_params_yaml_says_every_default() -> None:
    said = yaml.safe_load((REPOSITORY / "params.yaml").read_text())["incident"]["defaults"]
    assert IncidentSettings.model_validate(said) == IncidentSettings()
    assert said.keys() == IncidentSettings.model_fields.keys()
    assert said["budgets"].keys() == BUDGETS.keys()


def test_a_family_s_own_section_goes_over_the_defaults_key_by_key(tmp_path: Path) -> None:
    world = IncidentWorld(tmp_path, new=True)
    world.traffic(rewrites)
    own = {"budgets": {"churn": {"allowed": 0.9}}, "smallest_group": 20, "due_s": {"continue": 60}}
    world.context.settings.params["incident"]["families"] = {FAMILY: own}
    found = opened(world).incident
    assert found.smallest_group == 20
    assert not any(one.metric == "churn" for one in found.regressions)
    judged = settings_of(world.context, FAMILY)
    assert (judged.budgets["churn"].allowed, judged.budgets["wer"].allowed) == (0.9, 0.03)
    assert (judged.due_s["continue"], judged.due_s["pause"]) == (60, 3600)


@pytest.mark.parametrize(
    ("own", "place"),
    [
        ({"smallest_group": 0}, "smallest_group"),
        ({"budgets": {"chrun": {"allowed": 0.1}}}, "budgets.chrun"),
        ({"budgets": {"churn": {"allowed": -1}}}, "budgets.churn.allowed"),
        ({"due_s": {"rolback": 60}}, "due_s.rolback"),
        ({"speed": 1}, "speed"),
    ],
)
def test_a_wrong_section_is_a_wrong_call(grown: IncidentWorld, own: dict[str, Any], place: str) -> None:
    settings = Settings(grown.context.settings.root, grown.home)
    settings.params["incident"] = {"families": {FAMILY: own}}
    with pytest.raises(WrongCall, match=r"params\.yaml has a wrong value") as caught:
        settings_of(Context(settings, grown.context.store, grown.context.now), FAMILY)
    assert caught.value.where.startswith(f"incident.{FAMILY}.{place}")
    assert "contracts.incident_settings says what is allowed" in str(caught.value)


def test_the_next_release_that_is_promoted_carries_the_change(tmp_path: Path) -> None:
    world = IncidentWorld(tmp_path, new=True)
    world.traffic(rewrites, requests=400)
    name = close_with(world.context, opened(world).incident.incident, added="gate", note="judged").incident.incident
    assert carriers(world.context, FAMILY) == {name: ""}
    world.family.promote("v3", "six")
    last = [event for event in world.context.ledger(FAMILY).events() if event.step == "capture"][-1]
    assert carriers(world.context, FAMILY) == {name: last.release}
    world.family.promote("v4", "ten")
    assert carriers(world.context, FAMILY) == {name: last.release}, "the first one"


# ---- fixtures through both bundles ----------------------------------------------------------------------------------
def test_fixtures_through_both_bundles_are_counted(grown: IncidentWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    def hears(payload: Path, prompts: Sequence[Prompt]) -> list[GoldenAnswer]:
        word = json.loads((payload / "runtime.json").read_text())["words"][0]
        return [GoldenAnswer(f"{word} {word}") for _ in prompts]

    monkeypatch.setattr(compute, "answers", hears)
    found = replay(grown.context, old=grown.before, new=grown.stable)
    assert (found.fixtures, found.different, found.word_edits, found.words) == (1, 1, 2, 2)
    assert (found.old_declared_different, found.new_declared_different) == (0, 0)
    packet = open_incident(grown.context, FAMILY, since_s=SINCE_S).incident
    assert packet.replay is not None
    assert packet.replay.different == 1
    same = replay(grown.context, old=grown.stable, new=grown.stable)
    assert (same.different, same.word_edits) == (0, 0)


def test_a_bundle_that_cannot_be_played_holds_no_incident_up(
    grown: IncidentWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    def died(*_: Any) -> list[GoldenAnswer]:
        raise DependencyFailed("a process that runs the model died")

    monkeypatch.setattr(compute, "answers", died)
    found = open_incident(grown.context, FAMILY, since_s=SINCE_S).incident
    assert found.replay is None
    assert found.facts[-1] == (
        "fixtures could not be played through both bundles: a process that runs the model died"
    )  # fmt: skip


def test_a_group_of_few_sessions_is_counted_and_not_shown(tmp_path: Path) -> None:
    world = IncidentWorld(tmp_path, new=True)

    def few(row: dict[str, Any]) -> Mapping[str, Any]:
        mine = int(row["session_id"], 16) % 30 == 0  # four sessions of the window's 120
        return {"tenant": "internal", "bundle": world.before, "unstable_words": 5} if mine else {"tenant": "acme"}

    world.traffic(few)
    found = opened(world).incident
    shown = {one.slice for one in found.impact.slices}
    assert not any(name.startswith("tenant=") for name in shown), "acme would show how many internal ones there are"
    assert found.impact.bundles == ()
    assert not any(one.slice.startswith("tenant=") for one in found.regressions)
    assert not any(one.route.startswith("bundle") and world.before[:12] in one.route for one in found.cost.routes)
    assert found.impact.suppressed_groups == 4


# ---- what never is --------------------------------------------------------------------------------------------------
PLANTABLE = ("session_id", "request_id", "bundle", "tenant", "device", "language", "codec", "probe", "accent", "noise",
             "length", "speed", "priority", "degraded", "cascade", "error_code", "mode")  # fmt: skip
SECRET = st.one_of(
    st.text(string.ascii_lowercase + string.digits, min_size=9, max_size=30).map(lambda text: f"user-{text}"),
    st.text(string.ascii_letters + " ", min_size=12, max_size=40).map(lambda text: f"please call {text.strip()} now"),
    st.text(string.ascii_lowercase, min_size=6, max_size=12).map(lambda text: f"{text}@example.org"),
    st.text(string.ascii_lowercase, min_size=6, max_size=12).map(lambda text: f"/home/{text}/call.wav"),
    st.text("0123456789abcdef", min_size=64, max_size=64),
    st.text(string.ascii_letters + string.digits, min_size=24, max_size=40).map(lambda text: f"tok_{text}"),
    st.text(min_size=9, max_size=20).map(lambda text: "".join(c for c in text if c.isprintable()) + "<b>zqzqzq"),
)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(planted=st.dictionaries(st.sampled_from(PLANTABLE), SECRET, min_size=1), share=st.sampled_from((1, 2, 7)))
def test_nothing_that_a_record_holds_is_ever_written(
    private: IncidentWorld, planted: dict[str, str], share: int
) -> None:
    for segment in (private.home / "telemetry").rglob("*.parquet"):
        segment.unlink()

    def plant(row: dict[str, Any]) -> Mapping[str, Any]:
        return planted | {"unstable_words": 4} if int(row["session_id"], 16) % share == 0 else {}

    private.traffic(plant, requests=400)
    first = opened(private)
    added: Added = "slice" if first.incident.impact.slices else "gate"
    made = close_with(private.context, first.incident.incident, added=added, note="closed")
    event = private.context.ledger(FAMILY).events()[-1].to_bytes().decode()
    written = event + "".join(path.read_text() for path in made.folder.rglob("*") if path.is_file())
    for secret in planted.values():
        for part in (secret, json.dumps(secret)[1:-1], secret.replace("<b>", "&lt;b&gt;")):
            assert part not in written


@pytest.fixture(scope="module")
def private(tmp_path_factory: pytest.TempPathFactory) -> IncidentWorld:
    """A family whose telemetry holds what it never should."""
    return IncidentWorld(tmp_path_factory.mktemp("private"), new=True)
