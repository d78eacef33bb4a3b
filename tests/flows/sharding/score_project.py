"""Projects whose releases score for real and are stopped at the gate, so that scoring is all they take time for."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import yaml

from contracts.digest import Digest
from operations.stack import addresses
from tests.flows.release_project import FAMILY, command, commit, context_of, environment, make_project

CANDIDATE = "v1"
EVERY = 48
"""One utterance of the pack in so many is kept."""
SHARD = 3
STREAMED = 9
TIMED = 3
ATTEMPT_S = 280.0
_GATE = {"pack": "commands", "margin": 0.5, "min_speakers": 4, "min_support": 10, "slices": "overall"}
QUALITY = [{**_GATE, "metric": "wer", "limit": 0.0001}, {**_GATE, "metric": "churn", "limit": 1.0}]
"""No model is as good as the first gate asks; the second one makes the pack be streamed."""


def score_project(root: Path) -> Path:
    """A project of small shards; equal projects have equal reports."""
    statistics = {"replicates": 100, "stream_utterances": STREAMED, "timed_utterances": TIMED}
    make_project(root, every=EVERY, quality=QUALITY, statistics=statistics)
    params = yaml.safe_load((root / "params.yaml").read_text())
    (root / "params.yaml").write_text(yaml.safe_dump({**params, "compute": {"shard": SHARD}}, sort_keys=False))
    _without_data_manifest(root / "candidates" / FAMILY / CANDIDATE)
    commit(root)
    return root


def _without_data_manifest(candidate: Path) -> None:
    """As a third party's model: reading the suite of a data manifest takes seconds, and has tests of its own."""
    description = candidate / "candidate.yaml"
    value = yaml.safe_load(description.read_text())
    description.write_text(yaml.safe_dump({**value, "origin": "third_party"}))
    (candidate / "data_manifest.parquet").unlink()


def planned(root: Path) -> int:
    """Shards of a first release."""
    from evalpacks.pack import load

    utterances = len(load(root / "data" / "packs" / "commands").utterances)
    return math.ceil(utterances / SHARD) + math.ceil(STREAMED / SHARD)


class Served(NamedTuple):
    """A Prefect server, and what a release needs to find it."""

    url: str

    @staticmethod
    def by(root: Path) -> Served:
        """The server that the project's stack runs."""
        url = addresses(root / ".soundcheck").prefect
        assert url is not None
        return Served(url)

    @contextmanager
    def release(self, root: Path, **variables: str) -> Iterator[subprocess.Popen[str]]:
        """`soundcheck release`, and its model processes; none of them is left at the end."""
        known = {"PREFECT_API_URL": f"{self.url}/api", **variables}
        release = subprocess.Popen(
            command("release", FAMILY, "--candidate", CANDIDATE), cwd=root, env=environment(root) | known, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        try:
            yield release
        finally:
            with suppress(ProcessLookupError):
                os.killpg(release.pid, signal.SIGKILL)
            release.communicate()

    def score(self, root: Path, **variables: str) -> Digest:
        """Release to the gate, which stops it; the digest of the score report."""
        with self.release(root, **variables) as release:
            return stopped_at_the_gate(root, release)

    def shard_runs(self) -> list[dict[str, Any]]:
        """Task runs of shards that Prefect has of its newest flow run."""
        flow_run = self._ask("flow_runs", {"sort": "START_TIME_DESC", "limit": 1})[0]
        tasks = self._ask("task_runs", {"flow_runs": {"id": {"any_": [flow_run["id"]]}}, "limit": 200})
        return [run for run in tasks if " by " in run["name"]]

    def _ask(self, what: str, query: dict[str, Any]) -> list[dict[str, Any]]:
        answer = httpx.post(f"{self.url}/api/{what}/filter", json=query, trust_env=False, timeout=20)
        found: list[dict[str, Any]] = answer.raise_for_status().json()
        return found


def report_of(root: Path) -> Digest:
    """The score report that the ledger names."""
    events = [event for event in context_of(root).ledger(FAMILY).events() if event.step == "score"]
    assert [event.outcome for event in events] == ["complete"]
    return events[0].outputs["score_report"]


def stopped_at_the_gate(root: Path, release: subprocess.Popen[str]) -> Digest:
    """Wait for the release's end; the digest of the score report."""
    out, err = release.communicate(timeout=ATTEMPT_S)
    assert release.returncode == 1, out + err
    assert "stopped at gate" in out, out + err
    return report_of(root)


def kept(root: Path) -> set[str]:
    """Shards that are kept now."""
    return {path.name for path in (root / ".soundcheck" / "shards").glob("*/*.parquet")}


def wait_for_shards(root: Path, release: subprocess.Popen[str], count: int) -> None:
    """Until so many shards are kept."""
    ends = time.monotonic() + ATTEMPT_S
    while len(kept(root)) < count:
        assert release.poll() is None, release.communicate()
        assert time.monotonic() < ends, f"only {len(kept(root))} shards were kept"
        time.sleep(0.005)
