"""What each running gateway serves, as files that operations can wait for (B5).

Boundary: `HOME/run/gateways/PID.json`, written whole and renamed. A killed gateway leaves its file: readers count only
those whose process lives. Families that were pinned to a bundle (staging) follow no pointer and are not announced.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from contracts.errors import DependencyFailed

_LOOK_S = 0.01


def _folder(home: Path) -> Path:
    return home / "run" / "gateways"


def announce(home: Path, url: str, families: Mapping[str, Any]) -> None:
    """Replace this process's file: {pid, url, families: {family: {version, bundles, proved}}}.

    `version` is -1 while there is no table yet; `proved` is {bundle: {equal, expected, erased, at}}: golden outputs of
    the worker processes that answer now.
    """
    folder = _folder(home)
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{os.getpid()}.tmp"
    temporary.write_text(json.dumps({"pid": os.getpid(), "url": url, "families": families}, sort_keys=True))
    temporary.rename(folder / f"{os.getpid()}.json")


def withdraw(home: Path) -> None:
    """Remove this process's file."""
    (_folder(home) / f"{os.getpid()}.json").unlink(missing_ok=True)


def _lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def gateways(home: Path) -> dict[int, dict[str, Any]]:
    """What the living gateways of this home say, by process."""
    found: dict[int, dict[str, Any]] = {}
    for path in sorted(_folder(home).glob("*.json")):
        if _lives(int(path.stem)):
            try:
                found[int(path.stem)] = json.loads(path.read_text())
            except FileNotFoundError:
                continue
    return found


def followers(home: Path, family: str) -> dict[int, dict[str, Any]]:
    """What the living gateways that follow `family` say of it, by process."""
    said = {pid: gateway["families"].get(family) for pid, gateway in gateways(home).items()}
    return {pid: mine for pid, mine in said.items() if mine is not None}


def wait_for_version(home: Path, family: str, version: int, *, timeout_s: float) -> int:
    """Wait until every living gateway that follows `family` reports at least `version`; how many there are.

    Raises DependencyFailed naming the gateways that do not. No gateway at all is settled at once (0).
    """
    ends = time.monotonic() + timeout_s
    while True:
        serving = {pid: mine["version"] for pid, mine in followers(home, family).items()}
        behind = {pid: at for pid, at in serving.items() if at < version}
        if not behind:
            return len(serving)
        if time.monotonic() > ends:
            raise DependencyFailed(
                "a gateway does not follow the pointer",
                where=f"family {family!r}",
                got=", ".join(f"process {pid} at version {at}" for pid, at in sorted(behind.items())),
                expected=f"version {version} within {timeout_s:g} s",
                next_step="look at GET /v1/status of that gateway: 'preparing' and the workers' errors say why",
            )
        time.sleep(_LOOK_S)
