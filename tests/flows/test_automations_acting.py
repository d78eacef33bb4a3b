"""Automations and schedules on the embedded server: what happens by itself, from a gateway's windows to an incident.

One server for the module, one story: traffic that is too slow, a controller that is killed, another that lives on. The
shortest absence that Prefect can watch is ten seconds; all waits run side by side.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest
import yaml
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_URL, temporary_settings

from contracts.routing import CanaryRoute
from flows import automations
from operations import pointer
from operations.context import put
from operations.incident import incidents
from operations.stack import addresses
from serving.client import start_gateway
from tests.flows.release_project import REPOSITORY, environment, soundcheck
from tests.operations.tiny_family import CLIP, GATEWAY, TinyFamily
from tests.pages import drift_examples as examples

FAMILY, OTHER = "asr-commands", "asr-en"
EVERY_S = 30
"""Seconds between two scheduled runs, instead of minutes and hours."""
PATIENCE_S = 240.0
"""A machine that is busy takes ten seconds and more for a flow run."""
SCHEDULED = {"telemetry-hourly", "burn-watch"}
CONTROLLER = """
import sys, time
from tasks import events
while True:
    events.canary_look(sys.argv[1], "v2", "wide")
    time.sleep(3)
"""
TELLER = """
import sys
from contracts.drift import TakeBack
from prefect.events.worker import EventsWorker
from operations.burning import Burning
from tasks import events
events.budget_burns(Burning("asr-commands", "availability", "ticket", 7.0, 6.0, 1800, 21600, 1))
events.drift_evaluated("asr-en", "page")
events.drift_evaluated("asr-commands", "nothing")
events.drift_takes_back("asr-en", sys.argv[1], TakeBack(target=None, version="v1", key="drift-watch", refusals=()))
events.canary_look("third", "v2", "wide")
events.canary_settled("third", "v2")
EventsWorker.instance().drain()
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


class Pager:
    """A webhook that a person's pager would be."""

    def __init__(self) -> None:
        self.calls: list[dict[str, str]] = []
        calls = self.calls

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                calls.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Tests say nothing."""

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/page"
        Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Story:
    """A stack with short schedules, and what happened to it."""

    def __init__(self, root: Path) -> None:
        self.stopped_while_watched: list[FlowRun] = []
        self.family = TinyFamily(root)
        self.root, self.context = root, self.family.context
        self.pager = Pager()
        (self.evaluation,) = put(self.context, examples.started().model_copy(update={"family": OTHER}))
        _shorten(root)
        self.family.promote("v1", "stable")
        up = soundcheck(root, "up", "--auto-ports", "--part", "prefect", "--part", "deployments")
        assert up.returncode == 0, up.stderr
        self.url = f"{addresses(self.family.home).prefect}/api"

    @property
    def variables(self) -> dict[str, str]:
        return {**environment(self.root), "PREFECT_API_URL": self.url, "PREFECT_HOME": str(self.family.home / "caller")}

    def python(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", program, *arguments], cwd=REPOSITORY, env=self.variables)

    def client(self) -> SyncPrefectClient:
        return get_client(sync_client=True)

    def runs(self, deployment: str) -> list[FlowRun]:
        """Runs of a deployment, in the order in which they were due."""
        with self.client() as client:
            wanted = client.read_deployment_by_name(deployment).id
            found = [run for run in _all_runs(client) if run.deployment_id == wanted]
        return sorted(found, key=lambda run: run.expected_start_time)  # type: ignore[arg-type,return-value]

    def automated(self, deployment: str, family: str) -> list[FlowRun]:
        """Those that an automation created for a family."""
        return [
            run
            for run in self.runs(deployment)
            if run.created_by and run.created_by.type == "AUTOMATION" and run.parameters["family"] == family
        ]

    def has_look_at(self, family: str) -> bool:
        """Whether the server has heard of a look at the family's canary."""
        body = {"filter": {"event": {"name": ["soundcheck.canary.look"]}}, "limit": 50}
        answer = httpx.post(f"{self.url}/events/filter", json=body, trust_env=False, timeout=60).json()
        return any(event["resource"]["soundcheck.family"] == family for event in answer["events"])

    def ask_slowly(self, stack: ExitStack) -> None:
        """Requests to a gateway that has promised answers within a millisecond."""
        slow = ("--latency-budget", f"{FAMILY}=1@0.95")
        gateway = stack.enter_context(
            start_gateway(self.family.home, families=(FAMILY,), command=GATEWAY, options=slow)
        )
        for number in range(4):
            answer = httpx.post(
                f"{gateway.base_url}/v1/audio/transcriptions",
                headers={"Authorization": f"Bearer {self.family.api_key}", "X-Soundcheck-Session": f"s{number}"},
                files={"file": ("a.wav", CLIP)}, data={"model": FAMILY}, trust_env=False, timeout=60,
            )  # fmt: skip
            assert answer.status_code == 200

    def route_canary(self) -> None:
        seen = pointer.current(self.context, FAMILY)
        assert seen.stable
        canary = CanaryRoute(bundle=seen.stable, stage="wide", weight=0.5, release="r")
        pointer.move(self.context, FAMILY, seen, stable=seen.stable, canary=canary, actor="release", reason="canary")

    def canary(self) -> CanaryRoute | None:
        table = pointer.current(self.context, FAMILY).table
        assert table
        return table.canary


def _all_runs(client: SyncPrefectClient) -> list[FlowRun]:
    found: list[FlowRun] = []
    while page := client.read_flow_runs(limit=200, offset=len(found)):
        found += page
    return found


def _shorten(root: Path) -> None:
    """The repository's own files, with seconds where they have minutes and hours."""
    shutil.copyfile(REPOSITORY / "requirements.lock", root / "requirements.lock")
    deployed = yaml.safe_load((REPOSITORY / "prefect.yaml").read_text())
    for entry in deployed["deployments"]:
        if entry["name"] in SCHEDULED:
            entry["schedule"] = {"interval": EVERY_S, "timezone": "UTC"}
    (root / "prefect.yaml").write_text(yaml.safe_dump(deployed))
    defined = yaml.safe_load((REPOSITORY / "automations.yaml").read_text())
    defined["automations"][0]["trigger"]["within"] = 10
    (root / "automations.yaml").write_text(yaml.safe_dump(defined))


def until(holds: Callable[[], Any], patience_s: float = PATIENCE_S) -> Any:
    """What `holds` returns once it is something."""
    ends = time.monotonic() + patience_s
    while not (found := holds()):
        assert time.monotonic() < ends, "it did not happen"
        time.sleep(0.5)
    return found


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    found = Story(tmp_path_factory.mktemp("acting") / "project")
    with ExitStack() as stack:
        stack.callback(soundcheck, found.root, "down")
        stack.callback(found.pager.close)
        stack.enter_context(temporary_settings({PREFECT_API_URL: found.url}))
        told = soundcheck(found.root, "automations", "notify", "page", "--url", found.pager.url)
        assert told.returncode == 0, told.stderr
        found.route_canary()
        controllers = {family: found.python(CONTROLLER, family) for family in (FAMILY, OTHER)}
        for controller in controllers.values():
            stack.callback(controller.wait)
            stack.callback(controller.kill)
        teller = found.python(TELLER, found.evaluation)
        found.ask_slowly(stack)
        assert teller.wait() == 0
        until(lambda: found.has_look_at(FAMILY))
        time.sleep(12)  # longer than a canary may be unwatched
        found.stopped_while_watched = found.runs("abort/abort")
        controllers[FAMILY].send_signal(signal.SIGKILL)
        yield found


# ---- automations ----------------------------------------------------------------------------------------------------
def test_a_canary_whose_controller_was_killed_is_stopped(story: Story) -> None:
    (run,) = until(lambda: story.automated("abort/abort", FAMILY))
    assert run.parameters == {"family": FAMILY, "unwatched_s": 60}
    until(lambda: story.canary() is None)
    (event,) = [event for event in story.context.ledger(FAMILY).events() if event.step == "abort"]
    assert event.data["actor"] == "the canary-unwatched automation"


def test_a_canary_that_is_looked_at_or_settled_is_left_alone(story: Story) -> None:
    """While its controller lived, while another one lives, and where the canary was settled, nothing is stopped."""
    until(lambda: story.automated("abort/abort", FAMILY))
    assert story.stopped_while_watched == []
    assert {run.parameters["family"] for run in story.runs("abort/abort")} == {FAMILY}


def test_a_budget_that_burns_fast_opens_an_incident(story: Story) -> None:
    """From the gateway's windows, through the scheduled watch and its event, to a packet."""
    (run,) = until(lambda: story.automated("incident/incident", FAMILY))
    assert run.parameters == {"family": FAMILY, "since_minutes": 60, "update_open": True}
    (incident,) = until(lambda: [one for one in incidents(story.context) if one.family == FAMILY])
    until((story.family.home / "incidents" / incident.incident / "packet.md").is_file)
    watched = [
        run for run in story.runs("burn-watch/burn-watch") if run.state_type and run.state_type.value == "FAILED"
    ]
    says = "page: asr-commands latency burns 20.0 times too fast over 5 and 60 minutes (due from 14.4)"
    assert says in {run.state.message for run in watched if run.state}


def test_a_budget_that_burns_slowly_looks_for_drift(story: Story) -> None:
    (run,) = until(lambda: story.automated("drift/drift", FAMILY))
    assert run.parameters == {"family": FAMILY}


def test_drift_that_pages_opens_an_incident_and_no_other_outcome_does(story: Story) -> None:
    (run,) = until(lambda: story.automated("incident/incident", OTHER))
    assert run.parameters == {"family": OTHER, "since_minutes": 1440, "update_open": True}
    assert len(story.automated("incident/incident", FAMILY)) <= 1


def test_drift_that_may_take_back_runs_the_rollback_which_looks_at_every_limit_again(story: Story) -> None:
    """What was allowed when the event was told is refused when it runs: the family has no bundle, no key is here."""
    (run,) = until(lambda: story.automated("rollback/rollback", OTHER))
    said = f"drift that is the bundle's own doing: evaluation {story.evaluation[:12]}"
    assert run.parameters == {"family": OTHER, "key": "drift-watch", "reason": said, "drift": story.evaluation}
    ended = until(lambda: [one.state for one in story.runs("rollback/rollback") if one.end_time])
    assert {state.message for state in ended} == {"drift may not take the family back"}


def test_a_page_calls_somebody_and_a_ticket_does_not(story: Story) -> None:
    subjects = {
        "page: canary-unwatched: asr-commands", "page: budget-burns-fast: asr-commands", "page: drift-page: asr-en",
        "page: drift-rollback: asr-en",
    }  # fmt: skip
    until(lambda: {call["subject"] for call in story.pager.calls} >= subjects)
    assert {call["subject"] for call in story.pager.calls} == subjects
    fast = next(call["body"] for call in story.pager.calls if "budget-burns-fast" in call["subject"])
    assert '"objective": "latency"' in fast
    assert '"short_s": 300' in fast
    assert '"long_s": 3600' in fast


# ---- schedules ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["telemetry/telemetry-hourly", "burn-watch/burn-watch"])
def test_what_is_scheduled_runs_on_its_schedule(story: Story, name: str) -> None:
    def ended() -> list[FlowRun]:
        return [run for run in story.runs(name) if run.start_time and run.end_time]

    first, second = until(lambda: len(ended()) > 1 and ended()[:2])
    assert {run.created_by.type for run in (first, second)} == {"SCHEDULE"}
    apart_s = (second.expected_start_time - first.expected_start_time).total_seconds()
    assert apart_s > 0
    assert apart_s % EVERY_S == 0


def test_prefect_lists_the_deployments(story: Story) -> None:
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deployment", "ls"]
    listed = subprocess.run(
        command, env={**story.variables, "COLUMNS": "200"}, capture_output=True, text=True, check=True
    )
    for entry in yaml.safe_load((REPOSITORY / "prefect.yaml").read_text())["deployments"]:
        assert f"/{entry['name']} " in listed.stdout


# ---- applying -------------------------------------------------------------------------------------------------------
def test_applying_follows_the_file_and_nothing_else(story: Story) -> None:
    names = [definition.name for definition in automations.definitions(story.root)]
    path = story.root / "automations.yaml"
    before = path.read_text()
    with story.client() as client:
        assert automations.apply(client, story.root) == dict.fromkeys(names, "unchanged")
        mine = {one.name: one for one in client.read_automations()}
        foreign = automations.Definition.model_validate(yaml.safe_load(before)["automations"][1])
        core = automations._as_core(client, foreign).model_copy(update={"name": "somebody else's"})
        client.create_automation(core)
        client.pause_automation(mine["soundcheck budget-burns"].id)
        defined = yaml.safe_load(before)
        defined["automations"][2]["description"] = "changed"
        del defined["automations"][3]
        path.write_text(yaml.safe_dump(defined))
        changed = automations.apply(client, story.root)
        assert changed == dict.fromkeys(names, "unchanged") | {names[2]: "updated", names[3]: "deleted"}
        states = {row.name: row.state for row in automations.listed(client, story.root)}
        assert states == dict.fromkeys((*names[:2], names[4]), "active") | {names[2]: "paused"}
        assert "somebody else's" in {one.name for one in client.read_automations()}
        path.write_text(before)
        states = {row.name: row.state for row in automations.listed(client, story.root)}
        assert states == dict.fromkeys(names, "active") | {names[2]: "changed", names[3]: "not applied"}
        again = automations.apply(client, story.root)
        assert again == dict.fromkeys(names, "unchanged") | {names[2]: "updated", names[3]: "created"}
    said = soundcheck(story.root, "automations", "list")
    assert said.returncode == 1  # one is paused
    assert "budget-burns       paused " in said.stdout
    assert "runs incident/incident, calls soundcheck-page" in said.stdout
    assert "runs drift/drift, calls nobody" in said.stdout
