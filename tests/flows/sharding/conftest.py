"""One Prefect server, and one release that was killed while it scored and run again, for all tests of this folder."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from contracts.digest import Digest
from tests.flows.release_project import soundcheck
from tests.flows.sharding.score_project import Served, kept, planned, score_project, wait_for_shards

LEAST = 3
"""Shards that are kept before the kill."""
SETTLE_S = 20.0
"""Seconds that Prefect's server may lag behind its clients."""


class Resumed(NamedTuple):
    """What the release left: its project, its report, how many shards were kept at the kill, task runs after it."""

    root: Path
    report: Digest
    kept: int
    runs: list[dict[str, Any]]


@pytest.fixture(scope="package")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project whose stack has a Prefect server."""
    root = score_project(tmp_path_factory.mktemp("resumed") / "project")
    up = soundcheck(root, "up", "--auto-ports", "--part", "prefect")
    assert up.returncode == 0, up.stderr
    yield root
    down = soundcheck(root, "down")
    assert down.returncode == 0, down.stderr


@pytest.fixture(scope="package")
def served(project: Path) -> Served:
    """The server, for releases of other projects too."""
    return Served.by(project)


@pytest.fixture(scope="package")
def resumed(project: Path, served: Served) -> Resumed:
    """Shards ran in threads; the process was killed after a few of them, and the same command was given again."""
    with served.release(project) as release:
        wait_for_shards(project, release, LEAST)
    before = len(kept(project))
    report = served.score(project)
    ends = time.monotonic() + SETTLE_S
    while len(runs := served.shard_runs()) < planned(project) - before and time.monotonic() < ends:
        time.sleep(0.2)
    return Resumed(project, report, before, runs)
