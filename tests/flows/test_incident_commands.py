"""`soundcheck incident` as a person on call types it: no Prefect, no MLflow, no gateway."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.flows.release_project import soundcheck
from tests.operations.gated_releases import FAMILY
from tests.operations.incident_world import IncidentWorld


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> IncidentWorld:
    made = IncidentWorld(tmp_path_factory.mktemp("incident"), new=True)
    made.now_s = datetime.now(UTC).timestamp()
    made.traffic(lambda row: {"unstable_words": 3} if row["device"] == "phone" else {})
    return made


@pytest.fixture(scope="module")
def opened(world: IncidentWorld) -> dict[str, object]:
    answer = soundcheck(world.family.root, "incident", "open", FAMILY, "--since", "30m", "--no-replay", "--json")
    assert answer.returncode == 1, answer.stderr
    found = json.loads(answer.stdout)
    assert isinstance(found, dict)
    return found


def test_opening_says_what_to_do_and_writes_the_packet(world: IncidentWorld, opened: dict[str, object]) -> None:
    folder = world.home / "incidents" / str(opened["incident"])
    assert sorted(path.name for path in folder.iterdir()) == ["index.html", "packet.json", "packet.md"]
    assert json.loads((folder / "packet.json").read_text()) == opened
    again = soundcheck(world.family.root, "incident", "update", str(opened["incident"]))
    assert again.returncode == 1
    assert f"{opened['incident']}  PARTIAL ROLLBACK  A3: churn of device=phone" in again.stdout
    assert f"run         soundcheck rollback {FAMILY} --key KEY --reason TEXT --slice device=phone" in again.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("open", FAMILY, "--since", "soon"), "a duration is a number and s, m, h or d: 30m"),
        (("open", "nobody"), "there is no family 'nobody'"),
        (("close", "ID", "--note", "x"), "an incident is closed with what was added"),
        (("close", "ID", "--added", "gate"), "an incident is closed with what was added"),
        (("close", "ID", "--added", "hope", "--note", "x"), "'hope' is not one of"),
        (("close", "20000101", "--added", "gate", "--note", "x"), "no incident has this ID"),
    ],
)
def test_a_wrong_call_says_how_it_is_right(world: IncidentWorld, words: tuple[str, ...], said: str) -> None:
    answer = soundcheck(world.family.root, "incident", *words)
    assert answer.returncode == 2
    assert said in answer.stderr


def test_closing_leaves_a_file_and_the_list_says_so(world: IncidentWorld, opened: dict[str, object]) -> None:
    name = str(opened["incident"])
    words = ("incident", "close", name, "--added", "gate", "--note", "churn of phones is judged")
    done = soundcheck(world.family.root, *words)
    assert (done.returncode, done.stderr) == (0, "")
    path = Path(done.stdout.strip().partition("gate: ")[2])
    assert path.name == "params.patch.yaml"
    assert "churn:" in path.read_text()
    again = soundcheck(world.family.root, *words)
    assert again.returncode == 1
    assert "the incident is closed" in again.stderr
    listed = soundcheck(world.family.root, "incident", "list")
    assert f"{name}  {FAMILY}  closed  added: gate, waits for the next release" in listed.stdout
