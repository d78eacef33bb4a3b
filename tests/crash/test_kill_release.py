"""kill -9 of the release process at every step: the same command goes on, to the same bundle and one promotion.

The process is killed as soon as a new event stands in the ledger (`at once`), and again some time into the work that
follows it (`later`), so that both the border of two steps and the middle of each is hit.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import httpx
import pytest

from operations.release import STEPS
from operations.stack import addresses
from tests.flows.release_project import FAMILY, Company, command, context_of, environment, soundcheck, status

ATTEMPT_S = 180.0


def _events(root: Path) -> int:
    return len(context_of(root).ledger(FAMILY).events())


def _run_until_killed(root: Path, *, later_s: float) -> int | None:
    """Start the release and kill it `later_s` after its next new event; its exit status if it ended before."""
    before = _events(root)
    release = subprocess.Popen(
        command("release", FAMILY, "--candidate", "v1"), cwd=root, env=environment(root),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    ends = time.monotonic() + ATTEMPT_S
    while release.poll() is None and _events(root) == before:
        assert time.monotonic() < ends, "the release made no progress"
        time.sleep(0.02)
    if later_s:
        try:
            return release.wait(later_s)
        except subprocess.TimeoutExpired:
            pass
    elif release.poll() is not None:
        return release.returncode
    os.killpg(release.pid, signal.SIGKILL)
    release.wait()
    return None


def _run_states(root: Path) -> list[str]:
    """States of the project's release runs in Prefect, newest first: none is left Running for ever."""
    api = f"{addresses(root / '.soundcheck').prefect}/api"
    query = {"sort": "START_TIME_DESC"}
    runs = httpx.post(f"{api}/flow_runs/filter", json=query, trust_env=False).raise_for_status().json()
    return [run["state"]["type"] for run in runs if run["state"]["type"] not in ("PENDING", "SCHEDULED")]


def _whole_bundle(root: Path) -> str:
    """The bundle of a release that nobody killed, in a project that is equal."""
    with Company(root, sign_with="anna"):
        answer = soundcheck(root, "release", FAMILY, "--candidate", "v1")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    bundle: str = status(root)["stable"]["bundle"]
    return bundle


@pytest.mark.timeout(1800)  # a release of ten steps, begun again after each of them
@pytest.mark.parametrize("later_s", [0.0, 1.5], ids=["at once", "later"])
def test_a_release_killed_at_every_step_ends_as_one_that_was_not(
    crash_projects: tuple[Path, Path], later_s: float
) -> None:
    killed, whole = crash_projects
    kills = 0
    with Company(killed, sign_with="anna"):
        while (exit_status := _run_until_killed(killed, later_s=later_s)) is None:
            kills += 1
            assert kills < 40, "the release never ends"
    assert exit_status == 0
    assert kills >= (len(STEPS) if not later_s else 3)
    state = context_of(killed).ledger(FAMILY).state()
    assert [(move.kind, move.version) for move in state.history] == [("promote", "v1")]
    assert state.open_intents == ()
    assert status(killed)["stable"]["bundle"] == _whole_bundle(whole)
    states = _run_states(killed)
    assert (states[0], set(states) <= {"COMPLETED", "CRASHED"}) == ("COMPLETED", True), states
    clean = soundcheck(killed, "verify", FAMILY)
    assert clean.returncode == 0, clean.stdout
