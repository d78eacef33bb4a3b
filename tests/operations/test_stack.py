"""The embedded stack: real servers, real processes, real ports."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple

import pytest

from contracts.errors import DependencyFailed, WrongCall
from contracts.policy import Ports
from operations import stack
from operations.stack_parts import environment, free_port, is_free, mlflow_environment, prefect_environment
from operations.stack_processes import ProcessName, alive, end, marked, spawn

SERVERS = ("prefect", "mlflow")


class Started(NamedTuple):
    """A running stack, and the process ids that a start which was killed half-way had left."""

    home: Path
    ports: Ports
    addresses: stack.Addresses
    left: dict[str, int]


@pytest.fixture(scope="session")
def ports() -> Ports:
    """Ports that are free now."""
    return Ports(prefect=free_port(), mlflow=free_port(), gateway=free_port())


@pytest.fixture(scope="session")
def started(tmp_path_factory: pytest.TempPathFactory, ports: Ports) -> Iterator[Started]:
    """Prefect and MLflow, begun by a start that is killed, completed by a second one."""
    home = tmp_path_factory.mktemp("stack") / "home"
    home.mkdir()
    first = multiprocessing.get_context("fork").Process(
        target=stack.start, args=(home, ports), kwargs={"parts": SERVERS}
    )
    first.start()
    assert first.pid is not None
    deadline = time.monotonic() + 30
    while len(left := {part: record.pid for part, record in stack.running(home).items()}) < len(SERVERS):
        assert time.monotonic() < deadline, left
        time.sleep(0.02)
    os.kill(first.pid, signal.SIGKILL)
    first.join()
    try:
        yield Started(home, ports, stack.start(home, ports, parts=SERVERS), left)
    finally:
        stack.stop(home)


def get(url: str) -> Any:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=20) as answer:
        return answer.read()


def wait_until_gone(mark: str) -> bool:
    deadline = time.monotonic() + 10
    while marked(mark) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not marked(mark)


def test_both_servers_answer(started: Started) -> None:
    assert started.addresses == stack.Addresses(
        prefect=f"http://127.0.0.1:{started.ports.prefect}", mlflow=f"http://127.0.0.1:{started.ports.mlflow}"
    )
    assert stack.addresses(started.home) == started.addresses
    assert get(f"{started.addresses.prefect}/api/health") == b"true"
    assert get(f"{started.addresses.mlflow}/health") == b"OK"


def test_a_start_that_was_killed_is_completed_not_doubled(started: Started) -> None:
    assert {part: record.pid for part, record in stack.running(started.home).items()} == started.left


def test_starting_again_keeps_every_process(started: Started) -> None:
    told: list[tuple[str, str]] = []
    began = time.monotonic()
    again = stack.start(
        started.home, started.ports, parts=SERVERS, on_progress=lambda part, state, _seconds: told.append((part, state))
    )
    assert again == started.addresses
    assert time.monotonic() - began < 5
    assert {part: record.pid for part, record in stack.running(started.home).items()} == started.left
    assert sorted(told) == [("mlflow", "ready"), ("mlflow", "running"), ("prefect", "ready"), ("prefect", "running")]


def test_the_pages_of_prefect_find_its_api_and_sell_nothing(started: Started) -> None:
    settings = json.loads(get(f"{started.addresses.prefect}/ui-settings"))
    assert settings["api_url"] == f"{started.addresses.prefect}/api"
    assert b"<html" in get(f"{started.addresses.prefect}/").lower()


def test_the_mirror_works_on_the_stack(started: Started) -> None:
    from registry.mlflow_mirror import Mirror

    assert Mirror(str(started.addresses.mlflow)).differences("asr-en", None) == []


def test_logs_are_for_their_owner_alone(started: Started) -> None:
    for part in SERVERS:
        assert stack.log_path(started.home, part).stat().st_mode & 0o777 == 0o600


def test_a_part_that_died_is_started_again_at_its_port_and_the_other_is_kept(started: Started) -> None:
    os.kill(started.left["mlflow"], signal.SIGKILL)
    while "mlflow" in stack.running(started.home):
        time.sleep(0.02)
    assert stack.addresses(started.home).mlflow is None
    assert stack.start(started.home, started.ports, parts=SERVERS) == started.addresses
    now = stack.running(started.home)
    assert now["mlflow"].pid != started.left["mlflow"]
    assert now["prefect"].pid == started.left["prefect"]
    assert stack.log_path(started.home, "mlflow").with_name("mlflow.log.previous").exists()


def test_a_taken_port_is_told_and_nothing_is_started(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(DependencyFailed) as caught:
            stack.start(tmp_path, Ports(prefect=port, mlflow=1, gateway=1), parts=["prefect"])
    assert str(caught.value) == (
        f"port {port} is taken by another program\n"
        "  where: prefect, which `soundcheck up` starts\n"
        f"  expected: port {port} of 127.0.0.1 to be free\n"
        "  next step: run `soundcheck up --auto-ports`, or change ports.prefect in params.yaml"
    )
    assert caught.value.exit_status == 3
    assert stack.running(tmp_path) == {}


def test_with_auto_ports_a_taken_port_is_replaced_and_an_old_one_kept(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ports = Ports(prefect=port, mlflow=1, gateway=1)
        chosen = stack._choose_port("prefect", ports, None, auto_ports=True)
        assert chosen not in (None, port)
        before = stack.Running(pid=1, start_ticks=1, started_at=0, port=chosen, url=None)
        assert stack._choose_port("prefect", ports, before, auto_ports=True) == chosen
    assert stack._choose_port("deployments", ports, None, auto_ports=True) is None


def test_a_port_that_another_program_took_meanwhile_is_not_ours(
    tmp_path: Path, ports: Ports, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another installation chose the same free port and was first: its answers are not those of our part."""

    class Healthy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Tests say nothing."""

    with HTTPServer(("127.0.0.1", 0), Healthy) as other:
        Thread(target=other.serve_forever, daemon=True).start()
        monkeypatch.setattr(stack, "is_free", lambda _port: True)
        taken = ports.model_copy(update={"prefect": other.server_port})
        with pytest.raises(DependencyFailed, match="prefect ended while it was starting") as caught:
            stack.start(tmp_path, taken, parts=("prefect",))
        other.shutdown()
    assert "already in use" in caught.value.got


@pytest.mark.parametrize(
    ("before", "chosen", "moved"), [(4200, 4200, False), (4200, 51000, True), (None, 4200, False), (4200, None, False)]
)
def test_what_asks_a_server_that_moved_is_started_again(before: int | None, chosen: int | None, moved: bool) -> None:
    record = {"prefect": stack.Running(pid=1, start_ticks=1, started_at=0, port=before, url=None)} if before else {}
    assert stack._moved("prefect", {"prefect": chosen} if chosen else {}, record) is moved


def test_a_part_that_ends_says_why_and_takes_the_others_with_it(tmp_path: Path, ports: Ports) -> None:
    (tmp_path / "prefect" / "prefect.db").mkdir(parents=True)
    with pytest.raises(DependencyFailed) as caught:
        stack.start(tmp_path, ports, auto_ports=True, parts=SERVERS)
    assert caught.value.what == "prefect ended while it was starting"
    assert caught.value.where == str(tmp_path / "run" / "prefect.log")
    assert "its last lines:" in caught.value.got
    assert "unable to open database file" in stack.log_path(tmp_path, "prefect").read_text()
    assert stack.running(tmp_path) == {}
    assert not [pid for part in SERVERS for pid in marked(f"{tmp_path}|{part}")]


def test_a_broken_database_of_mlflow_is_told(tmp_path: Path, ports: Ports) -> None:
    (tmp_path / "mlflow").mkdir()
    (tmp_path / "mlflow" / "mlflow.db").write_bytes(b"not a database at all" * 100)
    with pytest.raises(DependencyFailed, match="MLflow's database cannot be written"):
        stack.start(tmp_path, ports, auto_ports=True, parts=["mlflow"])


def test_an_unknown_part_is_a_wrong_call(tmp_path: Path, ports: Ports) -> None:
    with pytest.raises(WrongCall, match="there is no such part of the stack"):
        stack.start(tmp_path, ports, parts=["prefect", "oven"])


def test_stopping_what_does_not_run_stops_nothing(tmp_path: Path) -> None:
    assert stack.stop(tmp_path) == []
    assert stack.addresses(tmp_path) == stack.Addresses()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"prefect": {"pid": "x"}}'])
def test_a_torn_state_file_means_that_nothing_is_known(tmp_path: Path, content: str) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "stack.json").write_text(content)
    assert stack.running(tmp_path) == {}


def test_a_process_id_that_was_used_again_is_not_ours(tmp_path: Path) -> None:
    other = stack.Running(pid=os.getpid(), start_ticks=1, started_at=0, port=4200, url="http://127.0.0.1:4200")
    (tmp_path / "run").mkdir()
    stack._write(tmp_path, {"prefect": other})
    assert stack.running(tmp_path) == {}
    assert stack.stop(tmp_path) == []  # and this test still runs


STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if len(sys.argv) > 1:
    subprocess.Popen([sys.executable, __file__], start_new_session=True)
print("up", flush=True)
time.sleep(600)
"""


@pytest.fixture
def stubborn(tmp_path: Path) -> tuple[ProcessName, str]:
    """A process that ignores SIGTERM, with a child in a session of its own that does the same."""
    script, log, mark = tmp_path / "stubborn.py", tmp_path / "log", f"{tmp_path}|stubborn"
    script.write_text(STUBBORN)
    process = spawn([sys.executable, str(script), "parent"], dict(os.environ), mark=mark, log=log)
    deadline = time.monotonic() + 20
    while log.read_text().count("up") < 2:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return process, mark


def test_the_unwilling_and_their_children_are_ended(stubborn: tuple[ProcessName, str]) -> None:
    process, mark = stubborn
    assert alive(process)
    assert len(marked(mark)) == 2
    end({mark: process}, bound_s=0.2)
    assert not alive(process)
    assert marked(mark) == []


def test_what_a_dead_leader_left_behind_is_found_by_its_mark(stubborn: tuple[ProcessName, str]) -> None:
    process, mark = stubborn
    os.kill(process.pid, signal.SIGKILL)
    while alive(process):
        time.sleep(0.01)
    assert len(marked(mark)) == 1
    end({mark: None}, bound_s=0.2)
    assert marked(mark) == []


def test_only_the_marked_are_ended() -> None:
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    end({"nobody|has this mark": None}, bound_s=0.1)
    assert bystander.poll() is None
    bystander.kill()
    bystander.wait()


def test_a_part_inherits_no_settings_of_the_caller(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PREFECT_API_KEY", "pnu_secret")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "secret")
    monkeypatch.setenv("NO_PROXY", "intranet")
    addresses = stack.Addresses("http://127.0.0.1:4200", "http://127.0.0.1:5000", "http://127.0.0.1:8080")
    for part in stack.PARTS:
        given = environment(part, tmp_path, addresses)
        assert "secret" not in " ".join(given.values())
        assert given["SOUNDCHECK_HOME"] == str(tmp_path)
        assert given["PREFECT_API_URL"] == "http://127.0.0.1:4200/api"
        assert given["MLFLOW_TRACKING_URI"] == "http://127.0.0.1:5000"
        assert given["NO_PROXY"] == "intranet,127.0.0.1,localhost"


def test_nothing_phones_home(tmp_path: Path) -> None:
    prefect = prefect_environment(tmp_path, "http://127.0.0.1:4200")
    mlflow = mlflow_environment(tmp_path, "http://127.0.0.1:5000")
    assert prefect["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert prefect["DO_NOT_TRACK"] == mlflow["DO_NOT_TRACK"] == "true"
    assert mlflow["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_every_setting_of_prefect_is_one_that_it_knows(tmp_path: Path) -> None:
    """A misspelt variable would be ignored in silence."""
    from prefect.settings import Settings
    from prefect.settings.legacy import _get_settings_fields

    addresses = stack.Addresses("http://127.0.0.1:4200", "http://127.0.0.1:5000", "http://127.0.0.1:8080")
    named = {name for name in environment("prefect", tmp_path, addresses) if name.startswith("PREFECT_")}
    assert named - set(_get_settings_fields(Settings)) == set()


def test_every_setting_of_the_mlflow_server_is_one_that_it_knows(tmp_path: Path) -> None:
    import mlflow.environment_variables as public
    import mlflow.server.constants as private

    known = {value for value in vars(private).values() if isinstance(value, str)} | set(vars(public))
    addresses = stack.Addresses(None, "http://127.0.0.1:5000", None)
    given = environment("mlflow", tmp_path, addresses)
    assert {name for name in given if name.startswith(("MLFLOW_", "_MLFLOW_"))} - known == set()


def test_a_taken_port_is_not_free() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert not is_free(taken.getsockname()[1])
